package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigOfAnEmptyEnvironment(t *testing.T) {
	c, err := readConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8025" || string(c.DatabaseURL) != "facteur.db" || c.postgres() || c.Env != "development" {
		t.Errorf("defaults are %+v", c)
	}
}

func TestConfigReadsEveryKind(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "keyset")
	if err := os.WriteFile(secret, []byte("{\"k\":1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig([]string{
		"FACTEUR_KEYSET_FILE=" + secret,
		"FACTEUR_DATABASE_URL=postgresql://u:hunter2@db/f",
		"FACTEUR_ALLOW_NETWORKS=10.0.0.0/8, loopback",
		"FACTEUR_LOG_LEVEL=debug",
		"FACTEUR_STOP_TIMEOUT=5s",
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Keyset) != `{"k":1}` {
		t.Errorf("keyset from a file is %q", string(c.Keyset))
	}
	if !c.postgres() {
		t.Error("postgresql:// is not taken for PostgreSQL")
	}
	if got := c.AllowNetworks.String(); got != "10.0.0.0/8,127.0.0.0/8,::1/128" {
		t.Errorf("networks are %s", got)
	}
	var table bytes.Buffer
	c.writeTable(&table)
	if printed := table.String() + fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(printed, "hunter2") || strings.Contains(printed, `"k":1`) {
		t.Errorf("a secret was printed:\n%s", printed)
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, tt := range []struct{ name, env, want string }{
		{"mode", "FACTEUR_ENV=prod", "FACTEUR_ENV"},
		{"database", "FACTEUR_DATABASE_URL=mysql://u:hunter2@db/f", "FACTEUR_DATABASE_URL"},
		{"database of libpq", "FACTEUR_DATABASE_URL=host=db user=u password=hunter2", "FACTEUR_DATABASE_URL"},
		{"network", "FACTEUR_ALLOW_NETWORKS=10.0.0.0", `FACTEUR_ALLOW_NETWORKS is "10.0.0.0"`},
		{"number", "FACTEUR_WORKERS=many", `FACTEUR_WORKERS is "many": it must be a whole number`},
		{"negative", "FACTEUR_MAX_SEND_BODY=-5", "FACTEUR_MAX_SEND_BODY is -5: it must be more than 0"},
		{"duration", "FACTEUR_MAX_WAIT=2days", `FACTEUR_MAX_WAIT is "2days": it must be a duration`},
		{"no time", "FACTEUR_LEASE=0s", "FACTEUR_LEASE is 0s: it must be more than 0"},
		{"log level", "FACTEUR_LOG_LEVEL=loud", `FACTEUR_LOG_LEVEL is "loud": it must be debug`},
		{"log format", "FACTEUR_LOG_FORMAT=xml", "FACTEUR_LOG_FORMAT"},
		{"missing file", "FACTEUR_KEYSET_FILE=/nowhere/at/all", "FACTEUR_KEYSET_FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readConfig([]string{tt.env})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one that names %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a password: %v", err)
			}
		})
	}
	if _, err := readConfig([]string{"FACTEUR_KEYSET=a", "FACTEUR_KEYSET_FILE=b"}); err == nil {
		t.Error("a secret given twice was accepted")
	}
}
