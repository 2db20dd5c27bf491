package main

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
)

// overlayDoc is overlay.yaml: parts of a document that are laid over the generated one. Objects are merged, everything else
// is replaced, null removes.
type overlayDoc object

func parseOverlay(b []byte) (overlayDoc, error) {
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	o, err := parseJSON(j)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return overlayDoc(o), nil
}

// apply lays the overlay over doc. An operation or a schema that the sources do not have is an error: the overlay is stale.
func (over overlayDoc) apply(doc object) error {
	var errs []error
	paths := child(doc, "paths")
	for path, item := range child(object(over), "paths") {
		there, ok := paths[path].(object)
		if !ok {
			errs = append(errs, fmt.Errorf("overlay: no path %s", path))
			continue
		}
		for method := range item.(object) {
			if _, ok := there[method]; !ok {
				errs = append(errs, fmt.Errorf("overlay: no operation %s %s", method, path))
			}
		}
	}
	schemas := child(child(doc, "components"), "schemas")
	for name := range child(child(object(over), "components"), "schemas") {
		if _, ok := schemas[name]; !ok {
			errs = append(errs, fmt.Errorf("overlay: no schema %s", name))
		}
	}
	merge(doc, object(over))
	return errors.Join(errs...)
}

func merge(dst, src object) {
	for k, v := range src {
		switch v := v.(type) {
		case nil:
			delete(dst, k)
		case object:
			merge(child(dst, k), v)
		default:
			dst[k] = v
		}
	}
}
