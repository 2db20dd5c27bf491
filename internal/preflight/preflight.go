// Package preflight looks at a batch before it is sent: it finds all that is wrong with any of its mails, and says when the last
// one will have gone.
//
// It is given the mails page by page, composed and with what composing found wrong, and adds what nobody asks when a batch is
// accepted: whether the profile works, whether the recipients' domains take mail, whether somebody has the document already,
// whether the files are what they are said to be and whose they are. It stores nothing, sends nothing and decides nothing:
// what it says is true at the moment it looks.
//
// Memory depends on the number of mails only by their documents' and files' hashes: problems are counted in full and kept up to
// a bound.
package preflight

import (
	"context"
	"io"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// Transport is how the profile's mails leave.
type Transport interface {
	Info() transport.Info
	Check(ctx context.Context, p *mail.Profile) []transport.CheckStep
}

// Store is what is known already.
type Store interface {
	DocumentsBefore(ctx context.Context, tenantID string, uses []store.DocumentUse) ([]store.Duplicate, error)
	FileEnds(ctx context.Context, tenantID string, sha256s []string, n int) (map[string]store.FileEnds, error)
	OpenAttachment(ctx context.Context, tenantID, sha256 string) (io.ReadCloser, error)
	Suppressed(ctx context.Context, tenantID string, addresses []string) (map[string]store.Suppression, error)
	Backlog(ctx context.Context, tenantID, profileID string, due time.Time) (*store.Backlog, error)
}

// Config is what a Check asks.
type Config struct {
	TenantID  string
	Profile   *mail.Profile // nil: there is none, and nothing of it is looked at
	Transport Transport     // nil: the profile's is not among those of this process
	Store     Store
	Resolver  Resolver // nil: domains are not looked up
	Now       time.Time
	SendAt    time.Time    // of the whole batch; zero: at once
	Window    *mail.Window // of the whole batch; nil: it goes at any time
	// ProfileTime is how long the profile's own check may take; 0: 15 s.
	ProfileTime time.Duration
	// LookupTime is how long the look-ups of domains may take together; 0: 10 s.
	LookupTime time.Duration
}

// Ref names a message to whoever asked.
type Ref struct {
	Index      int
	ID         string // empty: it has none yet
	ExternalID string
	Document   string // its number
	Recipient  string // the first one
}

// Message is one mail of the batch.
type Message struct {
	Ref
	At string // JSON pointer of the mail in what was asked
	// Draft has every file's SHA-256 and size, those that came with the request included.
	Draft *mail.Draft
	// Content is nil when the mail does not compose; Faults say why.
	Content *mail.Content
	Faults  mail.Problems
	Company string // whose documents it brings
	SendAt  time.Time
	// Template that it is made from; nil: it brings its own texts.
	Template *mail.Template
	// AllowDuplicate: its document may go to somebody who has it.
	AllowDuplicate bool
	// Own is how many of the draft's attachments, from the first on, are the mail's own; Common how many after those go with every
	// mail of the batch. The rest are the profile's.
	Own, Common int
}

// pointer gives the place of the i-th attachment; all is true when it goes with every mail.
func (m *Message) pointer(i int) (at string, all bool) {
	switch {
	case i < m.Own:
		return m.At + "/attachments/" + itoa(i), false
	case i < m.Own+m.Common:
		return "/attachments/" + itoa(i-m.Own), true
	}
	return "/sender_profile_id", true
}

// Check is the look at one batch. Its methods are called one after the other.
type Check struct {
	cfg       Config
	problems  collector
	messages  int
	lastDue   time.Time
	documents map[mail.DocumentKey]int // and the index of the message that brings it
	files     files
	large     []measured
	domains   *domains
	profile   chan readiness
}

// Result is what was found.
type Result struct {
	Messages int
	Counts   []Count // of each code and severity that there is, in the order of severity and code
	Problems []Problem
	Omitted  int       // problems that are counted and not listed
	Forecast *Forecast // nil without a profile
}

// New begins a check, and in the background that of the profile, which ends with ctx.
func New(ctx context.Context, cfg Config) *Check {
	c := &Check{cfg: cfg, documents: map[mail.DocumentKey]int{}, domains: newDomains(cfg.Resolver, cfg.LookupTime), profile: make(chan readiness, 1)}
	go func() { c.profile <- cfg.checkProfile(ctx) }()
	return c
}

// Fault adds what is wrong with the batch itself. What was said before is not said again.
func (c *Check) Fault(p mail.Problem) { c.problems.once(p) }

// Page looks at the next messages. inline are the files that are not stored, by their SHA-256.
func (c *Check) Page(ctx context.Context, messages []Message, inline map[string][]byte) error {
	c.domains.begin(ctx, messages)
	for i := range messages {
		m := &messages[i]
		c.messages++
		if m.SendAt.After(c.lastDue) {
			c.lastDue = m.SendAt
		}
		for _, p := range m.Faults {
			c.problems.fault(m, p)
		}
		c.checkTokens(m)
		c.checkLanguage(m)
	}
	for _, step := range []func(context.Context, []Message) error{c.checkDocuments, c.checkSuppressed, c.measure} {
		if err := step(ctx, messages); err != nil {
			return err
		}
	}
	if err := c.checkFiles(ctx, messages, inline); err != nil {
		return err
	}
	return c.checkDomains(ctx, messages)
}

// Finish ends the check when there are no more messages.
func (c *Check) Finish(ctx context.Context) (*Result, error) {
	c.sharedFiles()
	c.uncheckedDomains()
	r := &Result{Messages: c.messages}
	if c.cfg.Profile != nil {
		if err := c.finishProfile(ctx); err != nil {
			return nil, err
		}
		var err error
		if r.Forecast, err = c.forecast(ctx); err != nil {
			return nil, err
		}
	}
	c.problems.into(r)
	return r, nil
}
