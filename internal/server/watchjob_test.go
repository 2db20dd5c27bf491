package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/watch"
)

// event is a server-sent event as it came.
type event struct {
	name, id string
	job      api.SendJob
}

// events reads the stream of a job.
type events struct {
	t    *testing.T
	body io.ReadCloser
	r    *bufio.Reader
}

// follow opens the stream of a job.
func (h *house) follow(web *httptest.Server, key, job, lastID string) *events {
	h.Helper()
	resp := h.stream(web, key, job, lastID)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
		h.Fatalf("%s %v", resp.Status, resp.Header)
	}
	e := &events{h.T, resp.Body, bufio.NewReader(resp.Body)}
	if first, err := e.r.ReadString('\n'); err != nil || first != "retry: 2000\n" {
		h.Fatalf("the stream begins with %q, %v", first, err)
	}
	return e
}

func (h *house) stream(web *httptest.Server, key, job, lastID string) *http.Response {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), "GET", web.URL+"/v1/send-jobs/"+job+"/events", nil)
	if err != nil {
		h.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := web.Client().Do(req)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { resp.Body.Close() })
	return resp
}

// next gives the next event; io.EOF at the end of the stream.
func (e *events) next() (event, error) {
	var ev event
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			return ev, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			ev.name = value
		case "id":
			ev.id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &ev.job); err != nil {
				e.t.Errorf("%v: %s", err, value)
			}
		case "":
			if ev.name != "" {
				return ev, nil
			}
		}
	}
}

// want reads an event and holds it to its name.
func (e *events) want(name string) event {
	e.t.Helper()
	ev, err := e.next()
	if err != nil || ev.name != name {
		e.t.Fatalf("event %+v, %v; want %s", ev, err, name)
	}
	if ev.job.ID == "" || strings.TrimSuffix(ev.id, endMark) != ev.job.Version {
		e.t.Errorf("%+v: the id is not the version", ev)
	}
	return ev
}

func (e *events) end() {
	e.t.Helper()
	if ev, err := e.next(); !errors.Is(err, io.EOF) {
		e.t.Errorf("%+v, %v after the end", ev, err)
	}
}

// batch accepts a job of n mails that nothing sends.
func (h *house) batch(n int) (job string) {
	h.Helper()
	f := h.furnish(h.ours.all)
	messages := make([]any, n)
	for i := range messages {
		messages[i] = with{"document": object{"type": "invoice", "number": fmt.Sprintf("2026/%d", i), "date": "2026-11-23"}}.of(f.invoice())
	}
	return h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", object{"company_ref": "C001", "messages": messages}).text("id")
}

func (h *house) cancelOne(job string) {
	h.Helper()
	list := h.must(http.StatusOK, h.ours.all, "GET", "/v1/send-jobs/"+job+"/messages?status=queued&limit=1", nil).doc["items"].([]any)
	h.must(http.StatusOK, h.ours.all, "POST", "/v1/messages/"+list[0].(object)["id"].(string)+"/cancel", nil)
}

func (h *house) cancelAll(job string) {
	h.Helper()
	h.must(http.StatusOK, h.ours.all, "POST", "/v1/send-jobs/"+job+"/cancel", nil)
}

// web is the API on a real connection.
func (h *house) web() *httptest.Server {
	web := httptest.NewServer(h.server)
	h.Cleanup(web.Close)
	h.Cleanup(h.server.Stop)
	return web
}

func TestFollowAJob(t *testing.T) {
	onBoth(t, func(h *house) {
		web, job := h.web(), h.batch(3)
		e := h.follow(web, h.ours.read, job, "")
		first := e.want("progress")
		if got := h.must(http.StatusOK, h.ours.read, "GET", "/v1/send-jobs/"+job, nil).text("version"); got != first.id {
			h.Errorf("GET has the version %s, the event %s", got, first.id)
		}
		h.cancelOne(job)
		second := e.want("progress")
		if second.job.Counts.Canceled != 1 || second.id == first.id {
			h.Errorf("%+v", second)
		}
		// A reader that has the latest is sent nothing until there is more; one that has not is sent it at once.
		resumed, behind := h.follow(web, h.ours.read, job, second.id), h.follow(web, h.ours.read, job, first.id)
		if ev := behind.want("progress"); ev.id != second.id {
			h.Errorf("%+v", ev)
		}
		h.cancelAll(job)
		var last event
		for _, e := range []*events{e, resumed, behind} {
			last = e.want("progress")
			if end := e.want("finished"); last.job.Counts.Canceled != 3 || !last.job.Over || end.job.Version != last.job.Version {
				h.Errorf("%+v, %+v", last, end)
			}
			e.end()
		}
		// The break came before the end, and after it.
		e = h.follow(web, h.ours.read, job, last.id)
		end := e.want("finished")
		e.end()
		if resp := h.stream(web, h.ours.read, job, end.id); resp.StatusCode != http.StatusNoContent {
			h.Errorf("who has everything: %s", resp.Status)
		}
		e = h.follow(web, h.ours.read, job, first.id+endMark)
		e.want("progress")
		e.want("finished")
		if resp := h.stream(web, h.theirs.read, job, ""); resp.StatusCode != http.StatusNotFound {
			h.Errorf("another tenant: %s", resp.Status)
		}
		if resp := h.stream(web, h.ours.send, job, ""); resp.StatusCode != http.StatusForbidden {
			h.Errorf("a key that may not read: %s", resp.Status)
		}
		// HEAD ends also while the job goes on.
		if a := h.do(h.ours.read, "HEAD", "/v1/send-jobs/"+h.single()+"/events", nil); a.Code != http.StatusOK {
			h.Errorf("HEAD: %d", a.Code)
		}
	})
}

