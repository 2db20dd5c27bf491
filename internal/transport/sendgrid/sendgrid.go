// Package sendgrid hands mail to SendGrid's v3 Mail Send (https://www.twilio.com/docs/sendgrid/api-reference/mail-send) with a key
// of the service's: a tenant has none, only perhaps a subuser of the service's account.
//
// The way of one mail: the request is built, commit, then one POST that holds the whole mail. It is never sent again. SendGrid
// makes the MIME itself, from the same content that ours is made from: From, Reply-To, recipients, subject, texts, files and header
// fields, with our Message-ID. It dates the mail, and chooses boundaries and encodings. What it is told about a mail besides, for
// its events to say which mail they are about, are our own ids.
//
// Once the last byte of a mail is given to the connection only SendGrid's answer counts. 202 is a yes. Without an answer, and with
// one that does not say whether the mail was taken (any 5xx), the outcome is uncertain; before it, every failure is temporary. A
// careful profile can take such a mail back: see careful.go.
//
// SendGrid takes a mail for all of its recipients or for none. What the answer "sent" means is that SendGrid has taken it: whether
// it reaches anybody is told later, by its events. SendGrid cannot be asked for a mail by its Message-ID without a paid extra, so
// this driver is no transport.Finder.
package sendgrid

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// Name is the driver's name in the registry and in profiles.
const Name = "sendgrid"

const (
	// MaxBytes is the largest mail, encoded: "the total message size should not exceed 30MB, including attachments"
	// (https://www.twilio.com/docs/sendgrid/api-reference/mail-send/limitations). The request is held to it, too.
	MaxBytes = 30_000_000
	// MaxRecipients is of one mail, from the same page.
	MaxRecipients = 1000
)

// Where SendGrid is. Accounts and subusers of the European region are at the other one.
const (
	DefaultBaseURL = "https://api.sendgrid.com"
	EuropeBaseURL  = "https://api.eu.sendgrid.com"
)

// Key is an API key of the service's.
type Key struct {
	Secret  mail.Secret
	BaseURL string // empty: DefaultBaseURL
}

// Account says with which key, and on behalf of whom, a tenant's mails are sent.
type Account struct {
	Key     string // its name; empty: the default one
	Subuser string // empty: the account itself
}

// Accounts finds a tenant's account. An error is a *transport.Error when it has a verdict; another error counts as bad weather. It
// is safe for concurrent use.
type Accounts interface {
	Account(ctx context.Context, p *mail.Profile) (Account, error)
}

// Config is what the driver needs: Keys. Everything else has a default that works with SendGrid.
type Config struct {
	Keys map[string]Key // by name; none: every session is refused
	// Default names the key of those who have none of their own; empty: the only one.
	Default  string
	Accounts Accounts // nil: the default key and no subuser for everybody
	// HTTP makes the connections; New takes a copy that speaks HTTP/1.1 and lets the far end's timeouts alone. Nil: a transport
	// that uses no proxy. An operator's proxy and further root certificates go in here.
	HTTP *http.Transport
	// Timeouts of the steps; those that are zero have their defaults.
	Timeouts Timeouts
	// Ahead is how far in the future a careful profile's mails are to be sent; 20 min. See careful.go.
	Ahead time.Duration
}

// Timeouts bound each step.
type Timeouts struct {
	Connect  time.Duration // TCP, and then TLS; 30 s
	Body     time.Duration // added to what the mail takes at BodyRate, connecting included; 3 min
	BodyRate int64         // slowest tolerated, in bytes a second; 16 KiB
	Answer   time.Duration // from the last byte of the mail to the whole answer; 3 min
	Read     time.Duration // a call that sends no mail; 30 s
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.Body, 3*time.Minute)
	set(&t.Answer, 3*time.Minute)
	set(&t.Read, 30*time.Second)
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
	keys     map[string]*key
	fallback string
	accounts Accounts
	http     *onepost.Client
	timeouts Timeouts
	ahead    time.Duration
}

// key is a Key with the addresses that are called.
type key struct {
	secret     string
	base, send *url.URL
}

