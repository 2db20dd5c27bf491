// Package smtp hands mail to an SMTP server (RFC 5321). It has a session of its own instead of a library's, for what this
// program promises: each step's reply is classified where it is read, the body is written whole before commit is called and
// the dot that ends it only afterwards, a body that breaks off is never ended politely, and a mail costs few round trips.
//
// The way of one mail: MAIL, RCPT and DATA in one write when the server offers PIPELINING (RFC 2920); after 354 the body; then
// commit; then the dot. Before the dot every failure is temporary and the connection is cut, because a server that reads a
// polite end could take half a mail for a whole one. From the dot on only the server's own reply counts: without it the
// outcome is uncertain.
//
// A session never falls back to less protection than its profile asks for: STARTTLS that is not offered, a certificate that
// does not fit or a login that would cross an open line are verdicts.
package smtp

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
)

// Name is the driver's name in the registry and in profiles.
const Name = "smtp"

// Dialer makes the TCP connection to "host:port".
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Config is what the driver needs. The zero Config works: it connects to public addresses only.
type Config struct {
	// Dialer decides which addresses may be reached; nil: a dial.Dialer with the zero Policy.
	Dialer Dialer
	// HELO is the name given in EHLO for profiles that have none: this host's full name. Empty: "localhost".
	HELO string
	// Timeouts of the steps; those that are zero have their defaults.
	Timeouts Timeouts
}

// Timeouts bound each step of a session. RFC 5321 section 4.5.3.2 has the minima that a server may count on; where a step
// fails safely we wait less, and never less for the final reply.
type Timeouts struct {
	Connect  time.Duration // TCP, all addresses of the host together; 30 s
	Greeting time.Duration // 1 min (RFC: 5 min)
	TLS      time.Duration // handshake; 30 s
	Command  time.Duration // EHLO, AUTH, MAIL, RCPT, DATA, RSET: each group of replies; 3 min (RFC: 5 min, DATA 2 min)
	Body     time.Duration // added to what the body takes at BodyRate; 3 min
	BodyRate int64         // slowest tolerated, in bytes a second; 16 KiB
	Final    time.Duration // from the dot to its reply; 10 min (RFC: 10 min)
	Quit     time.Duration // 1 s
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.Greeting, time.Minute)
	set(&t.TLS, 30*time.Second)
	set(&t.Command, 3*time.Minute)
	set(&t.Body, 3*time.Minute)
	set(&t.Final, 10*time.Minute)
	set(&t.Quit, time.Second)
	if t.BodyRate <= 0 {
		t.BodyRate = 16 << 10
	}
	return t
}

func (t Timeouts) body(size int64) time.Duration {
	return t.Body + time.Duration(size/t.BodyRate)*time.Second
}

// Transport is the driver.
type Transport struct {
	dialer   Dialer
	helo     string
	timeouts Timeouts
	deaf     deaf
}

// deaf are servers that said nothing to commands that came with a dot, as if they had thrown them away: they are given none
// any more. It is safe for concurrent use.
type deaf struct {
	mu      sync.Mutex
	servers map[string]bool
}

const maxDeaf = 1000 // they are rare; anybody can make some up

func (d *deaf) add(server string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.servers == nil || len(d.servers) >= maxDeaf {
		d.servers = map[string]bool{}
	}
	d.servers[server] = true
}

func (d *deaf) has(server string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.servers[server]
}

// New makes the driver.
func New(cfg Config) *Transport {
	t := &Transport{dialer: cfg.Dialer, helo: cfg.HELO, timeouts: cfg.Timeouts.withDefaults()}
	if t.dialer == nil {
		t.dialer = dial.New(dial.Policy{})
	}
	if t.helo == "" {
		t.helo = "localhost"
	}
	return t
}

// Info implements transport.Transport.
func (t *Transport) Info() transport.Info { return transport.Info{Name: Name} }

// Open connects, protects the connection as the profile says and logs in. Errors are *transport.Error.
func (t *Transport) Open(ctx context.Context, p *mail.Profile) (transport.Session, error) {
	s, err := t.open(ctx, p)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Check connects and logs in like Open, then has the server accept the profile's sender and, as recipient, the profile's own
// address, and takes both back before any mail exists. A recipient refused for now counts as good: that is greylisting.
func (t *Transport) Check(ctx context.Context, p *mail.Profile) []transport.CheckStep {
	s, oe := t.open(ctx, p)
	var steps []transport.CheckStep
	for _, name := range opening(p.SMTP) {
		if oe != nil && oe.Verdict.Step == name {
			return append(steps, transport.CheckStep{Name: name, Code: oe.Verdict.Code, Reply: oe.Verdict.Reply})
		}
		steps = append(steps, transport.CheckStep{Name: name, OK: true})
	}
	defer s.Close() //nolint:errcheck // nothing depends on it
	v := s.probe(ctx, p)
	return append(steps, transport.CheckStep{Name: "sender", OK: v.Outcome == mail.OutcomeSent, Code: v.Code, Reply: v.Reply, MaxBytes: s.ext.size})
}

// asciiHost gives a host as DNS and TLS want it; what is no international name comes back as it is.
func asciiHost(host string) string {
	if a, err := idna.Lookup.ToASCII(host); err == nil {
		return a
	}
	return host
}
