package transporttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// SendGridConfig says how a SendGrid behaves. The zero value has one key with every right, sends from nobody until a sender is
// verified, answers at once and keeps everything.
type SendGridConfig struct {
	// Keys are the API keys; none: SendGridTestKey with every scope.
	Keys []SendGridKey
	// Subusers are the account's subusers. A call on behalf of another one is refused.
	Subusers []string
	// Senders are verified single senders and Domains authenticated domains of the parent account, besides those that are made
	// by calls or by Verify.
	Senders, Domains []string
	// AnySender sends from everybody.
	AnySender bool
	// Delay is waited before each answer to a mail.
	Delay time.Duration
	// DiscardData keeps only what can be counted of each mail, for a sink of many.
	DiscardData bool
	// Hook may change what happens at a step; it is called from many goroutines. nil: nothing changes. See SendGrid.SetHook.
	Hook func(SendGridStep) SendGridAction
	// TLS speaks TLS with a certificate of this flaw; see SendGrid.CA.
	TLS         bool
	Certificate CertificateKind
	// DropAfterRead cuts each connection once so many bytes have come in, DropAfterWrite once so many have gone out; 0: never.
	DropAfterRead, DropAfterWrite int64
	// Now is SendGrid's clock; nil: time.Now. It decides what is too late to be canceled.
	Now func() time.Time
}

// SendGridTestKey is the key of a SendGrid that was given none.
const SendGridTestKey = "SG.test-key-id.test-key-secret"

// SendGridKey is an API key with its scopes; none: all that Facteur could need.
type SendGridKey struct {
	Key    string
	Scopes []string
}

// SendGridStep is a moment at which a Hook may act.
type SendGridStep struct {
	// Endpoint is "batch", "scheduled", "scopes", "senders" or "domains"; or "upload" when the header of a mail's request has
	// come, and "send" when the whole mail has and it is valid.
	Endpoint  string
	Method    string
	N         int    // how often the endpoint was called, from 1
	Key       string // the API key
	Subuser   string // of on-behalf-of; "": the parent account
	MessageID string // of "send": the mail's header, with angle brackets
	From      string // of "send"
	Sandbox   bool   // of "send": nothing would be sent

	late SendGridAction // to be done once the call was carried out
}

// SendGridAction is what a Hook wants. The zero SendGridAction lets SendGrid go on.
type SendGridAction struct {
	// Status is answered instead, with Message and Field in the form of SendGrid's errors, or with Body. 200 when there is only
	// Body.
	Status         int
	Message, Field string
	Body           string
	// Header is added to the answer, such as X-RateLimit-Reset.
	Header map[string]string
	// Raw is written to the connection as it is, which then ends.
	Raw string
	// Drop ends the connection without an answer.
	Drop bool
	// Hang says nothing more, until the client or the server closes the connection.
	Hang bool
	// Accept takes the mail at "send", or carries out what "scheduled" asks for, whatever else happens.
	Accept bool
	// Delay is waited first.
	Delay time.Duration
}

// SendGridMail is a mail that was accepted.
type SendGridMail struct {
	ID           string // X-Message-Id
	Key, Subuser string
	From         SendGridAddress
	ReplyTo      []SendGridAddress
	To, CC, BCC  []SendGridAddress
	Subject      string
	Text, HTML   string
	MessageID    string            // with angle brackets, from Headers
	Headers      map[string]string // as given
	CustomArgs   map[string]string
	Categories   []string
	Attachments  []SendGridAttachment
	SendAt       int64 // Unix seconds; 0: at once
	BatchID      string
	ClickTracking,
	OpenTracking bool // as asked for; the account's setting, which is on, when nothing was
	Body       []byte // the request's, as it came; nil with DiscardData
	Size       int
	Conn       string // the client's address
	ReceivedAt time.Time
	// Canceled says that its batch was canceled while that was possible: it is never sent.
	Canceled bool
}

// Recipients are all of its addresses.
func (m *SendGridMail) Recipients() []string {
	var out []string
	for _, list := range [...][]SendGridAddress{m.To, m.CC, m.BCC} {
		for _, a := range list {
			out = append(out, a.Email)
		}
	}
	return out
}

// SendGridAddress is an address as SendGrid has it.
type SendGridAddress struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
}

// SendGridAttachment is a file of a mail.
type SendGridAttachment struct {
	Filename, Type, Disposition, ContentID string
	Data                                   []byte // decoded; nil with DiscardData
	Size                                   int
}

// SendGrid is a SendGrid of our own on loopback, as far as Facteur sees it: sending (https://www.twilio.com/docs/sendgrid/api-reference/mail-send),
// batches and their cancellation, scopes, single senders, domain authentication, and the event webhook with its signatures. It
// refuses what SendGrid refuses, in its words, and misbehaves where its Hook says so. It is safe for concurrent use.
type SendGrid struct {
	cfg      SendGridConfig
	listener net.Listener
	server   *http.Server
	scheme   string
	ca       string
	signing  *ecdsa.PrivateKey
	done     chan struct{}
	wg       sync.WaitGroup

	mu       sync.Mutex
	hook     func(SendGridStep) SendGridAction
	calls    map[string]int
	mails    []*SendGridMail
	given    map[delivery]int
	batches  map[string]*sendGridBatch
	accounts map[string]*sendGridAccount // by subuser
	lastID   int
	changed  chan struct{} // closed when a mail is accepted and somebody waits
}

