package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
)

// Codes of a try that failed.
const (
	CodeRefused           = "webhook_refused"             // another status than 2xx
	CodeRedirected        = "webhook_redirected"          // 3xx
	CodeTimeout           = "webhook_timeout"             // no answer in time
	CodeUnreachable       = "webhook_unreachable"         // no connection, or one that broke
	CodeTLSFailed         = "webhook_tls_failed"          // no good certificate
	CodeAddressNotAllowed = "webhook_address_not_allowed" // not a public address, and not one that the operator allows
)

const (
	timeout = 15 * time.Second // of one post
	// An endpoint's worker posts so many at once, and claims so many at a time; fewer while the endpoint fails.
	atOnce, claimAtOnce, claimFailing = 4, 16, 4
	// A claim outlives its slowest end: all its posts, one behind the other in atOnce rows, time out.
	claimLease = claimAtOnce/atOnce*timeout + time.Minute
	maxExcerpt = 500 // bytes of an answer that are kept
)

// work posts what is due to one endpoint, for a while.
func (e *Engine) work(d store.DueEndpoint) {
	defer e.release(d.ID)
	n := claimAtOnce
	if d.Failing {
		n = claimFailing
	}
	for !e.stopped() {
		good, err := e.postSome(d.ID, n)
		if err != nil && e.ctx.Err() == nil {
			e.log.Error("webhook deliveries", "endpoint", d.ID, "error", err)
		}
		if !good || err != nil {
			return // a failing endpoint queues up again, behind those that work
		}
	}
}

// postSome claims at most n deliveries of an endpoint, posts them and records what came of it. good says that there were some and
// none failed.
func (e *Engine) postSome(endpointID string, n int) (good bool, err error) {
	endpoint, claimed, err := e.store.ClaimDeliveries(e.ctx, endpointID, rand.Text(), claimLease, n, e.now())
	if errors.Is(err, store.ErrSealed) {
		return false, errors.New("the endpoint's secret cannot be opened: is this the right keyset?")
	}
	if err != nil || len(claimed) == 0 {
		return false, err
	}
	results := e.post(endpoint, claimed)
	good = !slices.ContainsFunc(results, func(r store.DeliveryResult) bool { return r.Status != store.DeliveryDelivered })
	// What was posted is recorded even at the end of the process.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), 30*time.Second)
	defer cancel()
	disabled, err := e.store.RecordDeliveries(ctx, endpointID, results, e.now().Add(-giveUpAfter))
	if disabled != "" {
		e.log.Warn("webhook endpoint switched off", "endpoint", endpointID, "code", disabled)
	}
	return good, err
}

// post makes one try of each, a few at once. What was not tried because the process stops is left out: it is due when its lease is
// over.
func (e *Engine) post(endpoint *store.WebhookEndpoint, claimed []*store.Delivery) []store.DeliveryResult {
	var (
		mu      sync.Mutex
		results []store.DeliveryResult
		wg      sync.WaitGroup
		next    = make(chan *store.Delivery)
	)
	for range min(atOnce, len(claimed)) {
		wg.Go(func() {
			for d := range next {
				a := e.try(endpoint, d)
				if a.code != "" && e.ctx.Err() != nil {
					continue
				}
				mu.Lock()
				results = append(results, e.result(d, a))
				mu.Unlock()
			}
		})
	}
	for _, d := range claimed {
		if e.stopped() {
			break
		}
		next <- d
	}
	close(next)
	wg.Wait()
	return results
}

// answer is how one try ended. code is empty when the receiver took the event.
type answer struct {
	status        int
	code, excerpt string
}

