package contract

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const document = `{
 "openapi": "3.1.1", "info": {"title": "t", "version": "1"},
 "paths": {
  "/v1/things": {
   "get": {"parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 200}}],
    "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}}}}}},
   "post": {"requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}, "additionalProperties": false}}}},
    "responses": {
     "201": {"description": "made", "headers": {"Location": {"schema": {"type": "string"}}}, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
     "422": {"$ref": "#/components/responses/Bad"}}}
  },
  "/v1/things/{id}": {
   "get": {"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
    "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}}},
   "delete": {"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
    "responses": {"204": {"description": "gone"}}}
  },
  "/v1/things/all": {"get": {"responses": {"200": {"description": "ok", "content": {"text/csv": {"schema": {"type": "string"}}}}}}}
 },
 "components": {
  "responses": {"Bad": {"description": "bad", "content": {"application/problem+json": {"schema": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}}}}}},
  "schemas": {"Thing": {"type": "object", "required": ["id", "at"], "properties": {"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "note": {"type": ["string", "null"]}}}}
 }
}`

type exchange struct {
	method, path, body string
	status             int
	header             http.Header
	answer             string
}

func (e exchange) check(t *testing.T, c *Contract) []string {
	t.Helper()
	r := httptest.NewRequest(e.method, e.path, strings.NewReader(e.body))
	if e.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	h := e.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if h.Get("Content-Type") == "" && e.answer != "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	return c.Check(r, &http.Response{StatusCode: e.status, Header: h, Body: io.NopCloser(strings.NewReader(e.answer))})
}

func TestCheck(t *testing.T) {
	const thing = `{"id":"a","at":"2026-11-23T10:00:00Z"}`
	made := http.Header{"Location": {"/v1/things/a"}}
	for name, tt := range map[string]struct {
		exchange
		want string // part of what is reported; "" when all is well
	}{
		"list":                {exchange{"GET", "/v1/things?limit=5", "", 200, nil, "[" + thing + "]"}, ""},
		"made":                {exchange{"POST", "/v1/things", `{"name":"x"}`, 201, made, thing}, ""},
		"null where allowed":  {exchange{"GET", "/v1/things/a", "", 200, nil, `{"id":"a","at":"2026-11-23T10:00:00Z","note":null}`}, ""},
		"no body":             {exchange{"DELETE", "/v1/things/a", "", 204, nil, ""}, ""},
		"fixed before param":  {exchange{"GET", "/v1/things/all", "", 200, http.Header{"Content-Type": {"text/csv"}}, "a,b\n"}, ""},
		"refused bad request": {exchange{"POST", "/v1/things", `{"nom":1}`, 422, http.Header{"Content-Type": {"application/problem+json"}}, `{"code":"x"}`}, ""},
		"unknown path, 404":   {exchange{"GET", "/v1/nothing", "", 404, nil, `{}`}, ""},
		"unknown method, 405": {exchange{"PUT", "/v1/things", "", 405, nil, `{}`}, ""},

		"undocumented operation": {exchange{"PUT", "/v1/things", "", 200, nil, `{}`}, "operation is not documented"},
		"undocumented status":    {exchange{"GET", "/v1/things", "", 202, nil, `[]`}, "status is not documented; documented are 200"},
		"undocumented type":      {exchange{"GET", "/v1/things/all", "", 200, nil, `{}`}, "media type application/json is not documented"},
		"unexpected body":        {exchange{"DELETE", "/v1/things/a", "", 204, nil, `{}`}, "has a body"},
		"missing field":          {exchange{"GET", "/v1/things/a", "", 200, nil, `{"id":"a"}`}, "at"},
		"wrong type":             {exchange{"GET", "/v1/things/a", "", 200, nil, `{"id":1,"at":"2026-11-23T10:00:00Z"}`}, "id"},
		"not a time":             {exchange{"GET", "/v1/things/a", "", 200, nil, `{"id":"a","at":"yesterday"}`}, "date-time"},
		"undocumented field":     {exchange{"GET", "/v1/things/a", "", 200, nil, `{"id":"a","at":"2026-11-23T10:00:00Z","secret":1}`}, "secret"},
		"undocumented in a list": {exchange{"GET", "/v1/things", "", 200, nil, `[{"id":"a","at":"2026-11-23T10:00:00Z","secret":1}]`}, "secret"},
		"undocumented in a 422":  {exchange{"POST", "/v1/things", `{}`, 422, http.Header{"Content-Type": {"application/problem+json"}}, `{"code":"x","trace":"y"}`}, "trace"},
		"missing header":         {exchange{"POST", "/v1/things", `{"name":"x"}`, 201, nil, thing}, "lacks the header Location"},
		"undocumented header":    {exchange{"GET", "/v1/things/a", "", 200, http.Header{"Etag": {`"1"`}}, thing}, "gives ETag"},
		"took a bad request":     {exchange{"POST", "/v1/things", `{"name":"x","nom":1}`, 201, made, thing}, "does not allow"},
		"took an unknown param":  {exchange{"GET", "/v1/things?q=1", "", 200, nil, "[]"}, "took the parameter q"},
		"took a bad parameter":   {exchange{"GET", "/v1/things?limit=999", "", 200, nil, "[]"}, "does not allow"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(tt.check(t, c), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnseen(t *testing.T) {
	c, err := Load([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	exchange{"GET", "/v1/things", "", 200, nil, "[]"}.check(t, c)
	exchange{"POST", "/v1/things", "{}", 422, http.Header{"Content-Type": {"application/problem+json"}}, `{"code":"x"}`}.check(t, c)
	want := []string{"DELETE /v1/things/{id} 204", "GET /v1/things/all 200", "GET /v1/things/{id} 200", "POST /v1/things 201"}
	if got := c.Unseen(); !slices.Equal(got, want) {
		t.Errorf("Unseen() = %q, want %q", got, want)
	}
}

// The handler's answer reaches the client as it was, and the handler gets the whole request.
func TestHandlerPassesThrough(t *testing.T) {
	c, err := Load([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(c.Handler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "/v1/things/a")
		w.WriteHeader(201)
		_, _ = io.WriteString(w, `{"id":"`+string(body[9:10])+`","at":"2026-11-23T10:00:00Z"}`)
	})))
	defer srv.Close()
	resp, err := http.Post(srv.URL+"/v1/things", "application/json", strings.NewReader(`{"name":"q"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 201 || !strings.Contains(string(body), `"id":"q"`) || resp.Header.Get("Location") == "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, doc := range []string{"", "{", `{"openapi":"3.1.1"}`, `{"openapi":"3.1.1","info":{"title":"t","version":"1"},"paths":{"/a":{"get":{"responses":{"200":{}}}}}}`} {
		if _, err := Load([]byte(doc)); err == nil {
			t.Errorf("%.60s was loaded", doc)
		}
	}
}
