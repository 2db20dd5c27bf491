// Package client talks to Facteur's HTTP API. The types of the requests and answers are those of package api.
//
// What it promises: a call that returns a nil error was answered with success by the service, and for a send that means
// that the mail is stored and will leave or end in a state that can be asked for; it does not mean that it has left. A
// refusal is an *Error with the service's own problem. A call that creates or sends carries an idempotency key, the
// caller's or a random one, and is repeated with the same key when the line breaks or the service is busy, so that it takes
// effect once. Give your own key (IdempotencyKey) when your program may die between asking and hearing: the same key after
// the restart gets the first answer again.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client is a connection to one service with one API key. It is safe for concurrent use.
type Client struct {
	base     *url.URL
	key      string
	language string
	http     *http.Client
	retries  int
	wait     func(ctx context.Context, d time.Duration) error
	silence  time.Duration // after which a stream of events is taken for broken
}

// Option changes a Client as it is made.
type Option func(*Client)

// HTTPClient uses c for the requests instead of http.DefaultClient. Its Timeout must leave room for uploads.
func HTTPClient(c *http.Client) Option { return func(cl *Client) { cl.http = c } }

// Language asks for the texts of problems in fr, nl, en or de (Accept-Language). The default is English.
func Language(tag string) Option { return func(c *Client) { c.language = tag } }

// Retries sets how often a call is repeated after a broken line, 429 or 503; the default is 2, and 0 turns it off.
func Retries(n int) Option { return func(c *Client) { c.retries = n } }

// New makes a client for the service at base, such as "http://127.0.0.1:8025". Nothing is asked yet.
func New(base, apiKey string, opts ...Option) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("client: %q is not the URL of a service", base)
	}
	c := &Client{base: u, key: apiKey, language: "en", http: http.DefaultClient, retries: 2, wait: sleep, silence: 3 * heartbeat}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// CallOption changes one call.
type CallOption func(http.Header)

// IdempotencyKey makes the call take effect once, however often it is made with this key (within 30 days).
func IdempotencyKey(key string) CallOption {
	return func(h http.Header) { h.Set("Idempotency-Key", key) }
}

// IfVersion lets an edit go through only while the resource still has this version; otherwise the error's status is 412.
func IfVersion(version int64) CallOption {
	return func(h http.Header) { h.Set("If-Match", `"`+strconv.FormatInt(version, 10)+`"`) }
}

// call is one request. body is nil, a value to be sent as JSON, or an upload.
type call struct {
	method, path string
	query        url.Values
	body         any
	opts         []CallOption
	once         bool // it is not repeated when its answer is lost: the answer holds a secret, which the service does not keep
}

// upload is a body of raw bytes. seek is nil when the bytes can be read only once; then the call is never repeated.
type upload struct {
	r         io.Reader
	seek      io.Seeker
	start     int64
	mediaType string
}

// do makes the call and decodes the answer, unless T is an empty struct.
func do[T any](ctx context.Context, c *Client, cl call) (T, error) {
	var out T
	resp, err := c.send(ctx, cl)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if _, none := any(out).(struct{}); none {
		return out, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("client: answer to %s %s: %w", cl.method, cl.path, err)
	}
	return out, nil
}

// send makes the call until it is answered with something else than "later". The answer's status is 2xx.
func (c *Client) send(ctx context.Context, cl call) (*http.Response, error) {
	header := http.Header{"Authorization": {"Bearer " + c.key}, "Accept-Language": {c.language}, "Accept": {"*/*"}}
	if cl.method == http.MethodPost && !cl.once { // with such a header net/http, too, would repeat it
		header.Set("Idempotency-Key", rand.Text())
	}
	for _, o := range cl.opts {
		o(header)
	}
	var encoded []byte
	up, isUpload := cl.body.(upload)
	switch {
	case isUpload:
		header.Set("Content-Type", up.mediaType)
	case cl.body != nil:
		b, err := json.Marshal(cl.body)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		encoded = b
		header.Set("Content-Type", "application/json")
	}
	retries := c.retries
	if isUpload && up.seek == nil {
		retries = 0
	}

	for try := 0; ; try++ {
		var body io.Reader
		switch {
		case isUpload:
			if try > 0 {
				if _, err := up.seek.Seek(up.start, io.SeekStart); err != nil {
					return nil, fmt.Errorf("client: %w", err)
				}
			}
			body = io.NopCloser(up.r)
		case encoded != nil:
			body = bytes.NewReader(encoded)
		}
		req, err := http.NewRequestWithContext(ctx, cl.method, c.base.String()+cl.path, body)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		req.URL.RawQuery = cl.query.Encode()
		req.Header = header.Clone()
		resp, err := c.http.Do(req)
		gap := time.Duration(200<<try) * time.Millisecond
		switch {
		case err != nil && cl.once:
			return nil, fmt.Errorf("client: %w", err)
		case err != nil:
			err = fmt.Errorf("client: %w", err)
		case resp.StatusCode < 300:
			return resp, nil
		default:
			problem := readProblem(resp)
			if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
				return nil, problem
			}
			gap = max(gap, problem.RetryAfter)
			err = problem
		}
		if try >= retries || ctx.Err() != nil {
			return nil, err
		}
		if werr := c.wait(ctx, gap); werr != nil {
			return nil, errors.Join(err, werr)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
