package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
)

// farEnd answers each request by the next function and keeps what came.
type farEnd struct {
	mu      sync.Mutex
	answers []http.HandlerFunc
	headers []http.Header
	bodies  []string
}

func (f *farEnd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	n := len(f.headers)
	f.headers = append(f.headers, r.Header)
	f.bodies = append(f.bodies, string(body))
	answer := f.answers[min(n, len(f.answers)-1)]
	f.mu.Unlock()
	answer(w, r)
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// drop breaks the line without an answer.
func drop(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func newTest(t *testing.T, answers ...http.HandlerFunc) (*Client, *farEnd, *[]time.Duration) {
	t.Helper()
	f := &farEnd{answers: answers}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	c, err := New(srv.URL+"/", "fct_secret")
	if err != nil {
		t.Fatal(err)
	}
	waits := new([]time.Duration)
	c.wait = func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil }
	return c, f, waits
}

func TestRepeatsWithTheSameKey(t *testing.T) {
	busy := status(http.StatusServiceUnavailable, `{"code":"busy","title":"Later"}`, "Retry-After", "7")
	c, f, waits := newTest(t, drop, busy, status(http.StatusAccepted, `{"id":"msg_1"}`))
	m, err := c.Send(t.Context(), api.MessageRequest{UserRef: "jdupont"})
	if err != nil || m.ID != "msg_1" {
		t.Fatalf("got %+v, %v", m, err)
	}
	first := f.headers[0].Get("Idempotency-Key")
	for i, h := range f.headers {
		if k := h.Get("Idempotency-Key"); k == "" || k != first {
			t.Errorf("try %d has the key %q, the first had %q", i, k, first)
		}
		if f.bodies[i] != f.bodies[0] || f.bodies[i] == "" {
			t.Errorf("try %d has the body %q", i, f.bodies[i])
		}
	}
	if len(*waits) != 2 || (*waits)[1] != 7*time.Second {
		t.Errorf("waited %v, want the second to be what the service asked for", *waits)
	}
}

func TestOwnKeyAndVersion(t *testing.T) {
	c, f, _ := newTest(t, status(http.StatusOK, `{}`))
	if _, err := c.UpdateTemplate(t.Context(), "tpl_1", api.TemplatePatch{}, IfVersion(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SendBatch(t.Context(), api.SendJobRequest{}, IdempotencyKey("mine")); err != nil {
		t.Fatal(err)
	}
	if got := f.headers[0].Get("If-Match"); got != `"3"` {
		t.Errorf("If-Match is %s", got)
	}
	if got := f.headers[1].Get("Idempotency-Key"); got != "mine" {
		t.Errorf("Idempotency-Key is %s", got)
	}
	if got := f.headers[1].Get("Authorization"); got != "Bearer fct_secret" {
		t.Errorf("Authorization is %s", got)
	}
}

// A refusal is final: it is not repeated, whatever its form.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, body, code string
		status           int
	}{
		{"problem", `{"code":"profile_missing","title":"No profile"}`, "profile_missing", 422},
		{"a proxy's page", `<html>Bad gateway</html>`, "http_502", 502},
		{"nothing", ``, "http_500", 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, f, _ := newTest(t, status(tt.status, tt.body))
			_, err := c.Send(t.Context(), api.MessageRequest{})
			var problem *Error
			if !errors.As(err, &problem) || problem.Code != tt.code || problem.Status != tt.status {
				t.Errorf("error is %v", err)
			}
			if len(f.headers) != 1 {
				t.Errorf("asked %d times", len(f.headers))
			}
			if strings.Contains(err.Error(), "fct_secret") {
				t.Errorf("the error holds the key: %v", err)
			}
		})
	}
}

func TestUploadIsRepeatedFromItsStart(t *testing.T) {
	c, f, _ := newTest(t, drop, status(http.StatusCreated, `{"id":"att_1"}`))
	r := strings.NewReader("skipped,content")
	if _, err := r.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Upload(t.Context(), r, File{Name: "f.txt"}); err != nil {
		t.Fatal(err)
	}
	if f.bodies[1] != "content" {
		t.Errorf("the second try sent %q", f.bodies[1])
	}
}

func TestUploadThatCannotBeReadTwiceIsNotRepeated(t *testing.T) {
	c, f, _ := newTest(t, status(http.StatusServiceUnavailable, ``))
	_, err := c.Upload(t.Context(), io.MultiReader(strings.NewReader("content")), File{Name: "f.txt"})
	if err == nil || len(f.headers) != 1 {
		t.Errorf("asked %d times, error %v", len(f.headers), err)
	}
}

func TestListEndsAtAnError(t *testing.T) {
	c, _, _ := newTest(t, status(http.StatusOK, `{"items":[{"id":"msg_1"}],"next_cursor":"n"}`), status(http.StatusForbidden, `{"code":"scope_missing"}`))
	var ids []string
	var last error
	for m, err := range c.Messages(t.Context(), MessageFilter{}) {
		if last = err; err == nil {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) != 1 || last == nil {
		t.Errorf("got %v and %v", ids, last)
	}
}

func TestFollowJobEndsWhenFinished(t *testing.T) {
	c, _, waits := newTest(t, status(http.StatusOK, `{"done":1}`), status(http.StatusOK, `{"done":2,"finished":true}`))
	var done []int
	for job, err := range c.FollowJob(t.Context(), "job_1", time.Second) {
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, job.Done)
	}
	if len(done) != 2 || len(*waits) != 1 {
		t.Errorf("saw %v, waited %v", done, *waits)
	}
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:8025", "ftp://host", "http://"} {
		if _, err := New(base, ""); err == nil {
			t.Errorf("%q was accepted", base)
		}
	}
}
