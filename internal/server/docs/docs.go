// Package docs serves the contract to those who program against Facteur: openapi.yaml and openapi.json as generated, and
// Swagger UI to read them and try a call.
//
// Everything is part of the binary: the page works on a server without the Internet, loads nothing from anywhere else, and
// is held to that by its Content-Security-Policy. The pages are public; they hold no data of a tenant's.
//
// openapi.yaml is a copy of the one at the root of the repository (an embedded file cannot lie outside its package); the
// command internal/openapi writes both, and its -check fails when one of them is stale.
package docs

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

//go:embed openapi.yaml openapi.json index.html init.js page.css swagger-ui
var files embed.FS

// policy lets the page load scripts, styles and the contract from this server only. Swagger UI sets its inline styles through
// the DOM, which needs no exception, and draws its icons from data: URLs.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pages maps each path to its file and media type.
var pages = []struct{ path, file, mediaType string }{
	{"/openapi.yaml", "openapi.yaml", "application/yaml; charset=utf-8"}, // RFC 9512
	{"/openapi.json", "openapi.json", "application/json; charset=utf-8"},
	{"/docs", "index.html", "text/html; charset=utf-8"},
	{"/docs/init.js", "init.js", "text/javascript; charset=utf-8"},
	{"/docs/page.css", "page.css", "text/css; charset=utf-8"},
	{"/docs/swagger-ui.css", "swagger-ui/swagger-ui.css", "text/css; charset=utf-8"},
	{"/docs/swagger-ui-bundle.js", "swagger-ui/swagger-ui-bundle.js", "text/javascript; charset=utf-8"},
	{"/docs/favicon-32x32.png", "swagger-ui/favicon-32x32.png", "image/png"},
	{"/docs/LICENSE.txt", "swagger-ui/LICENSE", "text/plain; charset=utf-8"},
}

// Register adds the pages to r, for GET and HEAD. Each has a strong ETag and is revalidated, so that a new version of the
// program shows its own contract at once.
func Register(r gin.IRouter) {
	for _, p := range pages {
		r.Match([]string{http.MethodGet, http.MethodHead}, p.path, serve(p.file, p.mediaType))
	}
}

// open gives an embedded file where it lies in the program, without a copy.
func open(name string) io.ReadSeekCloser {
	f, err := files.Open(name)
	if err != nil {
		panic(err) // every file is embedded: cannot happen in a program that was built
	}
	return f.(io.ReadSeekCloser) // as package embed promises
}

// Document is the contract as JSON, for tests that hold answers to it. It is not to be changed.
func Document() []byte {
	body, err := fs.ReadFile(files, "openapi.json")
	if err != nil {
		panic(err)
	}
	return body
}

func serve(file, mediaType string) gin.HandlerFunc {
	etag := sync.OnceValue(func() string {
		f, sum := open(file), sha256.New()
		defer f.Close()
		if _, err := io.Copy(sum, f); err != nil {
			panic(err) // it is in memory
		}
		return `"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`
	})
	return func(c *gin.Context) {
		f := open(file)
		defer f.Close()
		h := c.Writer.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Etag", etag())
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(c.Writer, c.Request, "", time.Time{}, f)
	}
}
