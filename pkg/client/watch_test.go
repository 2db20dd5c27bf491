package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
)

// streams answers with events; done is how far the job is, and its version. A heartbeat and a hint come before each.
func streams(finished bool, done ...int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for i, n := range done {
			over := finished && i == len(done)-1
			job := fmt.Sprintf(`{"version":"v%d","done":%d,"over":%v}`, n, n, over)
			fmt.Fprintf(w, "retry: 2000\r\n\r\n:\n\nevent: progress\nid: v%d\ndata: %s\n\n", n, job)
			if over {
				fmt.Fprintf(w, "event: finished\nid: v%d-finished\ndata: %s\n\n", n, job)
			}
		}
	}
}

// broken breaks the line in the middle of an event.
func broken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "retry: 2000\n\nevent: progress\nid: half\ndata: {\"done\":1}\n")
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestWatchSendJob(t *testing.T) {
	poll := func(done int, over bool) http.HandlerFunc {
		return status(http.StatusOK, fmt.Sprintf(`{"version":"v%d","done":%d,"over":%v}`, done, done, over))
	}
	gone := status(http.StatusServiceUnavailable, `{"code":"stopping"}`)
	missing := status(http.StatusNotFound, `{"code":"not_found"}`)
	proxy := status(http.StatusNotFound, `<html>no such page</html>`)
	page := status(http.StatusOK, `<html>log in</html>`, "Content-Type", "text/html")
	for _, tt := range []struct {
		name    string
		answers []http.HandlerFunc
		want    []int
		lastIDs []string // of the calls
		code    string   // of the error at the end; "" for none
	}{
		{"to the end", []http.HandlerFunc{streams(true, 1, 2)}, []int{1, 2}, []string{""}, ""},
		{"over already", []http.HandlerFunc{streams(true, 2)}, []int{2}, []string{""}, ""},
		{"the service restarts", []http.HandlerFunc{streams(false, 1), gone, drop, streams(true, 2)}, []int{1, 2}, []string{"", "v1", "v1", "v1"}, ""},
		{"half an event", []http.HandlerFunc{streams(false, 1), broken, streams(true, 1, 2)}, []int{1, 2}, []string{"", "v1", "v1"}, ""},
		{"only the end is missing", []http.HandlerFunc{streams(false, 1), streams(true, 1)}, []int{1}, []string{"", "v1"}, ""},
		{"it was all told", []http.HandlerFunc{streams(false, 1), status(http.StatusNoContent, "")}, []int{1}, []string{"", "v1"}, ""},
		{"no such job", []http.HandlerFunc{missing}, nil, []string{""}, "not_found"},
		{"no stream", []http.HandlerFunc{proxy, poll(1, false), poll(1, false), poll(2, true)}, []int{1, 2}, []string{"", "", "", ""}, ""},
		{"a page in its place", []http.HandlerFunc{page, poll(1, true)}, []int{1}, []string{"", ""}, ""},
		{"never", []http.HandlerFunc{gone}, nil, slices.Repeat([]string{""}, patience), "stopping"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, f, waits := newTest(t, tt.answers...)
			c.retries = 0
			var got []int
			var last error
			for job, err := range c.WatchSendJob(t.Context(), "job_1") {
				if last = err; err == nil {
					got = append(got, job.Done)
				}
			}
			var ids []string
			for _, h := range f.headers {
				ids = append(ids, h.Get("Last-Event-ID"))
			}
			if !slices.Equal(got, tt.want) || !slices.Equal(ids, tt.lastIDs) {
				t.Errorf("got %v, asked with %q; want %v and %q", got, ids, tt.want, tt.lastIDs)
			}
			var problem *Error
			if errors.As(last, &problem) != (tt.code != "") || problem != nil && problem.Code != tt.code {
				t.Errorf("error %v, want %s", last, tt.code)
			}
			for _, d := range *waits {
				if d <= 0 || d > 30*time.Second {
					t.Errorf("waited %v", *waits)
				}
			}
		})
	}
}

// A proxy may keep back a stream until it ends: then nothing comes, and the client asks instead.
func TestWatchSendJobBehindAProxyThatGathers(t *testing.T) {
	poll := status(http.StatusOK, `{"version":"v2","done":2,"over":true}`)
	// By the path: on a busy machine the stream may be given up before the server has heard of it.
	c, f, _ := newTest(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			poll(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c.silence = 20 * time.Millisecond
	var got []api.SendJob
	for job, err := range c.WatchSendJob(t.Context(), "job_1") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, job)
	}
	if len(got) != 1 || len(f.headers) > 2 {
		t.Errorf("got %+v in %d calls", got, len(f.headers))
	}
}

func TestWatchSendJobEndsWithTheLoop(t *testing.T) {
	c, f, _ := newTest(t, streams(true, 1, 2, 3))
	for range c.WatchSendJob(t.Context(), "job_1") {
		break
	}
	if len(f.headers) != 1 {
		t.Errorf("asked %d times", len(f.headers))
	}
}
