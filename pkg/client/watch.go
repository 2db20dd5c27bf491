package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
)

const (
	// heartbeat is how often the service says something on a stream at least.
	heartbeat = 15 * time.Second
	// longPoll is how long one call waits for news where there can be no stream. It leaves room in the usual time limits of 30 s.
	longPoll = "25s"
	// patience is how many tries in a row may fail before the watching ends: with the gaps between them some three minutes.
	patience = 10
)

// WatchSendJob follows a job. It gives the job as it is now, then whenever it has changed, at most twice a second, and ends with the
// job that is over (Over); a loop that is slow skips what came in between. It reads the service's stream of events, or asks by long
// polling where something on the way lets no stream through. A broken line, or a service that restarts, is waited over for some
// three minutes; then, and when the service refuses, it ends with the error.
func (c *Client) WatchSendJob(ctx context.Context, id string) iter.Seq2[api.SendJob, error] {
	return func(yield func(api.SendJob, error) bool) {
		w := jobWatch{c: c, path: "/v1/send-jobs/" + url.PathEscape(id), yield: yield, ask: (*jobWatch).stream}
		if err := w.run(ctx); err != nil {
			yield(api.SendJob{}, err)
		}
	}
}

// jobWatch is one watching on its way.
type jobWatch struct {
	c     *Client
	path  string
	yield func(api.SendJob, error) bool
	ask   func(*jobWatch, context.Context) error // stream, or poll

	version string // of the job that was given last
	lastID  string // of the event that came last
	came    bool   // the last try brought something
	waits   bool   // the service itself waits before it answers: there is no need to
}

var (
	errWatchEnds = errors.New("client: the watching ends") // all is told, or nobody wants more
	errNoStream  = errors.New("client: no stream gets through")
)

func (w *jobWatch) run(ctx context.Context) error {
	for failed := 0; ; {
		w.came = false
		err := w.ask(w, ctx)
		switch {
		case errors.Is(err, errWatchEnds):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNoStream):
			w.ask, w.waits = (*jobWatch).poll, true
			continue
		}
		if w.came {
			failed = 0
		}
		if err == nil && w.waits {
			continue
		}
		if failed++; err != nil && (failed == patience || !passing(err)) {
			return err
		}
		if err := w.c.wait(ctx, min(time.Second<<(failed-1), 30*time.Second)); err != nil {
			return err
		}
	}
}

// passing says that an error may be gone when it is tried again.
func passing(err error) bool {
	var problem *Error
	return !errors.As(err, &problem) || problem.Status == http.StatusTooManyRequests || problem.Status >= http.StatusInternalServerError
}

// give hands a job on unless it was before.
func (w *jobWatch) give(job api.SendJob) error {
	if job.Version == w.version && w.version != "" {
		return nil
	}
	w.version = job.Version
	if !w.yield(job, nil) {
		return errWatchEnds
	}
	return nil
}

func (w *jobWatch) poll(ctx context.Context) error {
	query := url.Values{"wait": {longPoll}}
	if w.version != "" {
		query.Set("since", w.version)
	}
	job, err := do[api.SendJob](ctx, w.c, call{method: http.MethodGet, path: w.path, query: query})
	if err != nil {
		return err
	}
	w.came = true
	if err := w.give(job); err != nil || job.Over {
		return errWatchEnds
	}
	return nil
}

// stream reads one stream to its end. A nil error is an end that the service made: it goes on at the next try.
func (w *jobWatch) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alive := time.AfterFunc(w.c.silence, cancel)
	defer alive.Stop()
	resp, err := w.c.send(ctx, call{method: http.MethodGet, path: w.path + "/events", opts: []CallOption{func(h http.Header) {
		h.Set("Accept", "text/event-stream")
		if w.lastID != "" {
			h.Set("Last-Event-ID", w.lastID)
		}
	}}})
	if err != nil {
		return w.withoutStream(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return errWatchEnds
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/event-stream" {
		return errNoStream
	}
	events := eventReader{r: bufio.NewReader(resp.Body), heard: func() {
		alive.Reset(w.c.silence)
		w.came = true
	}}
	for {
		name, id, data, err := events.next()
		switch {
		case errors.Is(err, io.EOF) && w.came:
			return nil
		case err != nil && !w.came && ctx.Err() != nil:
			return errNoStream // something on the way keeps back what the service writes
		case err != nil:
			return fmt.Errorf("client: stream of %s: %w", w.path, err)
		}
		w.lastID = id
		var job api.SendJob
		if err := json.Unmarshal(data, &job); err != nil {
			return fmt.Errorf("client: event of %s: %w", w.path, err)
		}
		if err := w.give(job); err != nil || name == "finished" {
			return errWatchEnds
		}
	}
}

// withoutStream tells an answer that has nothing to do with the job from one that has: a proxy that knows no such path, or a service
// from which nothing comes at all.
func (w *jobWatch) withoutStream(ctx context.Context, err error) error {
	var problem *Error
	switch {
	case errors.As(err, &problem) && strings.HasPrefix(problem.Code, "http_") && problem.Status < http.StatusInternalServerError,
		errors.As(err, &problem) && problem.Status == http.StatusNotAcceptable,
		ctx.Err() != nil:
		return errNoStream
	}
	return err
}

// eventReader reads server-sent events.
type eventReader struct {
	r     *bufio.Reader
	heard func() // at every line
}

func (e *eventReader) next() (name, id string, data []byte, err error) {
	for {
		line, err := e.r.ReadBytes('\n')
		if err != nil {
			return "", "", nil, err // an event without its end does not count
		}
		e.heard()
		text := strings.TrimRight(string(line), "\r\n")
		field, value, _ := strings.Cut(text, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			name = value
		case field == "id":
			id = value
		case field == "data":
			data = append(data, value...)
		case text == "" && data != nil: // the end of the event
			return name, id, data, nil
		}
	}
}

// SendJobReport gives what became of every message of a job. For a large job SendJobReportCSV holds less in memory.
func (c *Client) SendJobReport(ctx context.Context, id string) (api.SendJobReport, error) {
	return do[api.SendJobReport](ctx, c, call{method: http.MethodGet, path: "/v1/send-jobs/" + url.PathEscape(id) + "/report"})
}

// SendJobReportCSV gives the report as a table for Excel, in the Client's language. The caller closes it; an error while reading says
// that it is not whole.
func (c *Client) SendJobReportCSV(ctx context.Context, id string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/send-jobs/" + url.PathEscape(id) + "/report", query: url.Values{"format": {"csv"}}})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
