package docs

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func handler() http.Handler {
	gin.SetMode(gin.TestMode)
	r := gin.New()
	Register(r)
	return r
}

func get(h http.Handler, method, path, etag string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, nil)
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestPages(t *testing.T) {
	h := handler()
	for _, p := range pages {
		rec := get(h, "GET", p.path, "")
		if rec.Code != 200 || rec.Body.Len() == 0 {
			t.Errorf("%s: %d, %d bytes", p.path, rec.Code, rec.Body.Len())
		}
		if got := rec.Header().Get("Content-Type"); got != p.mediaType {
			t.Errorf("%s: Content-Type %s", p.path, got)
		}
		csp := rec.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: the policy is not strict: %s", p.path, csp)
		}
		if again := get(h, "GET", p.path, rec.Header().Get("ETag")); again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("%s: with its own ETag: %d, %d bytes, want 304 and none", p.path, again.Code, again.Body.Len())
		}
		if head := get(h, "HEAD", p.path, ""); head.Code != 200 || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d, %d bytes", p.path, head.Code, head.Body.Len())
		}
	}
}

// The page may load nothing that this package does not serve, and hold no script or style that the policy would stop.
func TestPageLoadsOnlyWhatIsServed(t *testing.T) {
	h := handler()
	page := get(h, "GET", "/docs", "").Body.String()
	links := regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 5 {
		t.Fatalf("found only %d links in the page", len(links))
	}
	for _, l := range links {
		if rec := get(h, "GET", "/"+l[1], ""); rec.Code != 200 {
			t.Errorf("the page wants %s: %d", l[1], rec.Code)
		}
	}
	for _, bad := range []string{"<style", "style=", "onload=", "<script>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
}
