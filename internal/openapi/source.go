package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/swaggo/swag"
)

// object is a JSON object. The document is handled as plain JSON, because the libraries' models know only the version they
// were made for. Numbers are json.Number, so that they are written as they were read.
type object = map[string]any

// fromSources reads the annotations in dirs (and below) into an OpenAPI 3.0 document.
func fromSources(dirs ...string) (object, error) {
	first, err := firstFile(dirs[0])
	if err != nil {
		return nil, err
	}
	p := swag.New(swag.SetDebugger(log.New(io.Discard, "", 0)), swag.SetStrict(true))
	p.RequiredByDefault = true // a field that is always written is always there; optional ones say omitempty
	if err := p.ParseAPIMultiSearchDir(dirs, first, 1); err != nil {
		return nil, fmt.Errorf("annotations: %w", err)
	}
	b, err := json.Marshal(p.GetSwagger())
	if err != nil {
		return nil, err
	}
	var two openapi2.T
	if err := json.Unmarshal(b, &two); err != nil {
		return nil, fmt.Errorf("swagger 2.0: %w", err)
	}
	three, err := openapi2conv.ToV3(&two)
	if err != nil {
		return nil, fmt.Errorf("to openapi 3.0: %w", err)
	}
	if b, err = json.Marshal(three); err != nil {
		return nil, err
	}
	return parseJSON(b)
}

// firstFile names any Go file of dir: swag wants one for the document's general part, which for us is in the overlay.
func firstFile(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if !strings.HasSuffix(n, "_test.go") {
			return filepath.Base(n), nil
		}
	}
	return "", fmt.Errorf("no Go files in %s", dir)
}

// Schemas are named after their Go types, with the package: "api.Message", "api.List-api_Message".
var packageOf = regexp.MustCompile(`^[a-z0-9]+[._]`)

const schemaRef = "#/components/schemas/"

// shortenNames drops the package from the schemas' names: there is one package of wire types.
func shortenNames(doc object) {
	short := func(name string) string {
		parts := strings.Split(name, "-") // a generic type and its argument: List-Message is a MessageList
		for i := range parts {
			parts[i] = packageOf.ReplaceAllString(parts[i], "")
		}
		slices.Reverse(parts)
		return strings.Join(parts, "")
	}
	components := child(doc, "components")
	renamed := object{}
	for name, s := range child(components, "schemas") {
		renamed[short(name)] = s
	}
	components["schemas"] = renamed
	walk(doc, func(o object) {
		if ref, ok := o["$ref"].(string); ok {
			if name, ok := strings.CutPrefix(ref, schemaRef); ok {
				o["$ref"] = schemaRef + short(name)
			}
		}
	})
}

// walk calls f for every object of v, parents first.
func walk(v any, f func(object)) {
	switch v := v.(type) {
	case object:
		f(v)
		for _, sub := range v {
			walk(sub, f)
		}
	case []any:
		for _, sub := range v {
			walk(sub, f)
		}
	}
}

// child is the object at key, made when there is none.
func child(o object, key string) object {
	c, ok := o[key].(object)
	if !ok {
		c = object{}
		o[key] = c
	}
	return c
}
