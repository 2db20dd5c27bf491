package transporttest

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// SMTPConfig says how an SMTPServer behaves. The zero value is a good server without TLS and login, that offers all
// extensions and keeps everything.
type SMTPConfig struct {
	// Hide are extensions that it does not offer: "PIPELINING", "DSN", "STARTTLS"...
	Hide []string
	// NoEHLO makes a server of before RFC 1869: EHLO is unknown.
	NoEHLO bool
	// Size is the largest mail it says it takes; 0: 100 MB.
	Size int64
	// DiscardData keeps only what can be counted of each mail, for a sink of many.
	DiscardData bool

	// TLS offers STARTTLS, or with ImplicitTLS speaks TLS from the first byte. See SMTPServer.CA.
	TLS, ImplicitTLS bool
	// Certificate is the flaw of the server's certificate.
	Certificate CertificateKind

	// Users are user names with their passwords (or access tokens); with any, MAIL needs a login.
	Users map[string]string
	// Mechanisms are those offered; nil: all.
	Mechanisms []string

	// Greylist refuses each recipient the first time.
	Greylist bool
	// MaxConnections refuses more at once with 421; 0: no limit.
	MaxConnections int

	// Hook may change what happens at a step; it is called from many goroutines. nil: nothing changes.
	Hook func(Step) Action

	// Delay is waited before each reply.
	Delay time.Duration
	// Latency is how long bytes travel, in each direction: 10 ms make a line with 20 ms round trip. It delays, it does not
	// slow down: pipelining helps as it does on a real line.
	Latency time.Duration
	// DropAfterRead cuts each connection once so many bytes have come in, DropAfterWrite once so many have gone out; 0: never.
	// With TLS the bytes are the encrypted ones.
	DropAfterRead, DropAfterWrite int64
	// TakesTruncated takes what there is of a mail when its line ends politely before the dot, as some servers do. A line that
	// is cut is no polite end.
	TakesTruncated bool
}

// Step is a moment at which a Hook may act.
type Step struct {
	// Verb is the command, or CONNECT before the greeting, BODY after 354 and DOT when the whole mail has come.
	Verb string
	Arg  string // the rest of the command's line
	Conn int    // which connection, from 1
	N    int    // how often this connection came to this verb, from 1
}

// Action is what a Hook wants. The zero Action lets the server go on.
type Action struct {
	// Reply is sent instead of the server's own, CRLF is added: "550 5.1.1 no such user", or "250-a\r\n250 b". A positive
	// one has the command's effect, any other has not. Garbage goes out as it is.
	Reply string
	// Drop ends the connection, after Reply if there is one. At DOT the mail is accepted before only with Accept.
	Drop bool
	// Hang says nothing more on the connection, until the client or the server closes it.
	Hang bool
	// Accept takes the mail at DOT whatever else happens.
	Accept bool
}

// Mail is an accepted mail.
type Mail struct {
	From       string
	To         []string
	Params     string // of MAIL
	Data       []byte // as sent; nil with DiscardData
	Size       int
	MessageID  string // with angle brackets
	User       string // who was logged in
	TLS        bool
	Conn       int
	ReceivedAt time.Time
}

// SMTPServer is a small SMTP server on loopback that does what its SMTPConfig says: a sink for demos and benchmarks, and every
// kind of bad weather for tests. It is safe for concurrent use.
type SMTPServer struct {
	cfg      SMTPConfig
	listener net.Listener
	tls      *tls.Config
	ca       string
	done     chan struct{}
	wg       sync.WaitGroup

	mu         sync.Mutex
	mails      []Mail
	accepted   int
	byID       map[string]int
	deliveries map[delivery]int
	duplicates int
	conns      map[net.Conn]struct{}
	total, max int
	greylisted map[string]bool
	changed    chan struct{} // closed when a mail is accepted and somebody waits
}

type delivery struct{ id, to string }

// NewSMTP starts a server on a free port of 127.0.0.1.
func NewSMTP(cfg SMTPConfig) (*SMTPServer, error) {
	s := &SMTPServer{
		cfg: cfg, done: make(chan struct{}), byID: map[string]int{}, deliveries: map[delivery]int{},
		conns: map[net.Conn]struct{}{}, greylisted: map[string]bool{},
	}
	if cfg.TLS || cfg.ImplicitTLS {
		cert, ca, err := certificate(cfg.Certificate)
		if err != nil {
			return nil, err
		}
		s.tls, s.ca = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, ca
	}
	if s.cfg.Size == 0 {
		s.cfg.Size = 100_000_000
	}
	if s.cfg.Mechanisms == nil {
		s.cfg.Mechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2"}
	}
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.wg.Add(1)
	go s.serve()
	return s, nil
}

