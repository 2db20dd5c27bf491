// Package contract holds a running handler to its OpenAPI document, in tests: every exchange that goes through Handler is
// compared with what the document says of the operation.
//
// What is checked: the operation, the answer's status and media type are documented; the answer's body fits its schema and has
// no field that the schema does not know; the headers that tell a client something (ETag, Location, ...) are given where and
// only where they are documented; a request that the service took is one that the document allows. A request that the
// service refused may break the document, that is what many tests do.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	problems "github.com/pb33f/libopenapi-validator/errors"
)

// Contract is a loaded document and what was seen of it. It is safe for concurrent use.
type Contract struct {
	paths     map[string]map[string]operation // by path template and method in upper case
	validator validator.Validator

	mu   sync.Mutex
	seen map[string]bool // "POST /v1/messages 202"
}

type operation struct {
	Parameters []struct {
		Name string `json:"name"`
		In   string `json:"in"`
	} `json:"parameters"`
	Responses map[string]struct {
		Headers map[string]struct {
			Required bool `json:"required"`
		} `json:"headers"`
		Content map[string]struct{} `json:"content"`
		Ref     string              `json:"$ref"`
	} `json:"responses"`
}

// speaking headers tell a client something that it acts on: each is documented exactly where it is given. Those that depend
// on the case (Idempotent-Replayed) may be documented and absent.
var speaking = []string{"ETag", "Location"}

// optional headers are documented wherever they are given.
var optional = []string{"Idempotent-Replayed", "Retry-After", "WWW-Authenticate", "Content-Disposition"}

