// Package onepost makes a POST that holds a mail, exactly once, for the drivers whose far end is an HTTP API. It writes the body
// while it is made, never sends it a second time, follows no redirect, and knows afterwards whether the far end may have the
// whole of it: that is what tells a hand-over that failed from one whose outcome is uncertain.
package onepost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"runtime/debug"
	"sync"
	"time"
)

// maxAnswer is how much of an answer is read; those of APIs have a few hundred bytes.
const maxAnswer = 64 << 10

// ErrTooSlow is the error of an Exchange that took longer than it may.
var ErrTooSlow = errors.New("no answer in time")

// Client makes calls over connections that it keeps. It is safe for concurrent use.
type Client struct {
	http *http.Transport
}

// NewClient makes a client. given makes the connections; nil: a transport that uses no proxy. connect is the time for TCP, and
// then for TLS.
func NewClient(given *http.Transport, connect time.Duration) *Client {
	return &Client{connections(given, connect)}
}

// CloseIdleConnections closes the connections that nobody uses: one that was found dead has others of its age.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper, for a vendor's own client to read with.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) { return c.http.RoundTrip(req) }

// Post is one mail to be posted.
type Post struct {
	URL    *url.URL
	Header http.Header // without Content-Length, and without Idempotency-Key: net/http would take it for leave to send again
	// Write writes all of the body but Tail, to a pipe; Size is the length of both. Tail is what makes it whole: a far end that
	// has not got it has not got the mail, whatever else it has.
	Write func(io.Writer) error
	Tail  string
	Size  int64
	// Body is the time until the tail, connecting included, and Answer that from there to the whole answer.
	Body, Answer time.Duration
	Secret       string // taken out of the answer
}

// Exchange is all that is known of one call when it is over.
type Exchange struct {
	Status     int // 0: no answer
	Header     http.Header
	Body       []byte // of the answer, without the secret
	Err        error  // why there is no answer, or not all of it
	Connected  bool   // a connection was there
	Reused     bool   // and had served before
	Whole      bool   // the far end may have the whole mail
	Unreadable error  // the mail itself could not be read
	Now        time.Time
}

// Post makes one POST and reports all that is known of it. The request has no GetBody and no Idempotency-Key: net/http cannot
// send it a second time. There are no redirects, because a RoundTripper follows none.
func (c *Client) Post(ctx context.Context, p Post) Exchange {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(p.Body, func() { cancel(ErrTooSlow) })
	defer late.Stop()

	x := Exchange{}
	var conn *watchedConn
	var before int64
	body := newBody(p, func() { late.Reset(p.Answer) })
	req := (&http.Request{
		Method: http.MethodPost, URL: p.URL, Host: p.URL.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: p.Header, Body: body, ContentLength: p.Size,
	}).WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			x.Connected, x.Reused = true, c.Reused
			if conn, _ = c.Conn.(*watchedConn); conn != nil {
				before = conn.written.Load()
			}
		},
	}))
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		x.Err = err
	} else {
		x.Status, x.Header = resp.StatusCode, resp.Header
		x.Body, x.Err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
	}
	// From here on nothing more of the body leaves, so that what is known now stays true.
	x.Whole, x.Unreadable = body.stop()
	switch cause := context.Cause(ctx); {
	case x.Status != 0:
	case cause != nil:
		x.Err = cause
	case conn != nil && conn.written.Load() == before:
		x.Whole = false // it stayed in a buffer: the connection was dead
	}
	if conn != nil && x.Status == 0 && conn.broke.Load() {
		x.Whole = false // bytes leave in order: the last ones did not
	}
	x.Body = without(x.Body, p.Secret)
	x.Now = time.Now()
	return x
}

// Call makes a call with a small body or none, within a time. It says nothing of Whole.
func (c *Client) Call(ctx context.Context, method string, u *url.URL, header http.Header, body []byte, within time.Duration, secret string) Exchange {
	ctx, cancel := context.WithTimeoutCause(ctx, within, ErrTooSlow)
	defer cancel()
	var x Exchange
	req := (&http.Request{
		Method: method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
	}).WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { x.Connected, x.Reused = true, c.Reused },
	}))
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	resp, err := c.http.RoundTrip(req)
	if err == nil {
		x.Status, x.Header = resp.StatusCode, resp.Header
		x.Body, _ = io.ReadAll(io.LimitReader(resp.Body, maxCallAnswer))
		resp.Body.Close()
		x.Body = without(x.Body, secret)
	}
	x.Err, x.Now = err, time.Now()
	if cause := context.Cause(ctx); cause != nil {
		x.Err = cause
	}
	return x
}

// maxCallAnswer is for lists.
const maxCallAnswer = 4 << 20

func without(text []byte, secret string) []byte {
	if secret == "" {
		return text
	}
	return bytes.ReplaceAll(text, []byte(secret), []byte("…"))
}

// body is the body of a POST. The mail writes itself into a pipe, so that memory does not grow with it. The tail is kept apart:
// until it has left, the body is shorter than its Content-Length says.
type body struct {
	pipe  *io.PipeReader
	ended chan struct{} // the writer of the pipe is gone
	// Of the mail's own; read after ended.
	failed   error
	panicked string
	onTail   func()

	mu      sync.Mutex
	tail    string
	reached bool // the tail was begun
	stopped bool
}

func newBody(p Post, onTail func()) *body {
	b := &body{tail: p.Tail, ended: make(chan struct{}), onTail: onTail}
	var w *io.PipeWriter
	b.pipe, w = io.Pipe()
	go func() {
		defer close(b.ended)
		defer func() {
			if p := recover(); p != nil {
				b.panicked = fmt.Sprintf("%v, in %s", p, debug.Stack())
				w.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		err := p.Write(w)
		if !errors.Is(err, io.ErrClosedPipe) {
			b.failed = err
		}
		w.CloseWithError(err)
	}()
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.pipe.Read(p)
	if err != io.EOF {
		return n, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, io.ErrClosedPipe
	}
	if !b.reached {
		b.reached = true
		b.onTail()
	}
	n = copy(p, b.tail)
	if b.tail = b.tail[n:]; b.tail == "" {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (b *body) Close() error { return b.pipe.Close() }

// stop ends the body. whole says that the tail may have left, err that the mail could not be read. A panic of the
// writer's goes on here, where the caller can catch it.
func (b *body) stop() (whole bool, err error) {
	b.mu.Lock()
	b.stopped = true
	whole = b.reached
	b.mu.Unlock()
	b.pipe.CloseWithError(nil)
	<-b.ended
	if b.panicked != "" {
		panic(b.panicked)
	}
	return whole, b.failed
}
