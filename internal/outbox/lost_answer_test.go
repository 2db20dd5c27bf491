package outbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// badLine is a way to PostgreSQL that loses answers: what was asked arrives and is done, and then the line is cut.
type badLine struct {
	listener net.Listener
	target   string
	lose     func(request []byte) bool
}

// newBadLine gives the URL that leads over the line.
func newBadLine(t *testing.T, database string, lose func(request []byte) bool) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &badLine{l, u.Host, lose}
	go b.serve()
	u.Host = l.Addr().String()
	return u.String()
}

func (b *badLine) serve() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", b.target)
		if err != nil {
			client.Close()
			continue
		}
		var mute atomic.Bool
		go func() { // answers
			defer client.Close()
			defer server.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				if err != nil || mute.Load() { // the answer was made, so the work is done
					return
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		go func() { // requests
			defer client.Close()
			defer server.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := client.Read(buf)
				if n > 0 {
					if b.lose(buf[:n]) {
						mute.Store(true)
					}
					if _, err := server.Write(buf[:n]); err != nil {
						return
					}
				}
				if err != nil {
					if mute.Load() {
						io.Copy(io.Discard, client) //nolint:errcheck // it is gone
					}
					return
				}
			}
		}()
	}
}

// A submission whose commit was done but not answered is accepted, alone and among others.
func TestSubmitWhoseAnswerIsLost(t *testing.T) {
	h := newHouse(t, pgtest.Prepared(t, "outbox", migrate))
	p := h.profile(1)
	var left atomic.Int32
	line := newBadLine(t, h.url, func(request []byte) bool {
		return bytes.Contains(request, []byte("commit\x00")) && left.Add(-1) >= 0
	})
	o, err := outbox.New(openStore(t, line), nil, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Stop(context.Background()) //nolint:errcheck // never started
	h.submit(o, p, outbox.PurposeBatch, 1)
	for round := range 5 {
		left.Store(1)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := o.Submit(context.Background(), h.submission(p, outbox.PurposeBatch, 1)); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		if left.Load() > 0 {
			t.Error("no answer was lost")
		}
	}
	jobs, err := h.store.ListJobs(t.Context(), h.tenant.ID, store.JobFilter{}, store.Page{Limit: 200})
	if err != nil || len(jobs.Items) != 41 {
		t.Errorf("%d jobs, %v", len(jobs.Items), err)
	}
}

// The database's answers are lost at random while two processes send: every mail is handed over at most once, and what was
// recorded is what happened.
func TestSendingOverABadLine(t *testing.T) {
	h, far := newHouse(t, pgtest.Prepared(t, "outbox", migrate)), newFarEnd()
	p := h.profile(6)
	var n, cuts atomic.Int32
	var calm atomic.Bool
	line := newBadLine(t, h.url, func([]byte) bool {
		if calm.Load() || n.Add(1)%97 != 0 {
			return false
		}
		cuts.Add(1)
		return true
	})
	var kinds atomic.Int32
	far.answer = func(*mail.Rendered) mail.Verdict {
		switch kinds.Add(1) % 10 {
		case 3:
			return mail.Verdict{Code: "smtp_final_lost"}
		case 6:
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		return mail.Verdict{Outcome: mail.OutcomeSent}
	}
	for range 2 {
		o, err := outbox.New(openStore(t, line), transport.NewRegistry(far), outbox.Config{Lease: 2 * time.Second, Sweep: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := o.Stop(ctx); err != nil {
				t.Errorf("stop: %v", err)
			}
		}()
	}
	accepting, err := outbox.New(h.store, nil, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer accepting.Stop(context.Background()) //nolint:errcheck // never started
	r := h.submit(accepting, p, outbox.PurposeBatch, 600)
	settled := func() error {
		c := h.counts(r.JobID)
		if done := c[mail.StatusSent] + c[mail.StatusUncertain] + c[mail.StatusFailed]; done != 600 {
			return fmt.Errorf("%v", c)
		}
		return nil
	}
	deadline := time.Now().Add(10 * time.Second)
	for settled() != nil && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	calm.Store(true)
	eventually(t, settled)
	if far.duplicates() != 0 {
		t.Errorf("%d sent twice", far.duplicates())
	}
	if cuts.Load() == 0 {
		t.Error("no answer was lost")
	}
	t.Logf("%d answers lost, %v", cuts.Load(), h.counts(r.JobID))
	far.mu.Lock()
	defer far.mu.Unlock()
	for _, m := range r.Messages {
		got := h.message(m.ID)
		attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, m.ID)
		if err != nil || len(attempts) != 1 || got.Attempts != 1 {
			t.Errorf("%s: %d attempts counted, %d recorded, %v", got.Status, got.Attempts, len(attempts), err)
		}
	}
	if got, want := h.counts(r.JobID)[mail.StatusSent], len(far.accepted); got > want {
		t.Errorf("%d are said to be sent, %d were", got, want)
	}
}

// The outcome of a hand-over that was declared lost is about the same attempt, and an outcome written twice counts once.
func TestLateOutcomeIsTheSameAttempt(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		reached, goOn := make(chan struct{}), newBarrier()
		defer goOn.open()
		far.answer = func(*mail.Rendered) mail.Verdict {
			close(reached)
			goOn.wait()
			return mail.Verdict{Code: "smtp_final_lost", Evidence: "the line broke"}
		}
		o := h.engine(far, outbox.Config{Sweep: time.Hour})
		r := h.submit(o, h.profile(1), outbox.PurposeOneOff, 1)
		id := r.Messages[0].ID
		<-reached
		h.expireLeases()
		if err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		goOn.open()
		eventually(t, func() error {
			if m := h.message(id); m.Code != "smtp_final_lost" || m.Status != mail.StatusUncertain {
				return fmt.Errorf("%s %s", m.Status, m.Code)
			}
			return nil
		})
		twice := store.Settled{
			MessageID: id, TenantID: h.tenant.ID, Token: value[string](h, `SELECT claim FROM messages`), Started: time.Now(), Ended: time.Now(),
			Settlement: mail.Settlement{Status: mail.StatusUncertain, Code: "smtp_final_lost", Burnt: true, Recipients: h.message(id).Recipients},
			Attempt:    store.AttemptDetail{Evidence: "the line broke"},
		}
		if _, err := h.store.Journal(t.Context(), nil, []store.Settled{twice}, nil); err != nil {
			t.Fatal(err)
		}
		attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, id)
		if m := h.message(id); err != nil || len(attempts) != 1 || m.Attempts != 1 || attempts[0].Detail.Evidence != "the line broke" {
			t.Errorf("%d attempts counted, recorded %+v, %v", m.Attempts, attempts, err)
		}
	})
}