// New makes the driver. The error says what is wrong with the keys, and nothing of them.
func New(cfg Config) (*Transport, error) {
	t := &Transport{
		keys: map[string]*key{}, fallback: cfg.Default, accounts: cfg.Accounts, timeouts: cfg.Timeouts.withDefaults(), ahead: cfg.Ahead,
	}
	if t.ahead <= 0 {
		t.ahead = 20 * time.Minute
	}
	for name, k := range cfg.Keys {
		if k.BaseURL == "" {
			k.BaseURL = DefaultBaseURL
		}
		base, err := url.Parse(strings.TrimSuffix(k.BaseURL, "/") + "/") // without the slash JoinPath makes a path that begins with none
		if err != nil || base.Host == "" || base.User != nil || base.Scheme != "https" && base.Scheme != "http" {
			return nil, errors.New("sendgrid: key " + name + ": its base URL is not a URL")
		}
		if !isKey(string(k.Secret)) {
			return nil, errors.New("sendgrid: key " + name + ": it is empty or has characters that no key has")
		}
		t.keys[name] = &key{secret: string(k.Secret), base: base, send: base.JoinPath("v3/mail/send")}
		if len(cfg.Keys) == 1 && t.fallback == "" {
			t.fallback = name
		}
	}
	if len(t.keys) > 0 && t.keys[t.fallback] == nil {
		return nil, errors.New("sendgrid: which key is the default one must be said, by its name")
	}
	t.http = onepost.NewClient(cfg.HTTP, t.timeouts.Connect)
	return t, nil
}

// isKey says whether a key can stand in a header field.
func isKey(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// KeyNames are the names of the keys, in order.
func (t *Transport) KeyNames() []string { return slices.Sorted(maps.Keys(t.keys)) }

// Info implements transport.Transport.
func (t *Transport) Info() transport.Info {
	return transport.Info{Name: Name, MaxBytes: MaxBytes, MaxRecipients: MaxRecipients, AddressesByHeader: true}
}

// Open finds out whose account the profile's mails go with. The connection is made for the first mail, and kept for the next ones
// whatever profile they are of.
func (t *Transport) Open(ctx context.Context, p *mail.Profile) (transport.Session, error) {
	c, err := t.client(ctx, p)
	if err != nil {
		return nil, err
	}
	return &session{Client: c, profile: p, alive: true}, nil
}

// client is of a profile's account. Errors are *transport.Error, declared as error so that nil stays nil.
func (t *Transport) client(ctx context.Context, p *mail.Profile) (*Client, error) {
	if ctx.Err() != nil {
		return nil, &transport.Error{Verdict: transport.NotCommitted(stepLogin), Err: ctx.Err()}
	}
	a, err := t.account(ctx, p)
	if err != nil {
		return nil, err
	}
	return t.Client(a)
}

// account asks whose account the profile's mails go with. The error is a *transport.Error.
func (t *Transport) account(ctx context.Context, p *mail.Profile) (Account, error) {
	if t.accounts == nil {
		return Account{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeouts.Read)
	defer cancel()
	a, err := t.accounts.Account(ctx, p)
	var verdict *transport.Error
	if err == nil || errors.As(err, &verdict) {
		return a, err
	}
	return Account{}, &transport.Error{Err: err, Verdict: mail.Verdict{
		Outcome: temporary, Scope: mail.ScopeProfile, Code: CodeAccountUnavailable, Step: stepLogin,
	}}
}

// Client makes calls with an account that are about no mail. The error is a *transport.Error: there is no such key.
func (t *Transport) Client(a Account) (*Client, error) {
	k := t.keys[a.Key]
	if a.Key == "" {
		k = t.keys[t.fallback]
	}
	if k == nil {
		return nil, &transport.Error{Err: errors.New("sendgrid: no key is configured for this account"), Verdict: mail.Verdict{
			Outcome: temporary, Scope: mail.ScopeProfile, Code: CodeKeyMissing, Step: stepLogin,
		}}
	}
	if strings.ContainsFunc(a.Subuser, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, &transport.Error{Err: errors.New("sendgrid: not the name of a subuser"), Verdict: mail.Verdict{
			Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeRequestRefused, Step: stepLogin,
		}}
	}
	return &Client{t: t, key: k, subuser: a.Subuser}, nil
}
