package main

import "strings"

// upgrade turns an OpenAPI 3.0 document into 3.1, whose schemas are JSON Schema 2020-12: null is a type, an exclusive limit
// is a number, an example is one of a list.
func upgrade(doc object) {
	doc["openapi"] = "3.1.1"
	eachSchema(doc, func(s object) {
		delete(s, "x-originalParamName")
		collapse(s)
		if isTrue(s["nullable"]) || isTrue(s["x-nullable"]) {
			makeNullable(s)
		}
		delete(s, "nullable")
		delete(s, "x-nullable")
		for _, limit := range []struct{ exclusive, plain string }{{"exclusiveMinimum", "minimum"}, {"exclusiveMaximum", "maximum"}} {
			switch s[limit.exclusive] {
			case true:
				s[limit.exclusive] = s[limit.plain]
				delete(s, limit.plain)
			case false:
				delete(s, limit.exclusive)
			}
		}
		if ex, ok := s["example"]; ok {
			s["examples"] = []any{ex}
			delete(s, "example")
		}
	})
	walk(doc["paths"], func(o object) {
		delete(o, "x-originalParamName")
		if content, ok := o["content"].(object); ok {
			mediaTypes(content)
		}
	})
}

// mediaTypes names the type of a body whose annotation names none, and makes bytes of those that are no text.
func mediaTypes(content object) {
	if unnamed, ok := content["*/*"]; ok {
		delete(content, "*/*")
		content["application/json"] = unnamed
	}
	for name, v := range content {
		if strings.Contains(name, "json") || strings.HasPrefix(name, "text/") || strings.HasPrefix(name, "multipart/") {
			continue
		}
		v.(object)["schema"] = object{"type": "string", "format": "binary"}
	}
}

func isTrue(v any) bool { b, ok := v.(bool); return ok && b }

func makeNullable(s object) {
	switch t := s["type"].(type) {
	case string:
		s["type"] = []any{t, "null"}
		if enum, ok := s["enum"].([]any); ok {
			s["enum"] = append(enum, nil)
		}
	default:
		if ref, ok := s["$ref"]; ok {
			delete(s, "$ref")
			s["anyOf"] = []any{object{"$ref": ref}, object{"type": "null"}}
		}
	}
}

// collapse undoes the wrapping of a reference that has a description of its own: in 3.1 it may stand beside the reference.
func collapse(s object) {
	all, ok := s["allOf"].([]any)
	if !ok || len(all) != 1 {
		return
	}
	only, ok := all[0].(object)
	if ref, isRef := only["$ref"]; ok && isRef && len(only) == 1 {
		delete(s, "allOf")
		s["$ref"] = ref
	}
}

// eachSchema calls f for every schema of the document, inner ones first.
func eachSchema(doc object, f func(object)) {
	components := child(doc, "components")
	for _, s := range child(components, "schemas") {
		schema(s, f)
	}
	for _, part := range []any{doc["paths"], components["parameters"], components["headers"], components["responses"], components["requestBodies"]} {
		walk(part, func(o object) {
			// Outside schemas the key "schema" stands only where a schema is: in parameters, headers and media types.
			schema(o["schema"], f)
		})
	}
}

func schema(v any, f func(object)) {
	s, ok := v.(object)
	if !ok {
		return
	}
	for _, key := range []string{"items", "additionalProperties", "not"} {
		schema(s[key], f)
	}
	if props, ok := s["properties"].(object); ok {
		for _, p := range props {
			schema(p, f)
		}
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		if list, ok := s[key].([]any); ok {
			for _, p := range list {
				schema(p, f)
			}
		}
	}
	f(s)
}
