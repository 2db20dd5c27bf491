// Package gmail hands mail to the Gmail API (https://developers.google.com/workspace/gmail/api/guides/sending) with the consent
// that the owner of a Google account gave to Facteur.
//
// The way of one mail: a token from Tokens, commit, then one POST that holds the whole mail (users.messages.send by multipart
// upload). The mail is written to the connection while it is encoded. Nothing is ever sent again but after an answer that says
// that nothing was accepted: 401 to a token, which is renewed once, and a refusal of the thread that the mail was to join. The
// request is our own instead of the generated client's because that one ends a body that breaks off with the closing boundary,
// says no length beforehand, and hides the status of a 2xx that it cannot decode.
//
// Once the last byte of a mail is given to the connection only Google's answer counts. Without it, and with an answer that does
// not say whether the mail was taken (any 5xx), the outcome is uncertain; before it, every failure is temporary.
//
// Gmail sends to all whom the header names, at once: a mail is taken for all of its recipients or for none, and one whose header
// names a recipient that is settled already is refused here (see mail.Rendered.AddressedByHeader). What the answer "sent" means
// is that Google has taken the mail: whether it reaches anybody is told later, by a bounce in the mailbox.
package gmail

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// Name is the driver's name in the registry and in profiles.
const Name = "gmail"

const (
	// MaxBytes is the largest mail, encoded. The discovery document of the API has 36,700,160 bytes (35 MiB) as maxSize of
	// users.messages.send; what lies above 35,000,000 leaves room for the frame of the upload.
	MaxBytes = 35_000_000
	// MaxRecipients is Gmail's limit for one mail (https://support.google.com/mail/answer/22839); Workspace has more, of which
	// 500 may be outside the firm (https://support.google.com/a/answer/166852).
	MaxRecipients = 500
)

// Where Google is.
const (
	DefaultBaseURL     = "https://gmail.googleapis.com/"
	DefaultUserinfoURL = "https://openidconnect.googleapis.com/v1/userinfo" // userinfo_endpoint of Google's discovery document
)

// Tokens gives access tokens of profiles' grants. An error is a *transport.Error when it has a verdict; another error counts as
// bad weather. It is safe for concurrent use.
type Tokens interface {
	// AccessToken gives a token that is good for a while. rejected, when not empty, is one that Google refused just now; it is
	// not given again.
	AccessToken(ctx context.Context, p *mail.Profile, rejected string) (string, error)
}

// Config is what the driver needs: Tokens. Everything else has a default that works with Google.
type Config struct {
	Tokens Tokens
	// BaseURL is where the Gmail API is, with or without a slash at the end.
	BaseURL string
	// UserinfoURL tells whose an access token is (OpenID Connect Core section 5.3).
	UserinfoURL string
	// HTTP makes the connections; New takes a copy that speaks HTTP/1.1 and lets the far end's timeouts alone. Nil: a
	// transport that uses no proxy. An operator's proxy and further root certificates go in here.
	HTTP *http.Transport
	// Timeouts of the steps; those that are zero have their defaults.
	Timeouts Timeouts
}

// Timeouts bound each step.
type Timeouts struct {
	Connect  time.Duration // TCP, and then TLS; 30 s
	Token    time.Duration // for Tokens; 1 min
	Body     time.Duration // added to what the mail takes at BodyRate, connecting included; 3 min
	BodyRate int64         // slowest tolerated, in bytes a second; 16 KiB
	Answer   time.Duration // from the last byte of the mail to the whole answer; 5 min
	Read     time.Duration // a call that sends nothing; 30 s
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.Token, time.Minute)
	set(&t.Body, 3*time.Minute)
	set(&t.Answer, 5*time.Minute)
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
	tokens      Tokens
	http        *onepost.Client
	timeouts    Timeouts
	base        *url.URL
	sendURL     *url.URL
	userinfoURL string
}

// New makes the driver. It panics without Tokens; the error is one of a URL.
func New(cfg Config) (*Transport, error) {
	if cfg.Tokens == nil {
		panic("gmail: Config.Tokens is nil")
	}
	t := &Transport{tokens: cfg.Tokens, timeouts: cfg.Timeouts.withDefaults(), userinfoURL: cfg.UserinfoURL}
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultBaseURL
	}
	if t.userinfoURL == "" {
		t.userinfoURL = DefaultUserinfoURL
	}
	for _, u := range []string{cfg.BaseURL, t.userinfoURL} {
		if parsed, err := url.Parse(u); err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
			return nil, errors.New("gmail: not a URL: " + u)
		}
	}
	t.base, _ = url.Parse(strings.TrimSuffix(cfg.BaseURL, "/") + "/")
	t.sendURL = t.base.JoinPath("upload/gmail/v1/users/me/messages/send")
	t.sendURL.RawQuery = "uploadType=multipart&alt=json&prettyPrint=false&fields=id,threadId"
	t.http = onepost.NewClient(cfg.HTTP, t.timeouts.Connect)
	return t, nil
}

// Info implements transport.Transport.
func (t *Transport) Info() transport.Info {
	return transport.Info{Name: Name, MaxBytes: MaxBytes, MaxRecipients: MaxRecipients, KeepsSentCopy: true, Threads: true, AddressesByHeader: true}
}

// Open proves that the profile's grant is alive. The connection is made for the first mail, and kept for the next ones whatever
// profile they are of.
func (t *Transport) Open(ctx context.Context, p *mail.Profile) (transport.Session, error) {
	if _, err := t.token(ctx, p, ""); err != nil {
		return nil, err
	}
	return &session{t: t, profile: p, boundary: rand.Text(), alive: true}, nil
}

// token asks for an access token. Errors are *transport.Error, declared as error so that nil stays nil.
func (t *Transport) token(ctx context.Context, p *mail.Profile, rejected string) (string, error) {
	asking, cancel := context.WithTimeout(ctx, t.timeouts.Token)
	defer cancel()
	token, err := t.tokens.AccessToken(asking, p, rejected)
	if err == nil {
		return token, nil
	}
	if ctx.Err() != nil {
		return "", &transport.Error{Verdict: transport.NotCommitted(stepLogin), Err: err}
	}
	var verdict *transport.Error
	if errors.As(err, &verdict) {
		return "", verdict
	}
	return "", &transport.Error{Err: err, Verdict: mail.Verdict{
		Outcome: temporary, Scope: mail.ScopeProfile, Code: CodeTokenUnavailable, Step: stepLogin,
	}}
}
