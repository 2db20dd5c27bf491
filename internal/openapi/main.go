// Command openapi writes the contract of the HTTP API, openapi.yaml, from the sources:
//
//	swag annotations of the handlers and types   → Swagger 2.0    (source.go)
//	                                             → OpenAPI 3.0    (source.go)
//	                                             → OpenAPI 3.1    (upgrade.go)
//	what is the same for every operation         → rules          (rules.go)
//	what no annotation can say                   → overlay.yaml   (overlay.go)
//	                                             → sorted YAML    (emit.go)
//
// The result depends on nothing but the sources: same input, same bytes. It is written three times, to the root of the
// repository for integrators and, because an embedded file cannot lie outside its package, beside the docs page as YAML and
// as JSON. With -check nothing is written, and a file that is not what the sources say is an error.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed overlay.yaml
var overlay []byte

func main() {
	check := flag.Bool("check", false, "write nothing; fail when a file is stale")
	root := flag.String("root", ".", "the root of the repository")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	doc, err := generate(overlay, filepath.Join(root, "internal", "server"), filepath.Join(root, "api"))
	if err != nil {
		return err
	}
	y, j := emitYAML(doc), emitJSON(doc)
	return write(root, []output{
		{"openapi.yaml", y},
		{"internal/server/docs/openapi.yaml", y},
		{"internal/server/docs/openapi.json", j},
	}, check)
}

type output struct {
	path string // from the root, with slashes
	body []byte
}

// write brings the files up to date, or with check says which are not.
func write(root string, files []output, check bool) error {
	var stale []error
	for _, f := range files {
		path := filepath.Join(root, filepath.FromSlash(f.path))
		old, err := os.ReadFile(path)
		switch {
		case err == nil && bytes.Equal(old, f.body):
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case check:
			stale = append(stale, fmt.Errorf("%s is stale: go run ./internal/openapi", f.path))
			continue
		}
		if err := os.WriteFile(path, f.body, 0o644); err != nil { //nolint:gosec // a source file, world-readable like the others
			return err
		}
	}
	return errors.Join(stale...)
}

// generate makes the document of the handlers and types found in dirs.
func generate(overlay []byte, dirs ...string) (object, error) {
	doc, err := fromSources(dirs...)
	if err != nil {
		return nil, err
	}
	shortenNames(doc)
	upgrade(doc)
	over, err := parseOverlay(overlay)
	if err != nil {
		return nil, err
	}
	if err := over.apply(doc); err != nil {
		return nil, err
	}
	if err := applyRules(doc); err != nil {
		return nil, err
	}
	prune(doc)
	return doc, nil
}
