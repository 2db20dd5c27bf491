// Package transporttest holds every transport to the contract of package transport: Run is the suite, a driver's own test is a
// Harness. It also has the far end for SMTP, SMTPServer, a small mail server on loopback that can misbehave in every way; the
// demo and the tests of the whole program use it too.
package transporttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// Weather is what a mail meets at the far end.
type Weather string

const (
	Fine           Weather = "fine"
	RefusesOne     Weather = "refuses one"      // permanently, the recipient FarEnd.Refused and no other
	RefusesAll     Weather = "refuses all"      // permanently, every recipient or the mail itself
	DefersAll      Weather = "defers all"       // likewise for a time
	RefusesProfile Weather = "refuses profile"  // the login, the key or the sender: from Open, or from Send for the whole profile
	BreaksBefore   Weather = "breaks before"    // the line ends during the hand-over, before the far end can have the whole mail
	BreaksAfter    Weather = "breaks after"     // the line ends when the far end has taken the mail, before it said so
	NeverAnswers   Weather = "never answers"    // likewise, but the line stays; the driver's deadline must be short
	Babbles        Weather = "babbles"          // what should say yes or no to the mail is neither
	Repeats        Weather = "repeats a secret" // a refusal that quotes what was sent to log in
)

// FarEnd is a transport with a profile for it and a view of the other side.
type FarEnd struct {
	Transport transport.Transport
	Profile   *mail.Profile
	To        []string // at least two recipients to use
	Refused   string   // the one of To that RefusesOne is about
	Secrets   []string // that may appear nowhere
	Accepted  func() int
}

// Harness makes far ends for one driver.
type Harness struct {
	Weathers []Weather // what the far end can do, besides Fine
	Start    func(t *testing.T, w Weather) *FarEnd
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("sends", func(t *testing.T) { sends(t, h.Start(t, Fine)) })
	t.Run("commit fails", func(t *testing.T) { commitFails(t, h.Start(t, Fine)) })
	t.Run("canceled before", func(t *testing.T) { canceledBefore(t, h.Start(t, Fine)) })
	t.Run("canceled after commit", func(t *testing.T) { canceledAfter(t, h.Start(t, Fine)) })
	t.Run("sessions at once", func(t *testing.T) { atOnce(t, h.Start(t, Fine)) })
	t.Run("check", func(t *testing.T) { checks(t, h.Start(t, Fine), true) })
	for _, w := range h.Weathers {
		t.Run(string(w), func(t *testing.T) { expectations[w](t, h.Start(t, w)) })
	}
	if slices.Contains(h.Weathers, RefusesProfile) {
		t.Run("check finds the profile refused", func(t *testing.T) { checks(t, h.Start(t, RefusesProfile), false) })
	}
}

// expectations are what a mail must come to in each weather.
var expectations = map[Weather]func(*testing.T, *FarEnd){
	RefusesOne: func(t *testing.T, f *FarEnd) {
		v := f.attempt(t)
		f.want(t, v, mail.OutcomeSent, 1)
		if len(v.Recipients) != 1 || v.Recipients[0].Address != f.Refused || v.Recipients[0].Outcome != mail.OutcomePermanent || v.Recipients[0].Code == "" {
			t.Errorf("recipients %+v", v.Recipients)
		}
	},
	RefusesAll: func(t *testing.T, f *FarEnd) { f.want(t, f.attempt(t), mail.OutcomePermanent, 0) },
	DefersAll:  func(t *testing.T, f *FarEnd) { f.want(t, f.attempt(t), mail.OutcomeTemporary, 0) },
	RefusesProfile: func(t *testing.T, f *FarEnd) {
		v := f.attempt(t)
		f.want(t, v, mail.OutcomePermanent, 0)
		if v.Scope != mail.ScopeProfile {
			t.Errorf("scope %q", v.Scope)
		}
	},
	BreaksBefore: func(t *testing.T, f *FarEnd) { f.want(t, f.attempt(t), mail.OutcomeTemporary, 0) },
	BreaksAfter:  func(t *testing.T, f *FarEnd) { f.want(t, f.attempt(t), mail.OutcomeUncertain, 1) },
	NeverAnswers: func(t *testing.T, f *FarEnd) { f.want(t, f.attempt(t), mail.OutcomeUncertain, 1) },
	Babbles:      func(t *testing.T, f *FarEnd) { f.want(t, f.attempt(t), mail.OutcomeUncertain, f.Accepted()) },
	Repeats: func(t *testing.T, f *FarEnd) {
		if v := f.attempt(t); v.Outcome == mail.OutcomeSent {
			t.Errorf("verdict %+v", v)
		}
	},
}

// want holds a verdict against what the far end has.
func (f *FarEnd) want(t *testing.T, v mail.Verdict, outcome mail.Outcome, accepted int) {
	t.Helper()
	if v.Outcome != outcome || (v.Code == "") != (outcome == mail.OutcomeSent) || v.Step == "" {
		t.Errorf("verdict %+v, want %s", v, outcome)
	}
	if outcome == mail.OutcomeUncertain && v.Evidence == "" {
		t.Errorf("an uncertain verdict says nothing of what happened: %+v", v)
	}
	if n := f.Accepted(); n != accepted {
		t.Errorf("the far end accepted %d mails, want %d", n, accepted)
	}
}

// secretless fails when a text of the driver's has a secret in it.
func (f *FarEnd) secretless(t *testing.T, what any) {
	t.Helper()
	text := fmt.Sprintf("%+v", what)
	for _, s := range f.Secrets {
		if strings.Contains(text, s) {
			t.Errorf("a secret shows: %s", text)
		}
	}
}