// StartSMTP starts a server that ends with the test.
func StartSMTP(t testing.TB, cfg SMTPConfig) *SMTPServer {
	t.Helper()
	s, err := NewSMTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // it ends with the test
	return s
}

func (s *SMTPServer) serve() {
	defer s.wg.Done()
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		select {
		case <-s.done:
			s.mu.Unlock()
			nc.Close()
			return
		default:
		}
		s.conns[nc] = struct{}{}
		s.total++
		s.max = max(s.max, len(s.conns))
		c := &smtpConn{server: s, raw: nc, number: s.total, tooMany: s.cfg.MaxConnections > 0 && len(s.conns) > s.cfg.MaxConnections}
		s.wg.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.wg.Done()
			defer func() {
				nc.Close()
				s.mu.Lock()
				delete(s.conns, nc)
				s.mu.Unlock()
			}()
			c.run()
		}()
	}
}

// Close cuts all connections and waits for their end.
func (s *SMTPServer) Close() error {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.CutAll()
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// CutAll ends the connections that are open now, as a restart of the server would.
func (s *SMTPServer) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		nc.Close()
	}
}

// Addr is "127.0.0.1:port".
func (s *SMTPServer) Addr() string { return s.listener.Addr().String() }

// Host and Port are the parts of Addr.
func (s *SMTPServer) Host() string { return "127.0.0.1" }

// Port is the port of Addr.
func (s *SMTPServer) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// CA is the root, in PEM, that signed the certificate. It is valid for "localhost" and 127.0.0.1.
func (s *SMTPServer) CA() string { return s.ca }

// Mails are those accepted so far, in order; nil with DiscardData.
func (s *SMTPServer) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Accepted is the number of mails accepted so far.
func (s *SMTPServer) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Duplicates is how often a recipient was given a mail that he had already, by Message-ID.
func (s *SMTPServer) Duplicates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.duplicates
}

// ByMessageID counts the accepted mails by their Message-ID (with angle brackets).
func (s *SMTPServer) ByMessageID() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.byID))
	for id, n := range s.byID {
		out[id] = n
	}
	return out
}

// Connections is how many connections were made so far.
func (s *SMTPServer) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// MaxConnections is how many were open at once at most.
func (s *SMTPServer) MaxConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.max
}

// Wait waits until n mails were accepted in all, or d has passed; it says whether they were.
func (s *SMTPServer) Wait(n int, d time.Duration) bool {
	timeout := time.After(d)
	for {
		s.mu.Lock()
		if s.accepted >= n {
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

func (s *SMTPServer) accept(m Mail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	if !s.cfg.DiscardData {
		s.mails = append(s.mails, m)
	}
	if m.MessageID != "" {
		s.byID[m.MessageID]++
		for _, to := range m.To {
			d := delivery{m.MessageID, to}
			if s.deliveries[d]++; s.deliveries[d] > 1 {
				s.duplicates++
			}
		}
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// greylist says whether this is the first time that the pair is seen.
func (s *SMTPServer) greylist(from, to string) bool {
	if !s.cfg.Greylist {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.greylisted[from+" "+to]
	s.greylisted[from+" "+to] = true
	return first
}

func (s *SMTPServer) offers(extension string) bool { return !slices.Contains(s.cfg.Hide, extension) }

// extensions are the lines of an EHLO reply.
func (s *SMTPServer) extensions(secure bool) []string {
	lines := []string{"sink.example greets you"}
	add := func(name, line string) {
		if s.offers(name) {
			lines = append(lines, line)
		}
	}
	add("PIPELINING", "PIPELINING")
	add("8BITMIME", "8BITMIME")
	add("SMTPUTF8", "SMTPUTF8")
	add("DSN", "DSN")
	add("ENHANCEDSTATUSCODES", "ENHANCEDSTATUSCODES")
	add("SIZE", "SIZE "+itoa(s.cfg.Size))
	if s.tls != nil && !secure {
		add("STARTTLS", "STARTTLS")
	}
	if len(s.cfg.Users) > 0 && len(s.cfg.Mechanisms) > 0 {
		add("AUTH", "AUTH "+strings.Join(s.cfg.Mechanisms, " "))
	}
	return lines
}