// single accepts a job of one mail more.
func (h *house) single() string {
	h.Helper()
	f := h.must(http.StatusOK, h.ours.all, "GET", "/v1/sender-profiles?level=company", nil).doc["items"].([]any)[0].(object)["id"].(string)
	return h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", object{"sender_profile_id": f, "messages": []any{
		object{"to": []any{object{"address": "x@zoe.example"}}, "subject": "s", "text": "t"},
	}}).text("id")
}

func TestFollowOverHTTP2(t *testing.T) {
	h := onSQLite(t)
	web := httptest.NewUnstartedServer(h.server)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	job := h.batch(1)
	resp := h.stream(web, h.ours.read, job, "")
	if resp.ProtoMajor != 2 {
		t.Fatal(resp.Proto)
	}
	e := &events{t, resp.Body, bufio.NewReader(resp.Body)}
	e.want("progress")
	h.cancelAll(job)
	e.want("progress")
	e.want("finished")
	e.end()
}

func TestLongPolling(t *testing.T) {
	onBoth(t, func(h *house) {
		job := h.batch(2)
		path := "/v1/send-jobs/" + job
		ask := func(query string) answered {
			h.Helper()
			return h.must(http.StatusOK, h.ours.read, "GET", path+query, nil)
		}
		version := ask("").text("version")
		for _, query := range []string{"?wait=60s", "?wait=60&since=old", "?since=" + version, "?wait=1ms&since=" + version, "?wait=0"} {
			if got := ask(query).text("version"); got != version {
				h.Errorf("%s: version %s, want %s", query, got, version)
			}
		}
		waiting := make(chan answered)
		go func() { waiting <- h.do(h.ours.read, "GET", path+"?wait=60s&since="+version, nil) }()
		h.cancelOne(job)
		a := <-waiting
		if a.Code != http.StatusOK || a.text("version") == version || a.doc["counts"].(object)["canceled"] != 1. {
			h.Errorf("%d %s", a.Code, a.Body)
		}
		if now := ask("").text("version"); now != a.text("version") {
			h.Errorf("the answer has the version %s, the job %s", a.text("version"), now)
		}
		for query, code := range map[string]string{
			"?wait=61": "number_range", "?wait=61s": "number_range", "?wait=-1s": "number_range", "?wait=soon": "parameter_invalid", "?wait=1s&wait=2s": "parameter_invalid",
			"?until=x": "field_unknown",
		} {
			if a := h.do(h.ours.read, "GET", path+query, nil); a.Code != http.StatusUnprocessableEntity || !strings.HasSuffix(strings.Join(a.errors(), " "), code) {
				h.Errorf("%s: %d %s", query, a.Code, a.Body)
			}
		}
		for _, path := range []string{path, "/v1/send-jobs/job_none", "/v1/send-jobs/x"} {
			h.must(http.StatusNotFound, h.theirs.read, "GET", path+"?wait=60s", nil)
		}
	})
}

// counted is a handler that counts the calls that it is in.
type counted struct {
	http.Handler
	wg sync.WaitGroup
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.wg.Add(1)
	defer c.wg.Done()
	c.Handler.ServeHTTP(w, r)
}

func TestThousandStreamsShareOneReader(t *testing.T) {
	h := onSQLite(t)
	var reads atomic.Int64
	h.server.jobs = watch.New(func(ctx context.Context, k watch.Key) (watch.State[*shownJob], error) {
		reads.Add(1)
		return h.server.readJob(ctx, k)
	}, 1000)
	handler := &counted{Handler: h.server}
	web := httptest.NewServer(handler)
	job := h.batch(2)
	began := time.Now()
	streams := make([]*events, 1000)
	for i := range streams {
		streams[i] = h.follow(web, h.ours.read, job, "")
		streams[i].want("progress")
	}
	if resp := h.stream(web, h.ours.read, job, ""); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s, %v", resp.Status, resp.Header)
	}
	h.cancelAll(job)
	for _, e := range streams {
		e.want("progress")
		e.want("finished")
		e.end()
	}
	handler.wg.Wait()
	if n, most := reads.Load(), int64(time.Since(began)/(500*time.Millisecond))+2; n > most {
		t.Errorf("%d reads in %s", n, time.Since(began))
	}
	web.Close()
	h.server.Stop()
}