// open opens a session that must open.
func (f *FarEnd) open(t *testing.T) transport.Session {
	t.Helper()
	s, err := f.Transport.Open(t.Context(), f.Profile)
	if err != nil {
		f.secretless(t, err)
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// attempt sends one mail over a new session, as the engine would, and checks what holds in any weather.
func (f *FarEnd) attempt(t *testing.T) mail.Verdict {
	t.Helper()
	s, err := f.Transport.Open(t.Context(), f.Profile)
	if err != nil {
		f.secretless(t, err)
		var oe *transport.Error
		if !errors.As(err, &oe) {
			t.Fatalf("open: not a *transport.Error: %v", err)
		}
		return oe.Verdict
	}
	commits := 0
	v := s.Send(t.Context(), Message(t, f.Profile, f.To...), func(context.Context) error {
		if commits++; f.Accepted() > 0 {
			t.Error("the far end accepted before commit")
		}
		return nil
	})
	f.secretless(t, v)
	if commits > 1 {
		t.Errorf("commit was called %d times", commits)
	}
	if f.Accepted() > 0 && commits == 0 {
		t.Error("the far end accepted without commit")
	}
	accepted := f.Accepted()
	if err := s.Close(); err != nil && s.Alive() {
		t.Errorf("close: %v", err)
	}
	if s.Alive() {
		t.Error("alive after Close")
	}
	s.Close() //nolint:errcheck // twice must do no harm
	if f.Accepted() != accepted {
		t.Error("Close made the far end accept")
	}
	return v
}

func sends(t *testing.T, f *FarEnd) {
	s := f.open(t)
	for n := range 3 {
		commits := 0
		v := s.Send(t.Context(), Message(t, f.Profile, f.To...), func(context.Context) error {
			if commits++; f.Accepted() != n {
				t.Errorf("commit of mail %d: the far end has accepted %d", n+1, f.Accepted())
			}
			return nil
		})
		f.want(t, v, mail.OutcomeSent, n+1)
		if commits != 1 || v.Evidence == "" || len(v.Recipients) != 0 || !s.Alive() {
			t.Errorf("%d commits, alive %v, verdict %+v", commits, s.Alive(), v)
		}
		f.secretless(t, v)
	}
}

func commitFails(t *testing.T, f *FarEnd) {
	s := f.open(t)
	v := s.Send(t.Context(), Message(t, f.Profile, f.To...), func(context.Context) error { return errors.New("fenced") })
	f.want(t, v, mail.OutcomeTemporary, 0)
	if v.Code != transport.CodeNotCommitted {
		t.Errorf("verdict %+v", v)
	}
	s.Close() //nolint:errcheck // what counts is what it does
	f.want(t, v, mail.OutcomeTemporary, 0)
}

func canceledBefore(t *testing.T, f *FarEnd) {
	s := f.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	m := Message(t, f.Profile, f.To...)
	cancel()
	v := s.Send(ctx, m, func(context.Context) error {
		t.Error("commit was called")
		return nil
	})
	f.want(t, v, mail.OutcomeTemporary, 0)
	if v.Code != transport.CodeNotCommitted {
		t.Errorf("verdict %+v", v)
	}
}

// canceledAfter stops while the mail is on its way: it must get its verdict.
func canceledAfter(t *testing.T, f *FarEnd) {
	s := f.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v := s.Send(ctx, Message(t, f.Profile, f.To...), func(context.Context) error {
		cancel()
		return nil
	})
	f.want(t, v, mail.OutcomeSent, 1)
}

func atOnce(t *testing.T, f *FarEnd) {
	const sessions, mails = 8, 5
	var wg sync.WaitGroup
	for range sessions {
		s := f.open(t)
		wg.Go(func() {
			for range mails {
				v := s.Send(t.Context(), Message(t, f.Profile, f.To...), func(context.Context) error { return nil })
				if v.Outcome != mail.OutcomeSent {
					t.Errorf("verdict %+v", v)
				}
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	if n := f.Accepted(); n != sessions*mails {
		t.Errorf("%d of %d mails", n, sessions*mails)
	}
}

func checks(t *testing.T, f *FarEnd, good bool) {
	steps := f.Transport.Check(t.Context(), f.Profile)
	f.secretless(t, steps)
	if len(steps) == 0 {
		t.Fatal("no steps")
	}
	for i, s := range steps {
		last := i == len(steps)-1
		if want := good || !last; s.OK != want || s.OK != (s.Code == "") || s.Name == "" {
			t.Errorf("step %+v", s)
		}
	}
	if n := f.Accepted(); n != 0 {
		t.Errorf("a check sent %d mails", n)
	}
}

// Message renders a small mail to the recipients, each time with another Message-ID.
func Message(t testing.TB, p *mail.Profile, to ...string) *mail.Rendered {
	t.Helper()
	c := &mail.Content{
		Format: 1, MessageIDHeader: "<" + strings.ToLower(rand.Text()) + "@facteur.example>", Date: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC),
		From: p.From, Language: "fr", Subject: "Facture 2026/0042 – novembre",
		Text: "Bonjour,\n\nVoici votre facture.\n.\n..\n\nBien à vous\n",
	}
	for _, a := range to {
		c.To = append(c.To, mail.Address{Address: a})
	}
	m, err := mail.Render(context.Background(), c, p, mail.Envelope{From: p.EnvelopeFrom(), To: to}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