// Load reads an OpenAPI 3.1 document in JSON.
func Load(document []byte) (*Contract, error) {
	var doc struct {
		Paths map[string]map[string]operation `json:"paths"`
		Comps struct {
			Responses json.RawMessage `json:"responses"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	shared := operation{}
	if len(doc.Comps.Responses) > 0 {
		if err := json.Unmarshal(doc.Comps.Responses, &shared.Responses); err != nil {
			return nil, fmt.Errorf("contract: %w", err)
		}
	}
	c := &Contract{paths: map[string]map[string]operation{}, seen: map[string]bool{}}
	for path, item := range doc.Paths {
		c.paths[path] = map[string]operation{}
		for method, op := range item {
			for status, r := range op.Responses {
				if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
					op.Responses[status] = shared.Responses[name]
				}
			}
			c.paths[path][strings.ToUpper(method)] = op
		}
	}
	closed, err := closeSchemas(document)
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	parsed, err := libopenapi.NewDocument(closed)
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	v, errs := validator.NewValidator(parsed, config.WithFormatAssertions(), config.WithoutSecurityValidation())
	if len(errs) > 0 {
		return nil, fmt.Errorf("contract: %w", errors.Join(errs...))
	}
	if ok, bad := v.ValidateDocument(); !ok {
		return nil, fmt.Errorf("contract: the document is not valid: %s", list(bad))
	}
	c.validator = v
	return c, nil
}

// closeSchemas gives the document with every object closed that lists its properties and leaves open whether there are others.
// Clients must take such others; our own answers may not have them.
func closeSchemas(document []byte) ([]byte, error) {
	var doc any
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, err
	}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, sub := range v {
				visit(sub)
			}
		case map[string]any:
			_, lists := v["properties"].(map[string]any)
			if _, says := v["additionalProperties"]; lists && !says {
				v["additionalProperties"] = false
			}
			for _, sub := range v {
				visit(sub)
			}
		}
	}
	visit(doc)
	return json.Marshal(doc)
}

// Handler passes requests on to h and reports to t what breaks the contract. Bodies are held in memory: it is for tests.
func (c *Contract) Handler(t testing.TB, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s %s: read the request: %v", r.Method, r.URL.Path, err)
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
		asked := r.Clone(r.Context()) // the handler may change its own
		asked.Body = io.NopCloser(bytes.NewReader(sent))

		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		got := rec.Result()
		got.Body = io.NopCloser(bytes.NewReader(rec.Body.Bytes()))
		for _, e := range c.Check(asked, got) {
			t.Errorf("%s %s answered %d: %s", r.Method, r.URL, rec.Code, e)
		}

		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // a client that went away is the client's affair
	})
}

// Check compares one exchange with the document and says what breaks it. Both bodies are read.
func (c *Contract) Check(r *http.Request, got *http.Response) (broken []string) {
	path, op, ok := c.find(r)
	if !ok {
		if got.StatusCode == http.StatusNotFound || got.StatusCode == http.StatusMethodNotAllowed {
			return nil
		}
		return []string{"the operation is not documented"}
	}
	status := strconv.Itoa(got.StatusCode)
	answer, ok := op.Responses[status]
	if !ok {
		return []string{"the status is not documented; documented are " + strings.Join(slices.Sorted(maps.Keys(op.Responses)), ", ")}
	}
	c.mu.Lock()
	c.seen[r.Method+" "+path+" "+status] = true
	c.mu.Unlock()

	body, err := io.ReadAll(got.Body)
	if err != nil {
		return []string{err.Error()}
	}
	got.Body = io.NopCloser(bytes.NewReader(body))
	if len(answer.Content) == 0 {
		if len(body) > 0 {
			broken = append(broken, "has a body, the document says none")
		}
	} else if media, _, err := mime.ParseMediaType(got.Header.Get("Content-Type")); err != nil {
		broken = append(broken, fmt.Sprintf("Content-Type %q: %v", got.Header.Get("Content-Type"), err))
	} else if !matches(answer.Content, media) {
		broken = append(broken, "the media type "+media+" is not documented")
	}
	for _, name := range slices.Concat(speaking, optional) {
		_, documented := answer.Headers[name]
		given := got.Header.Get(name) != ""
		if given && !documented {
			broken = append(broken, "gives "+name+", which is not documented")
		}
		if documented && !given && slices.Contains(speaking, name) {
			broken = append(broken, "lacks the header "+name)
		}
	}
	if ok, errs := c.validator.ValidateHttpResponse(r, got); !ok && len(answer.Content) > 0 {
		broken = append(broken, list(errs)+"\n"+excerpt(body))
	}
	if got.StatusCode < 400 {
		for name := range r.URL.Query() {
			if !op.takes(name) {
				broken = append(broken, "took the parameter "+name+", which is not documented")
			}
		}
		if ok, errs := c.validator.ValidateHttpRequestSync(r); !ok {
			broken = append(broken, "took a request that the document does not allow: "+list(errs))
		}
	}
	return broken
}

// takes says whether the operation has a parameter of the query with the name.
func (op operation) takes(name string) bool {
	for _, p := range op.Parameters {
		if p.In == "query" && p.Name == name {
			return true
		}
	}
	return false
}

// Unseen lists the documented operations that were never called with success, and the documented statuses under 400 that were
// never answered.
func (c *Contract) Unseen() (missing []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, item := range c.paths {
		for method, op := range item {
			for status := range op.Responses {
				if name := method + " " + path + " " + status; status < "400" && !c.seen[name] {
					missing = append(missing, name)
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// find gives the operation of a request: the template that fits with the fewest parameters.
func (c *Contract) find(r *http.Request) (path string, op operation, ok bool) {
	fewest := -1
	segments := strings.Split(r.URL.Path, "/")
	for template, item := range c.paths {
		o, has := item[r.Method]
		if n := fits(strings.Split(template, "/"), segments); has && n >= 0 && (fewest < 0 || n < fewest) {
			path, op, ok, fewest = template, o, true, n
		}
	}
	return path, op, ok
}

// fits counts the parameters of a template that a path fills; -1 when it does not fit.
func fits(template, segments []string) (parameters int) {
	if len(template) != len(segments) {
		return -1
	}
	for i, t := range template {
		switch {
		case strings.HasPrefix(t, "{") && segments[i] != "":
			parameters++
		case t != segments[i]:
			return -1
		}
	}
	return parameters
}

func matches(content map[string]struct{}, media string) bool {
	kind, _, _ := strings.Cut(media, "/")
	for documented := range content {
		if documented == media || documented == kind+"/*" || documented == "*/*" {
			return true
		}
	}
	return false
}

func list(errs []*problems.ValidationError) string {
	var b strings.Builder
	for i, e := range errs {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(e.Message)
		if e.Reason != "" && len(e.SchemaValidationErrors) == 0 {
			b.WriteString(": " + e.Reason)
		}
		for _, s := range e.SchemaValidationErrors {
			b.WriteString(": " + s.FieldPath + " " + s.Reason)
		}
	}
	return b.String()
}

func excerpt(body []byte) string {
	const most = 1000
	if len(body) > most {
		return string(body[:most]) + "..."
	}
	return string(body)
}
