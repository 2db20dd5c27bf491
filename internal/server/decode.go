package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// decode reads the JSON body of a request into dst. The findings are what is wrong with its shape; the error is for what
// cannot be read at all.
func (s *Server) decode(c *gin.Context, dst any, limit int64) (findings, error) {
	return s.decodeAs(c, dst, limit, false)
}

// decodePatch reads a merge patch.
func (s *Server) decodePatch(c *gin.Context, dst any) (findings, error) {
	return s.decodeAs(c, dst, s.limits.Body, true)
}

func (s *Server) decodeAs(c *gin.Context, dst any, limit int64, patch bool) (f findings, err error) {
	if err := wantJSON(c.Request.Header); err != nil {
		return f, err
	}
	err = s.withBody(c, limit, func(body []byte) error {
		f, err = readJSON(body, dst, patch)
		return err
	})
	if errors.Is(err, errMalformed) {
		return f, refuse(http.StatusBadRequest, codeJSONMalformed)
	}
	return f, err
}

// wantJSON refuses bodies that say that they are something else.
func wantJSON(h http.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return refuse(http.StatusUnsupportedMediaType, codeMediaTypeUnsupported, "expected", "application/json")
	}
	ct := h.Get("Content-Type")
	if ct == "" {
		return nil
	}
	t, _, err := mime.ParseMediaType(ct)
	if err != nil || t != "application/json" && !strings.HasSuffix(t, "+json") {
		return refuse(http.StatusUnsupportedMediaType, codeMediaTypeUnsupported, "expected", "application/json")
	}
	return nil
}

const (
	bodyTimeout = 2 * time.Minute // for a caller to send its JSON
	smallBody   = 64 << 10
)

var bodies = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, smallBody)) }}

// withBody reads the whole body and gives it to fn, which must not keep it. Bodies of all requests together are bounded.
func (s *Server) withBody(c *gin.Context, limit int64, fn func([]byte) error) error {
	r := c.Request
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit}
	}
	want := r.ContentLength
	if want < 0 {
		want = limit // it does not say: expect the worst
	}
	if want > smallBody {
		if s.buffered.Add(want) > s.limits.Buffered {
			s.buffered.Add(-want)
			busy := refuse(http.StatusTooManyRequests, codeRateLimited)
			busy.retryAfter = time.Second
			return busy
		}
		defer s.buffered.Add(-want)
	}
	deadline := http.NewResponseController(c.Writer)
	// A test's recorder has no deadlines; a server's connection always does.
	if err := deadline.SetReadDeadline(time.Now().Add(bodyTimeout)); err == nil {
		defer deadline.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	}
	buf := bodies.Get().(*bytes.Buffer)
	buf.Reset()
	if r.ContentLength > int64(buf.Cap()) {
		buf = bytes.NewBuffer(make([]byte, 0, r.ContentLength+bytes.MinRead))
	}
	defer func() {
		if buf.Cap() <= 2*smallBody {
			bodies.Put(buf)
		}
	}()
	if _, err := buf.ReadFrom(http.MaxBytesReader(c.Writer, r.Body, limit)); err != nil {
		return bodyError(err)
	}
	return fn(buf.Bytes())
}

// bodyError is a body that did not come whole: too large, or the caller went away or was too slow.
func bodyError(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return large
	}
	r := refuse(http.StatusBadRequest, codeBodyIncomplete)
	r.cause = err
	return r
}

const codeBodyIncomplete = "body_incomplete"

// answer is a success as it is written, and as it is kept for a repeated request.
type answer struct {
	status   int
	location string
	etag     string
	body     []byte
}

func newAnswer(status int, v any) (*answer, error) {
	b, err := encode(v)
	return &answer{status: status, body: b}, err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (a *answer) write(c *gin.Context) error {
	h := c.Writer.Header()
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.etag != "" {
		h.Set("ETag", a.etag)
	}
	if len(a.body) > 0 {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	c.Writer.WriteHeader(a.status)
	if len(a.body) == 0 {
		c.Writer.WriteHeaderNow()
		return nil
	}
	c.Writer.Write(a.body) //nolint:errcheck // the caller is gone, and the access log says what was answered
	return nil
}

// reply answers with v as JSON.
func reply(c *gin.Context, status int, v any) error {
	a, err := newAnswer(status, v)
	if err != nil {
		return err
	}
	return a.write(c)
}
