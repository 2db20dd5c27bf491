package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// problems are the answers that every operation of a kind can give, by status, and their names among the overlay's responses.
// An annotation needs to mention one of them only to say more about it.
var problems = map[string]string{
	"400": "BadRequest", "401": "Unauthorized", "403": "Forbidden", "404": "NotFound", "405": "MethodNotAllowed", "409": "Conflict",
	"410": "Gone", "412": "PreconditionFailed", "413": "TooLarge", "415": "UnsupportedMediaType", "422": "Unprocessable",
	"428": "PreconditionRequired", "429": "TooManyRequests", "500": "InternalError", "503": "Unavailable",
}

// headerParameters are the shared parameters, by header.
var headerParameters = map[string]string{
	"Idempotency-Key": "IdempotencyKey", "If-Match": "IfMatch", "If-None-Match": "IfNoneMatch", "Accept-Language": "AcceptLanguage",
}

type operation struct {
	path, method string
	object
}

// operations lists every operation in a fixed order.
func operations(doc object) (ops []operation) {
	paths := child(doc, "paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := child(paths, path)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			if o, ok := item[method].(object); ok && method != "parameters" {
				ops = append(ops, operation{path, method, o})
			}
		}
	}
	return ops
}

// applyRules adds to every operation what is the same for all, and lists what the annotations forgot.
func applyRules(doc object) error {
	var errs []error
	components := child(doc, "components")
	for _, op := range operations(doc) {
		for _, key := range []string{"operationId", "summary", "tags"} {
			if op.object[key] == nil {
				errs = append(errs, fmt.Errorf("%s %s has no %s", op.method, op.path, key))
			}
		}
		op.parameters()
		if err := op.responses(components); err != nil {
			errs = append(errs, err)
		}
	}
	closeRequests(doc)
	for name, s := range child(child(doc, "components"), "schemas") {
		reflow(s.(object))
		properties, _ := s.(object)["properties"].(object)
		for property, p := range properties {
			reflow(p.(object))
			wireNames(property, p.(object))
			if strings.HasSuffix(name, "Patch") {
				clearable(p.(object))
			}
		}
	}
	return errors.Join(errs...)
}

// ofAPI says that the operation needs a key and answers with problems in the caller's language.
func (op operation) ofAPI() bool { return strings.HasPrefix(op.path, "/v1/") }

func (op operation) parameters() {
	list, _ := op.object["parameters"].([]any)
	var own, shared []any
	for _, p := range list {
		if name, ok := headerParameters[op.headerName(p)]; ok {
			shared = append(shared, name)
		} else {
			own = append(own, p)
		}
	}
	if op.ofAPI() && !slices.Contains(shared, any("AcceptLanguage")) {
		shared = append(shared, "AcceptLanguage")
	}
	for _, name := range shared {
		own = append(own, object{"$ref": "#/components/parameters/" + name.(string)})
	}
	if own != nil {
		op.object["parameters"] = own
	}
	if !op.ofAPI() {
		op.object["security"] = []any{}
	}
}

func (op operation) headerName(p any) string {
	if o, ok := p.(object); ok && o["in"] == "header" {
		name, _ := o["name"].(string)
		return name
	}
	return ""
}

// takes says whether the operation has the shared parameter.
func (op operation) takes(parameter string) bool {
	list, _ := op.object["parameters"].([]any)
	return slices.ContainsFunc(list, func(p any) bool {
		o, _ := p.(object)
		return o["$ref"] == "#/components/parameters/"+parameter
	})
}

// hasQuery says whether the operation reads the query: one that it does not know is refused.
func (op operation) hasQuery() bool {
	list, _ := op.object["parameters"].([]any)
	return slices.ContainsFunc(list, func(p any) bool {
		o, _ := p.(object)
		return o["in"] == "query"
	})
}

func (op operation) responses(components object) error {
	answers := child(op.object, "responses")
	delete(answers, "default") // the converter's own
	if op.ofAPI() {
		usual := []string{"401", "403", "429", "500"}
		if op.object["requestBody"] != nil {
			usual = append(usual, "400", "413", "422")
			if child(op.object["requestBody"].(object), "content")["application/json"] != nil {
				usual = append(usual, "415")
			}
		}
		if op.hasQuery() {
			usual = append(usual, "422")
		}
		if strings.Contains(op.path, "{") {
			usual = append(usual, "404")
		}
		if op.takes("IdempotencyKey") {
			usual = append(usual, "409")
		}
		if op.takes("IfMatch") {
			usual = append(usual, "412")
		}
		for _, status := range usual {
			child(answers, status)
		}
	}
	for status, v := range answers {
		a := v.(object)
		if status < "400" {
			op.success(status, a, components)
			continue
		}
		// Only the health checks answer a failure with something else than a problem.
		if a["content"] != nil && !isProblem(a) {
			continue
		}
		name, ok := problems[status]
		if !ok {
			return fmt.Errorf("%s %s: no shared problem for the status %s", op.method, op.path, status)
		}
		own, _ := a["description"].(string)
		if own == "" || own == statusText(status) {
			answers[status] = object{"$ref": "#/components/responses/" + name}
			continue
		}
		answers[status] = withDescription(child(child(components, "responses"), name), own)
	}
	return nil
}