// A mail that is tried again while the reaper gives it up keeps what the last attempt did.
func TestExpiryDoesNotUndoAnAttempt(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: "mailbox_busy"}
		}
		o := h.engine(far, outbox.Config{Sweep: time.Hour, MaxWait: time.Nanosecond})
		r := h.submit(o, h.profile(1), outbox.PurposeOneOff, 1)
		h.await(r.JobID, map[mail.Status]int{mail.StatusDeferred: 1})
		expired, err := h.store.Expired(t.Context())
		if err != nil || len(expired) != 1 {
			t.Fatalf("%v, %v", expired, err)
		}
		h.exec(`UPDATE messages SET attempts = attempts + 1`) // another attempt, deferred again
		if err := h.store.Expire(t.Context(), expired[0], mail.Expire(expired[0].Recipients), time.Now()); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusDeferred: 1})
	})
}

// A session that turns out stale after its commit is replaced like any other: the mail was not handed over.
func TestStaleAfterTheCommit(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var calls atomic.Int32
		far.answer = func(*mail.Rendered) mail.Verdict {
			if calls.Add(1) == 3 {
				return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeStale}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 6)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 6})
		if far.total() != 6 || far.duplicates() != 0 {
			t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
		}
	})
}

// What a person takes as sent ends the wait for those recipients; the others have their full time again.
func TestResolvedRestHasTime(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var later atomic.Bool
		far.answer = func(m *mail.Rendered) mail.Verdict {
			if later.Load() {
				if len(m.Envelope.To) != 1 || m.Envelope.To[0] != "busy@client.example" {
					return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "wrong_recipients"}
				}
				return mail.Verdict{Outcome: mail.OutcomeSent}
			}
			return mail.Verdict{Code: "smtp_final_lost", Recipients: []mail.RecipientVerdict{{Address: "busy@client.example", Outcome: mail.OutcomeTemporary}}}
		}
		o := h.engine(far, outbox.Config{})
		s := h.submission(h.profile(1), outbox.PurposeOneOff, 1)
		s.Items[0].Draft.To = append(s.Items[0].Draft.To, mail.Address{Address: "busy@client.example"})
		r, err := o.Submit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusUncertain: 1})
		h.exec(`UPDATE messages SET expires_at = 1`) // days go by
		later.Store(true)
		if err := o.Resolve(t.Context(), h.tenant.ID, "key_test", r.Messages[0].ID, outbox.ResolveSent, ""); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
		if m := h.message(r.Messages[0].ID); m.Code != "" {
			t.Errorf("code %q", m.Code)
		}
	})
}

// Two workers that believe to have the same mail, one of them wrongly, may ask for it in one commit: only one is told yes.
func TestOneMarkForOneMail(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		accepting, err := outbox.New(h.store, nil, outbox.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer accepting.Stop(context.Background()) //nolint:errcheck // never started
		p := h.profile(2)
		id := h.submit(accepting, p, outbox.PurposeOneOff, 1).Messages[0].ID
		claim := func(token string, lease time.Duration) store.Mark {
			claimed, err := h.store.Claim(t.Context(), p.ID, token, lease, 1)
			if err != nil || len(claimed) != 1 {
				t.Fatalf("%v, %v", claimed, err)
			}
			return store.Mark{TenantID: h.tenant.ID, MessageID: id, Token: token}
		}
		slow := claim("slow", -time.Minute)
		if n, err := h.store.ReapUnclaimed(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		quick := claim("quick", time.Minute)
		marked, err := h.store.Journal(t.Context(), []store.Mark{slow, quick}, nil, nil)
		if err != nil || marked.Marked[slow] || !marked.Marked[quick] {
			t.Errorf("slow %t, quick %t, %v", marked.Marked[slow], marked.Marked[quick], err)
		}
		outcome := func(m store.Mark) store.Settled {
			return store.Settled{MessageID: id, TenantID: h.tenant.ID, Token: m.Token, Started: time.Now(), Ended: time.Now(), Outcome: mail.OutcomeSent,
				Settlement: mail.Settlement{Status: mail.StatusSent, Burnt: true, Recipients: []mail.Recipient{{Status: mail.RecipientSent}}},
				Attempt:    store.AttemptDetail{Evidence: m.Token}}
		}
		settled, err := h.store.Journal(t.Context(), nil, []store.Settled{outcome(slow), outcome(quick)}, nil)
		if err != nil || settled.Settled[slow] || !settled.Settled[quick] {
			t.Errorf("slow %t, quick %t, %v", settled.Settled[slow], settled.Settled[quick], err)
		}
		attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, id)
		if err != nil || len(attempts) != 1 || attempts[0].Detail.Evidence != "quick" {
			t.Errorf("%+v, %v", attempts, err)
		}
	})
}
