package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// shop generates the document of testdata/shop, with all of the overlay but what it says of Facteur's own operations.
func shop(t *testing.T) object {
	t.Helper()
	over, err := parseOverlay(overlay)
	if err != nil {
		t.Fatal(err)
	}
	delete(over, "paths")
	delete(over, "webhooks")
	doc, err := generate(emitJSON(object(over)), "testdata/shop/handlers", "testdata/shop/wire")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// The golden file shows what the chain makes of every kind of annotation.
func TestGolden(t *testing.T) {
	got := emitYAML(shop(t))
	const golden = "testdata/shop.yaml"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the document is not as in %s; run with -update and read the difference", golden)
	}
	if again := emitYAML(shop(t)); !bytes.Equal(got, again) {
		t.Error("the second run gave other bytes")
	}
}

// What is emitted means the document, read by a YAML parser that is not ours.
func TestEmitYAML(t *testing.T) {
	for _, s := range []string{
		"", "a", "a b", "1e3", "0x1f", "12:30", "2026-11-23", "2026-11-23T10:00:00Z", "yes", "No", "null", "~", "true", "y", "=", "<<",
		"a: b", "a #b", "#a", "- a", "*a", "&a", "!a", "%a", "@a", "`a`", "[a]", "{a}", "{a", "'a", `"a"`, "a,b", " a", "a ", "a:",
		"/v1/orders/{id}", "/v1/orders/{id}/photo", "$ref", "#/a/b", "é « ok » :", "200", "application/problem+json", "it's",
		"a\nb", "a\n\nb: c\n  d", "a\n", "\na", " a\nb", "a \nb", "a\tb", "a\r\nb", "a\n-\n?", "…", "\u2028", "\u0085", "\ufeff", "😀",
	} {
		doc := object{"k": s, "list": []any{s, object{"in": s, "z": s}, []any{s}}, "empty": object{}, "none": []any{}, "n": json.Number("0.5"), "b": true, "null": nil}
		if s != "" {
			doc[s] = "key"
		}
		out := emitYAML(doc)
		j, err := yaml.YAMLToJSON(out)
		if err != nil {
			t.Errorf("%q: %v\n%s", s, err, out)
			continue
		}
		back, err := parseJSON(j)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if !reflect.DeepEqual(back, doc) {
			t.Errorf("%q came back as %v\n%s", s, back, out)
		}
	}
}

func TestOverlayMustFit(t *testing.T) {
	for name, over := range map[string]string{
		"no path /v1/parcels":               "paths: {/v1/parcels: {get: {}}}",
		"no operation delete /v1/orders":    "paths: {/v1/orders: {delete: {}}}",
		"no schema Parcel":                  "components: {schemas: {Parcel: {description: x}}}",
		"post /v1/orders has no summary":    "paths: {/v1/orders: {post: {summary: null}}}",
		"no shared problem for the status ": "paths: {/v1/orders: {get: {responses: {'418': {description: x}}}}}",
	} {
		_, err := generate([]byte(over), "testdata/shop/handlers", "testdata/shop/wire")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", over, err)
		}
	}
}

// The committed contract is what the sources say.
func TestContractIsFresh(t *testing.T) {
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsStale(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"internal/server/docs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := []output{{"openapi.yaml", []byte("a: 1\n")}, {"internal/server/docs/openapi.json", []byte("{}\n")}}
	if err := write(root, files, true); err == nil || strings.Count(err.Error(), "is stale") != 2 {
		t.Errorf("two missing files: %v", err)
	}
	if err := write(root, files, false); err != nil {
		t.Fatal(err)
	}
	if err := write(root, files, true); err != nil {
		t.Errorf("fresh files: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "openapi.yaml"), []byte("a: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(root, files, true); err == nil || strings.Count(err.Error(), "is stale") != 1 {
		t.Errorf("one edited file: %v", err)
	}
}