// success replaces the headers that have a shared definition, and adds what a repeated request is answered with.
func (op operation) success(status string, a, components object) {
	headers := child(a, "headers")
	if status == "304" { // RFC 9110 section 15.4.5
		child(headers, "ETag")
	}
	if op.takes("IdempotencyKey") {
		child(headers, "Idempotent-Replayed")
	}
	for name := range headers {
		id := strings.ReplaceAll(name, "-", "")
		if _, ok := child(components, "headers")[id]; ok {
			headers[name] = object{"$ref": "#/components/headers/" + id}
		}
	}
	if len(headers) == 0 {
		delete(a, "headers")
	}
}

func isProblem(answer object) bool {
	found := false
	walk(answer, func(o object) { found = found || o["$ref"] == schemaRef+"Problem" })
	return found
}

func withDescription(response object, description string) object {
	own := maps.Clone(response)
	own["description"] = description
	return own
}

func statusText(status string) string {
	var code int
	_, _ = fmt.Sscan(status, &code)
	return http.StatusText(code)
}

// closeRequests says of the schemas that only requests use that they have no further properties: the service refuses unknown
// fields. Those of answers stay open, so that a field can be added to them.
func closeRequests(doc object) {
	schemas := child(child(doc, "components"), "schemas")
	asked, answered := map[string]bool{}, map[string]bool{}
	for _, op := range operations(doc) {
		reach(doc, op.object["requestBody"], asked)
		reach(doc, op.object["responses"], answered)
	}
	for name := range asked {
		s := child(schemas, name)
		if s["properties"] != nil && s["additionalProperties"] == nil && !answered[name] {
			s["additionalProperties"] = false
		}
	}
}

// reflow joins the lines of a doc comment's paragraphs.
func reflow(s object) {
	if text, ok := s["description"].(string); ok {
		s["description"] = wrapped.ReplaceAllString(text, "$1 $2")
	}
}

var wrapped = regexp.MustCompile(`(\S)\n(\S)`)

// wireNames replaces the Go name that a field's doc comment begins with by the name that the reader sees.
func wireNames(property string, p object) {
	text, _ := p["description"].(string)
	first, rest, _ := strings.Cut(text, " ")
	if camelCase.MatchString(first) && strings.EqualFold(first, strings.ReplaceAll(property, "_", "")) {
		p["description"] = "`" + property + "` " + rest
	}
}

var camelCase = regexp.MustCompile(`^[A-Z].*[a-z][A-Z]|^[A-Z]{2,}[A-Z][a-z]`)

// clearable lets a field of a merge patch (RFC 7386) be null, and so the entries of a map.
func clearable(p object) {
	makeNullable(p)
	if values, ok := p["additionalProperties"].(object); ok {
		makeNullable(values)
	}
}

// reach adds the schemas that v refers to, directly or through other components.
func reach(doc object, v any, seen map[string]bool) {
	walk(v, func(o object) {
		ref, ok := o["$ref"].(string)
		if !ok {
			return
		}
		if name, ok := strings.CutPrefix(ref, schemaRef); ok {
			if seen[name] {
				return
			}
			seen[name] = true
		}
		reach(doc, resolve(doc, ref), seen)
	})
}

// resolve gives what a reference into the document points to, nil when nothing does.
func resolve(doc object, ref string) any {
	var v any = doc
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		o, _ := v.(object)
		v = o[part]
	}
	return v
}

// prune removes the components that no operation uses.
func prune(doc object) {
	used := map[string]bool{}
	var mark func(v any)
	mark = func(v any) {
		walk(v, func(o object) {
			if ref, ok := o["$ref"].(string); ok && !used[ref] {
				used[ref] = true
				mark(resolve(doc, ref))
			}
		})
	}
	mark(doc["paths"])
	components := child(doc, "components")
	for kind := range components {
		if kind == "securitySchemes" {
			continue
		}
		for name := range child(components, kind) {
			if !used["#/components/"+kind+"/"+name] {
				delete(child(components, kind), name)
			}
		}
		if len(child(components, kind)) == 0 {
			delete(components, kind)
		}
	}
}
