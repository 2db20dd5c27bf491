package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/mail"
)

// Bodies that are held at once are bounded: the next one is asked to come back.
func TestBodiesAreBounded(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	h.server.limits.Buffered = 1 << 20
	reading, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := readerFunc(func(p []byte) (int, error) {
		once.Do(func() { close(reading) })
		<-finish
		return 0, io.EOF
	})
	h.server.limits.SendBody = 1 << 20
	done := make(chan answered)
	go func() { done <- h.do(h.ours.all, "POST", "/v1/messages", io.Reader(slow)) }()
	<-reading
	big := `{"text":"` + strings.Repeat("x", 100<<10) + `"}`
	a := h.do(h.ours.all, "POST", "/v1/messages", big)
	if a.Code != http.StatusTooManyRequests || a.Header().Get("Retry-After") == "" || a.text("code") != codeRateLimited {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	// Small ones go through.
	h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(f.invoice()))
	close(finish)
	if a := <-done; a.Code != http.StatusBadRequest {
		t.Errorf("an empty body: %d", a.Code)
	}
	if n := h.server.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// Callers that write their whole body before they read get the reason for a refusal, not a broken connection.
func TestRefusalReachesWhoWritesFirst(t *testing.T) {
	h := onSQLite(t)
	web := httptest.NewServer(h.server)
	defer web.Close()
	for _, tt := range []struct {
		path      string
		size, max int64
		want      string
	}{
		{"/v1/messages", 30 << 20, 1 << 30, "413"},
		{"/v1/messages", 10 << 20, 1 << 20, "429"},
		{"/v1/attachments?filename=a.pdf", 30 << 20, 1 << 30, "413"},
		{"/v1/attachments?filename=a.pdf&kind=none", 20 << 20, 1 << 30, "422"},
	} {
		h.server.limits.Buffered = tt.max
		conn, err := net.Dial("tcp", web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", tt.path, h.ours.all, tt.size)
		piece := make([]byte, 1<<20)
		for n := int64(0); n < tt.size; n += int64(len(piece)) {
			if _, err := conn.Write(piece); err != nil {
				t.Fatalf("%s: after %d bytes: %v", tt.path, n, err)
			}
		}
		status, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(status, "HTTP/1.1 "+tt.want) {
			t.Errorf("%s: %q, %v; want %s", tt.path, status, err, tt.want)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A look-up is shared by those who wait together, and never answers with what was read before they asked.
func TestFresh(t *testing.T) {
	var f fresh[string, int64]
	var value, reads atomic.Int64
	read := func(context.Context) (int64, error) {
		reads.Add(1)
		return value.Load(), nil
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				want := value.Add(1)
				if got, err := f.get(t.Context(), "k", read); err != nil || got < want {
					t.Errorf("read %d after %d was written: %v", got, want, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if len(f.loads) != 0 {
		t.Errorf("%d look-ups are left", len(f.loads))
	}
	if reads.Load() > 16_000 {
		t.Errorf("%d reads", reads.Load())
	}
}

func TestFreshSurvivesAPanic(t *testing.T) {
	var f fresh[string, int]
	func() {
		defer func() { _ = recover() }()
		_, _ = f.get(t.Context(), "k", func(context.Context) (int, error) { panic("x") })
	}()
	if v, err := f.get(t.Context(), "k", func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}

func TestCheckEndsAHold(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		hold := func() {
			p, err := h.store.Profile(h.Context(), h.ours.id, f.user)
			if err == nil {
				err = h.store.HoldProfile(h.Context(), p, mail.ProfileTrouble{Code: codeConflict, Reply: mail.Reply{Code: 535, Text: "no"}})
			}
			if err != nil {
				h.Fatal(err)
			}
		}
		status := func() string {
			return h.must(http.StatusOK, h.ours.all, "GET", "/v1/sender-profiles/"+f.user, nil).text("status")
		}
		hold()
		if status() != "held" {
			h.Error("not held")
		}
		// What is accepted meanwhile waits, and the answer says why.
		a := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(f.invoice()))
		if p, _ := a.doc["problem"].(object); a.text("status") != "held" || p["code"] != codeConflict {
			h.Errorf("%s", a.Body)
		}
		if m := h.must(http.StatusOK, h.ours.all, "GET", a.Header().Get("Location"), nil); m.text("status") != "held" || m.doc["problem"] == nil {
			h.Errorf("%s", m.Body)
		}
		if c := h.must(http.StatusOK, h.ours.all, "POST", "/v1/sender-profiles/"+f.user+"/check", nil); c.doc["ok"] != true || status() != "ready" {
			h.Errorf("%s, %s", c.Body, status())
		}
		hold()
		h.must(http.StatusOK, h.ours.all, "PATCH", "/v1/sender-profiles/"+f.user, `{"smtp":{"password":"better"}}`)
		if status() != "ready" {
			h.Error("an edit must end a hold")
		}
		// Mail waits for it, so it cannot go.
		if a := h.must(http.StatusConflict, h.ours.all, "DELETE", "/v1/sender-profiles/"+f.user, nil); a.text("code") != codeProfileInUse {
			h.Errorf("%s", a.Body)
		}
		h.must(http.StatusNoContent, h.ours.all, "DELETE", "/v1/sender-profiles/"+f.company, nil)
		h.must(http.StatusNotFound, h.ours.all, "GET", "/v1/sender-profiles/"+f.company, nil)
	})
}

func TestTemplatesAndPreview(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		path := "/v1/templates/" + f.template
		p := h.must(http.StatusOK, h.ours.read, "POST", path+"/preview", `{"language":"nl","client":{"name":"<b>&"},"document":{"number":"42"}}`)
		if p.text("language") != "nl" || p.text("subject") != "Factuur 42" || !strings.Contains(p.text("html"), "&lt;b&gt;&amp;") || len(p.doc["sampled"].([]any)) != 1 {
			h.Errorf("%s", p.Body)
		}
		for format, want := range map[string]string{"html": "text/html; charset=utf-8", "text": "text/plain; charset=utf-8", "eml": "message/rfc822"} {
			a := h.must(http.StatusOK, h.ours.read, "POST", path+"/preview?format="+format, `{"language":"nl"}`)
			if a.Header().Get("Content-Type") != want || a.Body.Len() == 0 {
				h.Errorf("%s: %v", format, a.Header())
			}
			accepted := h.must(http.StatusOK, h.ours.read, "POST", path+"/preview", `{"language":"nl"}`, "Accept", strings.TrimSuffix(want, "; charset=utf-8"))
			if accepted.Header().Get("Content-Type") != want {
				h.Errorf("Accept %s: %v", want, accepted.Header())
			}
		}
		en := h.must(http.StatusOK, h.ours.manage, "PUT", path+"/translations/en", `{"subject":"Invoice NUMFACT","text":"Hello NOMCLIENT"}`)
		if en.Header().Get("ETag") != `"2"` || len(en.doc["translations"].(object)) != 3 {
			h.Errorf("%s", en.Body)
		}
		if a := h.must(http.StatusUnprocessableEntity, h.ours.manage, "PUT", path+"/translations/en", `{"text":"x","html":"<script>"}`); strings.Join(a.errors(), ";") != "/subject field_required;/html html_active_content" {
			h.Errorf("%v", a.errors())
		}
		h.must(http.StatusUnprocessableEntity, h.ours.manage, "PUT", path+"/translations/!", `{"subject":"x","text":"x"}`)
		if a := h.must(http.StatusConflict, h.ours.manage, "DELETE", path+"/translations/fr", nil); a.text("code") != codeDefaultLanguageKept {
			h.Errorf("%s", a.Body)
		}
		h.must(http.StatusOK, h.ours.manage, "DELETE", path+"/translations/en", nil)
		h.must(http.StatusNotFound, h.ours.manage, "DELETE", path+"/translations/en", nil)
		if old := h.must(http.StatusOK, h.ours.read, "GET", path+"?version=2", nil); len(old.doc["translations"].(object)) != 3 {
			h.Errorf("%s", old.Body)
		}
		h.must(http.StatusNoContent, h.ours.manage, "DELETE", path, nil)
		h.must(http.StatusNotFound, h.ours.read, "GET", path, nil)
		h.must(http.StatusOK, h.ours.read, "GET", path+"?version=1", nil)
	})
}

// A template of half a megabyte goes to as many as any other: what its mails say alike is composed and stored once. What each of
// them says alone has a bound.
func TestTextsOfAJob(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	job := func(template string, n int) object {
		messages := make([]any, n)
		for i := range messages {
			messages[i] = object{
				"to": []any{object{"address": "client" + strconv.Itoa(i) + "@zoe.example"}}, "template_id": template,
				"document": object{"type": "invoice", "number": "2026/" + strconv.Itoa(i), "date": "2026-11-23"}, "client": object{"name": "Zoë"},
			}
		}
		return object{"company_ref": "C001", "name": "November", "sender_profile_id": f.company, "messages": messages}
	}
	long := func(tokens int) string {
		body := "<p>" + strings.Repeat("NUMFACT ", tokens) + strings.Repeat("Voici votre facture. ", 24_000-tokens) + "</p>"
		return h.must(http.StatusCreated, h.ours.all, "POST", "/v1/templates", object{
			"name": "Long " + strconv.Itoa(tokens), "document_type": "invoice", "default_language": "fr", "translations": object{"fr": object{"subject": "Facture NUMFACT", "html": body}},
		}).text("id")
	}
	h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", job(long(2), 300))
	before := h.stored()
	a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/send-jobs", job(long(101), 300)) // too many tokens to be shared
	if e := a.errors(); len(e) != 1 || !regexp.MustCompile(`^/messages/2\d\d texts_too_large$`).MatchString(e[0]) || !strings.Contains(a.Body.String(), "256 MiB") {
		t.Errorf("refused with %s", a.Body)
	}
	before["/v1/templates"]++
	if after := h.stored(); !reflect.DeepEqual(after, before) {
		t.Errorf("stored %v, then %v", before, after)
	}
}