// result is the delivery after a try.
func (e *Engine) result(d *store.Delivery, a answer) store.DeliveryResult {
	now := e.now()
	r := store.DeliveryResult{Delivery: *d, Gone: a.status == http.StatusGone}
	r.Attempts++
	r.AttemptedAt, r.ResponseStatus, r.Code, r.Excerpt = now, a.status, a.code, a.excerpt
	next, more := nextTry(r.Attempts, now)
	switch {
	case a.code == "":
		r.Status, r.NextAt = store.DeliveryDelivered, time.Time{}
	case r.Gone || !more:
		r.Status, r.NextAt = store.DeliveryFailed, time.Time{}
	default:
		r.NextAt = next
	}
	return r
}

// try posts an event once.
func (e *Engine) try(endpoint *store.WebhookEndpoint, d *store.Delivery) answer {
	ctx, cancel := context.WithTimeout(e.ctx, timeout)
	defer cancel()
	body, err := Body(endpoint.Language, &d.Event)
	if err != nil {
		e.log.Error("event cannot be written", "event", d.Event.ID, "error", err)
		return answer{code: CodeUnreachable}
	}
	// The operator's networks are open to the posts of every tenant; what answers there is none of his business.
	inside := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { inside = allowed(e.cfg.Policy, c.Conn.RemoteAddr()) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.URL, bytes.NewReader(body))
	if err != nil {
		return answer{code: CodeURLInvalid}
	}
	signatures, err := sign(endpoint, d.Event.ID, e.now(), body)
	if err != nil {
		e.log.Error("event cannot be signed", "endpoint", endpoint.ID, "error", err)
		return answer{code: CodeUnreachable}
	}
	req.Header = signatures
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Facteur-Webhooks/1")
	resp, err := e.client.Do(req)
	if err != nil {
		return answer{code: codeOf(err)}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, code: codeOfStatus(resp.StatusCode)}
	excerpt, err := io.ReadAll(io.LimitReader(resp.Body, maxExcerpt))
	if !inside && (err == nil || len(excerpt) > 0) {
		a.excerpt = printable(excerpt)
	}
	return a
}

func codeOfStatus(status int) string {
	switch {
	case status >= 200 && status < 300:
		return ""
	case status == http.StatusGone:
		return store.CodeEndpointGone
	case status >= 300 && status < 400:
		return CodeRedirected
	}
	return CodeRefused
}

// errInsecure: the URL is not https and leads to an address where that is not allowed.
var errInsecure = errors.New("notify: plain http is for networks that the operator allows")

// codeOf says why there was no answer.
func codeOf(err error) string {
	var (
		refused *dial.Error
		netErr  net.Error
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case errors.As(err, &refused):
		return CodeAddressNotAllowed
	case errors.Is(err, errInsecure):
		return CodeURLInsecure
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &record), errors.As(err, &alert):
		return CodeTLSFailed
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return CodeTimeout
	}
	return CodeUnreachable
}

// printable is text of a stranger as it can be stored and shown.
func printable(b []byte) string {
	s := strings.ToValidUTF8(string(b), "")
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// newClient makes the client of all posts: no proxy, no redirects, no address that the policy forbids, and plain http only where the
// operator allows more than the public ones.
func newClient(policy dial.Policy, roots *x509.CertPool) *http.Client {
	dialer := dial.New(policy)
	connect := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil || ctx.Value(plain{}) == nil || allowed(policy, c.RemoteAddr()) {
			return c, err
		}
		return nil, errors.Join(errInsecure, c.Close())
	}
	return &http.Client{
		Transport: marker{&http.Transport{
			DialContext: connect, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: atOnce, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// plain marks the context of a request that is not https.
type plain struct{}

type marker struct{ http.RoundTripper }

func (m marker) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		r = r.WithContext(context.WithValue(r.Context(), plain{}, true))
	}
	return m.RoundTripper.RoundTrip(r)
}

func (m marker) CloseIdleConnections() {
	if c, ok := m.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func allowed(policy dial.Policy, addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && slices.ContainsFunc(policy.Allow, func(p netip.Prefix) bool { return p.Contains(ap.Addr().Unmap().WithZone("")) })
}
