// Package transport is the border between the delivery engine and the ways a mail can leave: SMTP, the Gmail API, the sandbox,
// and SendGrid. This file is the contract; transporttest holds every driver to it.
//
// What a driver promises:
//   - Send makes one attempt. A driver never retries a message, never stores anything, never logs a secret.
//   - Everything that can fail safely happens before commit is called, and nothing that the far end could take for the
//     whole message is written before commit has returned nil.
//   - A verdict is classified where the reply is read, never from an error's text. What a driver cannot classify is the
//     zero Verdict: uncertain.
//   - sent means that the far end itself said so for this message.
//
// What the engine promises: a Session is used by one goroutine; a Session whose Alive is false is closed and not used again;
// contexts carry the deadline of a stop, not of a message (a driver sets its own deadlines per step).
package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/winprest/facteur/internal/mail"
)

// Transport is one driver. It is safe for concurrent use.
type Transport interface {
	// Info states the driver's facts. It is constant.
	Info() Info
	// Check proves that a profile's settings work, as far as that goes without sending anything. It stops at the first
	// step that fails; the profile is ready when every step is OK.
	Check(ctx context.Context, p *mail.Profile) []CheckStep
	// Open connects and logs in. On failure the error is a *Error that holds the verdict, nearly always of profile scope.
	Open(ctx context.Context, p *mail.Profile) (Session, error)
}

// Session is one lane's connection or client, kept across messages.
type Session interface {
	// Send makes one attempt for the recipients of m.Envelope. It calls commit at most once, and exactly once before the
	// far end could accept. If commit returns an error nothing is handed over and the verdict is temporary with code
	// CodeNotCommitted. A verdict with code CodeStale says that the kept connection was found dead before anything of this
	// message was accepted by the far end: the engine opens a new session and sends again within the same attempt.
	Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict
	// Alive says whether the session can take another message.
	Alive() bool
	// Close ends the session politely when it is idle. What happens then changes no verdict.
	Close() error
}

// Pipeliner is a Session that can begin the next message while it waits for the far end's word on the last one.
type Pipeliner interface {
	Session
	// Announce names the message that will be given to Send next, with the same Rendered. It is called during a Send, no
	// later than when commit returns. The session may tell the far end the next message's envelope before it has the verdict
	// on the current one, and nothing more; what came of it shows when Send is called with it. When Close, or a Send of
	// another message, comes instead, nothing of the announced one was handed over.
	Announce(next *mail.Rendered)
}

// Finder is a driver that can look at the far end for a mail whose outcome is uncertain.
type Finder interface {
	// Find looks for the mail with this Message-ID (with angle brackets) among those that the profile has sent. A mail that is
	// found was accepted, and evidence is what its verdict would have had. One that is not found may still be on its way into
	// the provider's index: only the answer after a while is worth something. The error is ErrCannotFind when the profile did
	// not opt in, else a *Error with a verdict on the search, not on the mail.
	Find(ctx context.Context, p *mail.Profile, messageID string) (evidence string, found bool, err error)
}

// ErrCannotFind says that this profile's mails cannot be looked up.
var ErrCannotFind = errors.New("transport: the profile does not allow to look up its mails")

// Codes of verdicts that the engine itself acts on.
const (
	CodeStale        = "connection_stale"
	CodeNotCommitted = "not_committed"
)

// NotCommitted is the verdict when nothing was handed over because we are to stop, or could not note that we begin.
func NotCommitted(step string) mail.Verdict {
	return mail.Verdict{Outcome: mail.OutcomeTemporary, Scope: mail.ScopeMessage, Code: CodeNotCommitted, Step: step}
}

// Info is the plain facts of a driver.
type Info struct {
	Name          string
	MaxBytes      int64 // largest encoded message the driver can ever take; 0: only the far end knows
	MaxRecipients int   // per message; 0: no limit of its own
	KeepsSentCopy bool  // the provider files a copy where the user sees it
	// AddressesByHeader: the far end sends to everybody whom the mail's header names, whatever the envelope says.
	AddressesByHeader bool
	Threads           bool // the provider files an answer with what it answers, by mail.Rendered.ParentEvidence
}

// CheckStep is one thing that Check tried.
type CheckStep struct {
	Name  string     `json:"name"` // "connect", "tls", "login", "sender"
	OK    bool       `json:"ok"`
	Code  string     `json:"code,omitempty"` // a verdict's code when not OK
	Reply mail.Reply `json:"reply"`
	// MaxBytes is the largest encoded message that the far end has just said it takes (RFC 1870); 0: it did not say.
	MaxBytes int64 `json:"max_bytes,omitempty"`
}

// Error is a failure to open a session.
type Error struct {
	Verdict mail.Verdict
	Err     error // the cause, for the log
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s at %s: %v", e.Verdict.Code, e.Verdict.Step, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Registry is the set of drivers a process has, built in main.
type Registry map[string]Transport

// NewRegistry indexes drivers by their Info().Name.
func NewRegistry(drivers ...Transport) Registry {
	r := make(Registry, len(drivers))
	for _, d := range drivers {
		r[d.Info().Name] = d
	}
	return r
}

// Names lists the drivers in order.
func (r Registry) Names() []string {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
