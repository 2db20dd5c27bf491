package gmail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"runtime/debug"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// maxAnswer is how much of an answer is read; Google's have a few hundred bytes.
const maxAnswer = 64 << 10

var errTooSlow = errors.New("gmail: no answer in time")

// upload is one mail to be posted.
type upload struct {
	mail     *mail.Rendered
	token    string
	thread   string // to join; or empty
	boundary string
}

// post makes one POST and reports all that is known of it. The request has no GetBody and no Idempotency-Key: net/http cannot
// send it a second time. There are no redirects, because a RoundTripper follows none.
func (t *Transport) post(ctx context.Context, u upload) exchange {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(t.timeouts.body(u.mail.Size()), func() { cancel(errTooSlow) })
	defer late.Stop()

	x := exchange{}
	var conn *watchedConn
	var before int64
	body := newUploadBody(u, func() { late.Reset(t.timeouts.Answer) })
	req := (&http.Request{
		Method: http.MethodPost, URL: t.sendURL, Host: t.sendURL.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Authorization": {"Bearer " + u.token},
			"Content-Type":  {"multipart/related; boundary=" + u.boundary},
			"User-Agent":    {"facteur"},
		},
		Body: body, ContentLength: body.size,
	}).WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			x.connected, x.reused = true, c.Reused
			if conn, _ = c.Conn.(*watchedConn); conn != nil {
				before = conn.written.Load()
			}
		},
	}))
	resp, err := t.http.RoundTrip(req)
	if err != nil {
		x.err = err
	} else {
		x.status, x.header = resp.StatusCode, resp.Header
		x.body, x.err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
	}
	// From here on nothing more of the body leaves, so that what is known now stays true.
	x.whole, x.unreadable = body.stop()
	switch cause := context.Cause(ctx); {
	case x.status != 0:
	case cause != nil:
		x.err = cause
	case conn != nil && conn.written.Load() == before:
		x.whole = false // it stayed in a buffer: the connection was dead
	}
	if conn != nil && x.status == 0 && conn.broke.Load() {
		x.whole = false // bytes leave in order: the last ones did not
	}
	x.body = bytes.ReplaceAll(x.body, []byte(u.token), []byte("…"))
	x.now = time.Now()
	return x
}

// uploadBody is the body of the POST: the metadata and the mail as two parts of multipart/related
// (https://developers.google.com/workspace/gmail/api/guides/uploads#multipart). The mail writes itself into a pipe, so that
// memory does not grow with it. The closing boundary is kept apart: a far end that has not got it has no whole mail, whatever
// else it has, and the body is shorter than its Content-Length says.
type uploadBody struct {
	size  int64
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

func newUploadBody(u upload, onTail func()) *uploadBody {
	meta := "{}"
	if u.thread != "" {
		meta = `{"threadId":"` + u.thread + `"}` // ParseEvidence lets only harmless characters through
	}
	head := "--" + u.boundary + "\r\nContent-Type: application/json\r\n\r\n" + meta +
		"\r\n--" + u.boundary + "\r\nContent-Type: message/rfc822\r\n\r\n"
	b := &uploadBody{tail: "\r\n--" + u.boundary + "--\r\n", ended: make(chan struct{}), onTail: onTail}
	b.size = int64(len(head)) + u.mail.Size() + int64(len(b.tail))
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
		_, err := io.WriteString(w, head)
		if err == nil {
			_, err = u.mail.WriteTo(w)
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			b.failed = err
		}
		w.CloseWithError(err)
	}()
	return b
}

// Read implements io.Reader.
func (b *uploadBody) Read(p []byte) (int, error) {
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
func (b *uploadBody) Close() error { return b.pipe.Close() }

// stop ends the body. whole says that the closing boundary may have left, err that the mail could not be read. A panic of the
// writer's goes on here, where the caller can catch it.
func (b *uploadBody) stop() (whole bool, err error) {
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