// pipes is a listener whose connections have no buffers: what is not read is not written.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A reader that takes nothing is dropped, and until then holds up nobody.
func TestReaderThatNeverReads(t *testing.T) {
	h := onSQLite(t)
	h.server.patience = 50 * time.Millisecond
	ended := make(chan struct{})
	listener := make(pipes)
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		h.server.ServeHTTP(w, r)
	})}
	go srv.Serve(listener) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { close(listener); srv.Close() })
	web, job := h.web(), h.batch(2)
	good := h.follow(web, h.ours.read, job, "")
	good.want("progress")

	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	listener <- theirs
	if _, err := fmt.Fprintf(ours, "GET /v1/send-jobs/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", job, h.ours.read); err != nil {
		t.Fatal(err)
	}
	h.cancelOne(job)
	good.want("progress")
	<-ended
	h.cancelAll(job)
	good.want("progress")
	good.want("finished")
}

func TestStopEndsTheWaiting(t *testing.T) {
	h := onSQLite(t)
	web := httptest.NewServer(h.server)
	web.Config.RegisterOnShutdown(h.server.Stop)
	job := h.batch(1)
	e := h.follow(web, h.ours.read, job, "")
	first := e.want("progress")
	polled := make(chan answered)
	go func() { polled <- h.do(h.ours.read, "GET", "/v1/send-jobs/"+job+"?wait=60s&since="+first.id, nil) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := web.Config.Shutdown(ctx); err != nil {
		t.Errorf("the shutdown waited for a stream: %v", err)
	}
	e.end()
	// It may have come before the stop or after.
	if a := <-polled; a.Code == http.StatusOK && a.text("version") != first.id || a.Code != http.StatusOK && a.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	a := h.must(http.StatusServiceUnavailable, h.ours.read, "GET", "/v1/send-jobs/"+job+"?wait=60s", nil)
	if a.Header().Get("Retry-After") == "" {
		t.Errorf("%v", a.Header())
	}
	h.must(http.StatusOK, h.ours.read, "GET", "/v1/send-jobs/"+job, nil)
}

// A key that is revoked opens nothing any more, and what it opened ends.
func TestRevokedKeyEndsTheStream(t *testing.T) {
	h := onSQLite(t)
	h.server.heartbeat = time.Millisecond
	made := h.must(http.StatusCreated, h.operator, "POST", "/v1/tenants/"+h.ours.id+"/api-keys", `{"name":"x","scopes":["read"]}`)
	web, job := h.web(), h.batch(1)
	e := h.follow(web, made.text("key"), job, "")
	e.want("progress")
	for range 3 { // the line is alive
		if line, err := e.r.ReadString('\n'); err != nil || line != ":\n" && line != "\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	h.must(http.StatusNoContent, h.operator, "DELETE", "/v1/tenants/"+h.ours.id+"/api-keys/"+made.text("id"), nil)
	e.end()
}

// The stream of a job in full swing is never silent, and ends with its key all the same.
func TestRevokedKeyEndsABusyStream(t *testing.T) {
	h := onSQLite(t)
	h.server.heartbeat = time.Second
	made := h.must(http.StatusCreated, h.operator, "POST", "/v1/tenants/"+h.ours.id+"/api-keys", `{"name":"x","scopes":["read"]}`)
	web, job := h.web(), h.batch(12) // news come every half second: there is no second without some
	e := h.follow(web, made.text("key"), job, "")
	e.want("progress")
	h.must(http.StatusNoContent, h.operator, "DELETE", "/v1/tenants/"+h.ours.id+"/api-keys/"+made.text("id"), nil)
	for range 11 {
		h.cancelOne(job)
		if _, err := e.next(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("the key was revoked, and the job can be followed to its end")
}

// A version says nothing of the time at which it was asked for.
func TestVersion(t *testing.T) {
	base := api.SendJob{Counts: api.JobCounts{Queued: 2}, Rate: 1, Version: "x"}
	same := base
	end := time.Now()
	same.Rate, same.EstimatedEnd, same.Version = 2, &end, "y"
	other := base
	other.Counts.Queued = 1
	if a, b, c := versionOf(base), versionOf(same), versionOf(other); a != b || a == c || len(a) != 16 {
		t.Errorf("versions %s, %s and %s", a, b, c)
	}
}