// NewSendGrid starts a SendGrid on a free port of 127.0.0.1.
func NewSendGrid(cfg SendGridConfig) (*SendGrid, error) {
	if len(cfg.Keys) == 0 {
		cfg.Keys = []SendGridKey{{Key: SendGridTestKey}}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &SendGrid{
		cfg: cfg, hook: cfg.Hook, scheme: "http", signing: signing, done: make(chan struct{}), calls: map[string]int{},
		given: map[delivery]int{}, batches: map[string]*sendGridBatch{}, accounts: map[string]*sendGridAccount{},
	}
	for _, address := range cfg.Senders {
		s.Verify("", address)
	}
	for _, domain := range cfg.Domains {
		s.Verify("", domain)
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	var listener net.Listener = &cuttingListener{s.listener, cfg.DropAfterRead, cfg.DropAfterWrite}
	if cfg.TLS {
		cert, ca, err := certificate(cfg.Certificate)
		if err != nil {
			s.listener.Close()
			return nil, err
		}
		s.scheme, s.ca = "https", ca
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	}
	s.server = &http.Server{Handler: s.routes(), ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	s.wg.Go(func() { s.server.Serve(listener) }) //nolint:errcheck // it ends with Close
	return s, nil
}

// StartSendGrid starts a SendGrid that ends with the test.
func StartSendGrid(t testing.TB, cfg SendGridConfig) *SendGrid {
	t.Helper()
	s, err := NewSendGrid(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // it ends with the test
	return s
}

func (s *SendGrid) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/mail/send", s.send)
	mux.HandleFunc("POST /v3/mail/batch", s.newBatch)
	mux.HandleFunc("GET /v3/mail/batch/{id}", s.getBatch)
	mux.HandleFunc("POST /v3/user/scheduled_sends", s.stopBatch)
	mux.HandleFunc("GET /v3/user/scheduled_sends", s.stoppedBatches)
	mux.HandleFunc("GET /v3/user/scheduled_sends/{id}", s.stoppedBatches)
	mux.HandleFunc("PATCH /v3/user/scheduled_sends/{id}", s.changeStop)
	mux.HandleFunc("DELETE /v3/user/scheduled_sends/{id}", s.endStop)
	mux.HandleFunc("GET /v3/scopes", s.scopes)
	mux.HandleFunc("GET /v3/verified_senders", s.listSenders)
	mux.HandleFunc("POST /v3/verified_senders", s.createSender)
	mux.HandleFunc("DELETE /v3/verified_senders/{id}", s.deleteSender)
	mux.HandleFunc("GET /v3/whitelabel/domains", s.listDomains)
	mux.HandleFunc("POST /v3/whitelabel/domains", s.createDomain)
	mux.HandleFunc("GET /v3/whitelabel/domains/{id}", s.getDomain)
	mux.HandleFunc("DELETE /v3/whitelabel/domains/{id}", s.deleteDomain)
	mux.HandleFunc("POST /v3/whitelabel/domains/{id}/validate", s.validateDomain)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.wg.Add(1)
		defer s.wg.Done()
		mux.ServeHTTP(w, r)
	})
}

// Close cuts all connections and waits for their end.
func (s *SendGrid) Close() error {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.mu.Unlock()
	err := s.server.Close()
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr is "127.0.0.1:port".
func (s *SendGrid) Addr() string { return s.listener.Addr().String() }

// CA is the root, in PEM, that signed the certificate. It is valid for 127.0.0.1.
func (s *SendGrid) CA() string { return s.ca }

// URL is the base URL, without a slash at the end.
func (s *SendGrid) URL() string { return s.scheme + "://" + s.Addr() }

// SetHook changes the hook; nil: none.
func (s *SendGrid) SetHook(hook func(SendGridStep) SendGridAction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Calls is how often an endpoint was called so far; the names are those of SendGridStep.
func (s *SendGrid) Calls(endpoint string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[endpoint]
}

// Mails are those accepted so far, in order, canceled ones included.
func (s *SendGrid) Mails() []SendGridMail {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SendGridMail, len(s.mails))
	for i, m := range s.mails {
		out[i] = *m
	}
	return out
}

// Accepted is the number of mails accepted so far, canceled ones included.
func (s *SendGrid) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mails)
}

// Duplicates is how often a recipient was given a mail that he had already, by Message-ID. A canceled mail was given to nobody.
func (s *SendGrid) Duplicates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := 0
	for _, n := range s.given {
		again += max(n-1, 0)
	}
	return again
}

// ByMessageID counts the accepted mails that were not canceled by their Message-ID (with angle brackets).
func (s *SendGrid) ByMessageID() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, m := range s.mails {
		if !m.Canceled {
			out[m.MessageID]++
		}
	}
	return out
}

// Wait waits until n mails were accepted in all, or d has passed; it says whether they were.
func (s *SendGrid) Wait(n int, d time.Duration) bool {
	timeout := time.After(d)
	for {
		s.mu.Lock()
		if len(s.mails) >= n {
			s.mu.Unlock()
			return true
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			return false
		case <-s.done:
			return false
		}
	}
}

func (s *SendGrid) key(key string) (SendGridKey, bool) {
	i := slices.IndexFunc(s.cfg.Keys, func(k SendGridKey) bool { return k.Key == key })
	if i < 0 {
		return SendGridKey{}, false
	}
	return s.cfg.Keys[i], true
}
