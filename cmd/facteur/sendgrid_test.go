package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/transport/sendgrid"
)

func TestSendGridKeys(t *testing.T) {
	for doc, want := range map[string]sendgrid.Config{
		"SG.hunter2": {Default: "", Keys: map[string]sendgrid.Key{"main": {Secret: "SG.hunter2", BaseURL: sendgrid.DefaultBaseURL}}},
		`[{"name":"a","key":"SG.1"},{"name":"b","key":"SG.2","region":"eu","default":true}]`: {Default: "b", Keys: map[string]sendgrid.Key{
			"a": {Secret: "SG.1", BaseURL: sendgrid.DefaultBaseURL}, "b": {Secret: "SG.2", BaseURL: sendgrid.EuropeBaseURL},
		}},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(doc+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, env := range []string{"FACTEUR_SENDGRID_KEYS=" + doc, "FACTEUR_SENDGRID_KEYS_FILE=" + path} {
			c, err := readConfig([]string{env})
			if err != nil {
				t.Fatal(err)
			}
			if c.sendGrid.Default != want.Default || len(c.sendGrid.Keys) != len(want.Keys) {
				t.Errorf("%s: %+v", env, c.sendGrid)
			}
			for name, k := range want.Keys {
				if c.sendGrid.Keys[name] != k {
					t.Errorf("%s: key %s is %+v", env, name, c.sendGrid.Keys[name])
				}
			}
			var table strings.Builder
			c.writeTable(&table)
			if strings.Contains(table.String(), "SG.") {
				t.Error("the table shows a key")
			}
		}
	}
}

func TestSendGridKeysThatCannotBe(t *testing.T) {
	for _, doc := range []string{
		"[", "[]", `[{"name":"a","key":"hunter2"},{"name":"a","key":"hunter2"}]`, `[{"key":"hunter2"}]`, `[{"name":"a","key":"hunter2","region":"mars"}]`,
		`[{"name":"a","key":"hunter2"},{"name":"b","key":"hunter2"}]`, `[{"name":"a","key":"hunter2","colour":"red"}]`, "hunter2 hunter2",
		`[{"name":"a","key":"hunter2","default":true},{"name":"b","key":"hunter2","default":true}]`, `[{"name":"a","key":"hunter2","url":"ftp://x"}]`, `[{"name":"a","key":""}]`,
	} {
		_, err := readConfig([]string{"FACTEUR_SENDGRID_KEYS=" + doc})
		if err == nil || !strings.Contains(err.Error(), "FACTEUR_SENDGRID_KEYS") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", doc, err)
		}
	}
}
