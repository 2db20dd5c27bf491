// Package internal_test holds the rules of the house that a compiler does not: who may import whom, and who may read the
// environment. A new package is added to the table together with the reason why it exists.
package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/winprest/facteur"

// rule is what a package may import besides the standard library: packages of ours and prefixes of others' paths.
type rule struct {
	ours, others []string
}

// rules is the layering. Domain in the middle, databases and networks at the edges, cmd knows everything.
var rules = map[string]rule{
	"api":        {},
	"pkg/client": {ours: []string{"api"}},

	// cal knows the public holidays, on which nothing is sent.
	"internal/mail": {others: []string{"golang.org/x/net", "golang.org/x/text", "github.com/microcosm-cc/bluemonday", "github.com/rickar/cal/v2"}},

	"internal/transport":      {ours: []string{"internal/mail"}},
	"internal/transport/smtp": {ours: []string{"internal/mail", "internal/transport", "internal/transport/dial"}, others: []string{"github.com/wneessen/go-mail/smtp", "golang.org/x/net"}},
	// onepost is what the drivers of HTTP APIs share: a POST that is made once, and how far it came.
	"internal/transport/onepost":  {ours: []string{"internal/mail", "internal/transport"}},
	"internal/transport/sendgrid": {ours: []string{"internal/mail", "internal/transport", "internal/transport/onepost"}, others: []string{"github.com/sendgrid/sendgrid-go/helpers/mail"}},
	"internal/transport/gmail":    {ours: []string{"internal/mail", "internal/transport", "internal/transport/onepost"}, others: []string{"google.golang.org/api/gmail/v1", "google.golang.org/api/googleapi", "google.golang.org/api/option"}},
	// events is the other half of SendGrid: what it reports, as the webhook's handler needs it, without the driver.
	"internal/transport/sendgrid/events": {ours: []string{"internal/mail"}},
	"internal/transport/sandbox":         {ours: []string{"internal/mail", "internal/transport"}},
	"internal/transport/transporttest":   {ours: []string{"internal/mail", "internal/transport"}, others: []string{"github.com/emersion/go-smtp", "github.com/emersion/go-sasl"}},
	"internal/store":                     {ours: []string{"internal/mail"}, others: databases},
	"internal/store/storetest":           {ours: []string{"internal/mail", "internal/store"}, others: databases},
	// consent is the way between a browser, Google and a stored grant; it knows neither HTTP pages nor the engine.
	"internal/consent": {ours: []string{"internal/mail", "internal/transport", "internal/store"}, others: []string{"golang.org/x/oauth2"}},
	// inspect reads files that strangers made; it has its own fuzz tests and knows nothing of mail.
	"internal/inspect": {others: []string{"golang.org/x/net/html/charset", "golang.org/x/text"}},
	// preflight is the look at a batch before it is sent, stored or not.
	"internal/preflight": {ours: []string{"internal/mail", "internal/transport", "internal/store", "internal/inspect"}},
	"internal/outbox":    {ours: []string{"internal/mail", "internal/transport", "internal/store"}, others: slices.Concat(queue, databases)},
	// senders is the way from a From to the proof at SendGrid that its firm may send from it; the store has whose it is.
	"internal/senders": {ours: []string{"internal/mail", "internal/transport", "internal/transport/sendgrid", "internal/store"}, others: []string{"golang.org/x/net/publicsuffix"}},
	// bounce reads delivery reports; it is apart because it reads what anybody may have written, and knows nothing of what was sent.
	"internal/bounce": {others: []string{"github.com/emersion/go-message"}},
	// bounce/mailbox fetches them over IMAP, decides what to believe, and tells the engine.
	"internal/bounce/mailbox": {ours: []string{"internal/bounce", "internal/mail", "internal/store", "internal/outbox", "internal/transport/dial"}, others: []string{"github.com/emersion/go-imap/v2", "github.com/emersion/go-sasl", "golang.org/x/net"}},
	// notify tells a tenant's programs and people what happened; it lives beside the engine, so that no receiver is in the way of mail.
	"internal/notify": {ours: []string{"api", "internal/mail", "internal/store", "internal/outbox", "internal/transport/dial", "internal/server/texts"}},
	"internal/server": {ours: []string{"api", "internal/senders", "internal/transport/sendgrid", "internal/mail", "internal/transport", "internal/store", "internal/outbox", "internal/consent", "internal/notify", "internal/preflight", "internal/watch", "internal/transport/sendgrid/events", "internal/server/docs", "internal/server/texts"}, others: []string{"github.com/gin-gonic/gin", "github.com/go-playground", "golang.org/x/text", "github.com/prometheus/client_golang"}},
	// watch is how any number of callers follow a send job at the price of one; it knows neither jobs nor HTTP.
	"internal/watch":            {},
	"internal/server/texts":     {ours: []string{"internal/mail"}, others: []string{"golang.org/x/text"}},
	"internal/server/docs":      {others: []string{"github.com/gin-gonic/gin"}},
	"internal/openapi":          {others: []string{"github.com/swaggo/swag", "github.com/getkin/kin-openapi", "github.com/goccy/go-yaml"}},
	"internal/openapi/contract": {others: []string{"github.com/pb33f"}},
	// pgtest is for tests and the benchmark; it starts PostgreSQL with the environment that the tests were given.
	"internal/pgtest":         {others: []string{"github.com/jackc/pgx"}},
	"internal/transport/dial": {},
	"internal/demo":           {ours: []string{"api", "pkg/client"}, others: []string{"golang.org/x/text", "github.com/schollz/progressbar", "github.com/emersion/go-smtp"}},
	"internal/bench":          {ours: []string{anything}, others: []string{anything}},
	"cmd/facteur":             {ours: []string{anything}, others: []string{"github.com/alecthomas/kong", "github.com/caarlos0/env", "github.com/schollz/progressbar", "golang.org/x/term"}},
}

var (
	databases = []string{
		"gorm.io", "github.com/jackc/pgx", "modernc.org/sqlite", "github.com/pressly/goose", "github.com/oklog/ulid",
		"github.com/tink-crypto/tink-go", "golang.org/x/sync",
	}
	queue = []string{"github.com/riverqueue/river"}
)

const anything = "*"

type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
	Standard   bool
}

func ourPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range ourPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		r, ok := rules[name]
		if !ok && len(p.Imports) > 0 { // a folder with tests only needs no rule
			t.Errorf("%s has no rule: add it to the table with what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module+"/"); ok {
				if !slices.Contains(r.ours, anything) && !slices.Contains(r.ours, ours) {
					t.Errorf("%s imports %s", name, ours)
				}
				continue
			}
			first, _, _ := strings.Cut(imp, "/")
			if strings.Contains(first, ".") && !allowed(r.others, imp) {
				t.Errorf("%s imports %s", name, imp)
			}
		}
	}
}

func allowed(prefixes []string, path string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return p == anything || path == p || strings.HasPrefix(path, p+"/")
	})
}

// The environment is read in cmd/facteur and nowhere else, so that its table of variables is complete.
func TestOnlyTheCommandReadsTheEnvironment(t *testing.T) {
	reads := []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}
	for _, p := range ourPackages(t) {
		switch strings.TrimPrefix(p.ImportPath, module+"/") {
		case "cmd/facteur", "internal/bench", "internal/pgtest":
			continue
		}
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && slices.Contains(reads, sel.Sel.Name) {
					t.Errorf("%s: os.%s: only cmd/facteur reads the environment", fset.Position(sel.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
}
