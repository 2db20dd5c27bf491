package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// farEnd is a transport whose far end is a function. It counts what it accepted, and how many sessions were open at once.
type farEnd struct {
	mu       sync.Mutex
	accepted map[string]int // by Message-ID
	order    []string       // subjects in the order of acceptance
	open     map[string]int // sessions by profile
	maxOpen  int
	opened   int

	openErr func(p *mail.Profile) error
	// answer decides what becomes of a mail after commit; nil: it is accepted.
	answer func(m *mail.Rendered) mail.Verdict
	// stale says that a kept connection is found dead; a fresh one never is.
	stale func() bool
	// before runs in Send before commit.
	before func(m *mail.Rendered)
	// closing runs in Close, asked in Alive.
	closing, asked func()
}

func newFarEnd() *farEnd { return &farEnd{accepted: map[string]int{}, open: map[string]int{}} }

func (f *farEnd) Info() transport.Info { return transport.Info{Name: "far"} }

func (f *farEnd) Check(context.Context, *mail.Profile) []transport.CheckStep { return nil }

func (f *farEnd) Open(_ context.Context, p *mail.Profile) (transport.Session, error) {
	if f.openErr != nil {
		if err := f.openErr(p); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
	f.open[p.ID]++
	f.maxOpen = max(f.maxOpen, f.open[p.ID])
	return &farSession{f: f, profile: p.ID}, nil
}

func (f *farEnd) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.accepted {
		n += c
	}
	return n
}

func (f *farEnd) duplicates() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.accepted {
		n += c - 1
	}
	return n
}

// sessions is how many are open now.
func (f *farEnd) sessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, open := range f.open {
		n += open
	}
	return n
}

type farSession struct {
	f       *farEnd
	profile string
	closed  bool
	kept    bool // it has taken a mail before
}

func (s *farSession) Alive() bool {
	if s.f.asked != nil {
		s.f.asked()
	}
	return true
}

func (s *farSession) Close() error {
	if s.f.closing != nil {
		s.f.closing()
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.f.open[s.profile]--
	}
	return nil
}

func (s *farSession) Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict {
	if s.kept && s.f.stale != nil && s.f.stale() {
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeStale}
	}
	s.kept = true
	if s.f.before != nil {
		s.f.before(m)
	}
	if err := commit(ctx); err != nil {
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeNotCommitted}
	}
	v := mail.Verdict{Outcome: mail.OutcomeSent, Evidence: "queued"}
	if s.f.answer != nil {
		v = s.f.answer(m)
	}
	if v.Outcome == mail.OutcomeSent {
		s.f.mu.Lock()
		s.f.accepted[m.Content.MessageIDHeader]++
		s.f.order = append(s.f.order, m.Content.Subject)
		s.f.mu.Unlock()
	}
	return v
}

// both runs a test on a migrated database of either kind.
func both(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	pgtest.BothPrepared(t, "outbox", migrate, test)
}

func migrate(url string) error { return store.Migrate(context.Background(), url, outbox.Migrate) }

// house is a store with one tenant, and engines on it.
type house struct {
	t      *testing.T
	url    string
	store  *store.Store
	tenant *store.Tenant
}

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	ctx := t.Context()
	h := &house{t: t, url: url, store: openStore(t, url)}
	h.tenant = &store.Tenant{Name: "Firm"}
	if err := h.store.CreateTenant(ctx, h.tenant, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

func openStore(t *testing.T, url string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// engine starts an engine like a process of its own: on PostgreSQL it has its own pool.
func (h *house) engine(far transport.Transport, cfg outbox.Config) *outbox.Outbox {
	h.t.Helper()
	st := h.store
	if st.Dialect() == "postgres" {
		st = openStore(h.t, h.url)
	}
	if cfg.Sweep == 0 {
		cfg.Sweep = 50 * time.Millisecond
	}
	if cfg.Linger == 0 {
		cfg.Linger = 20 * time.Millisecond
	}
	o, err := outbox.New(st, transport.NewRegistry(far), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := o.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := o.Stop(ctx); err != nil {
			h.t.Errorf("stop: %v", err)
		}
	})
	return o
}

func (h *house) profile(connections int) *mail.Profile {
	h.t.Helper()
	p := &mail.Profile{
		TenantID: h.tenant.ID, Level: mail.LevelCompany, OwnerRef: store.NewID("own"), Name: "Profile", Default: true,
		From: mail.Address{Name: "Firm", Address: "billing@firm.example"}, Transport: "far", MaxConnections: connections,
	}
	if err := h.store.CreateProfile(h.t.Context(), p, nil); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// submission is a job of n small mails.
func (h *house) submission(p *mail.Profile, purpose string, n int) *outbox.Submission {
	s := &outbox.Submission{TenantID: h.tenant.ID, Actor: "key_test", Purpose: purpose, Profile: p}
	for i := range n {
		s.Items = append(s.Items, outbox.Item{Draft: &mail.Draft{
			Subject: fmt.Sprintf("%s %d", purpose, i), Text: "Hello", To: []mail.Address{{Address: fmt.Sprintf("client%d@client.example", i)}},
		}})
	}
	return s
}

func (h *house) submit(o *outbox.Outbox, p *mail.Profile, purpose string, n int) *outbox.Receipt {
	h.t.Helper()
	r, err := o.Submit(h.t.Context(), h.submission(p, purpose, n))
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) counts(jobID string) map[mail.Status]int {
	h.t.Helper()
	j, err := h.store.Job(context.Background(), h.tenant.ID, jobID)
	if err != nil {
		h.t.Fatal(err)
	}
	return j.Counts
}

// await polls the job until its counts are as wanted.
func (h *house) await(jobID string, want map[mail.Status]int) {
	h.t.Helper()
	eventually(h.t, func() error {
		if got := h.counts(jobID); !maps.Equal(got, want) {
			return fmt.Errorf("counts %v, want %v", got, want)
		}
		return nil
	})
}

func (h *house) message(id string) *store.Message {
	h.t.Helper()
	m, err := h.store.Message(context.Background(), h.tenant.ID, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// expireLeases lets the database believe that no process has renewed its leases.
func (h *house) expireLeases() {
	h.t.Helper()
	tokens := h.tokens()
	if _, err := h.store.Renew(context.Background(), tokens, tokens, -time.Minute); err != nil {
		h.t.Fatal(err)
	}
}

// tokens lists the lease tokens in use.
func (h *house) tokens() []string {
	h.t.Helper()
	const query = `SELECT token FROM claims UNION SELECT token FROM lanes WHERE token IS NOT NULL`
	var out []string
	var token string
	if pool := h.store.Postgres(); pool != nil {
		rows, err := pool.Query(context.Background(), query)
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&token}, func() error { out = append(out, token); return nil })
		}
		if err != nil {
			h.t.Fatal(err)
		}
		return out
	}
	rows, err := h.store.SQLite().Query(query)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&token); err != nil {
			h.t.Fatal(err)
		}
		out = append(out, token)
	}
	return out
}

// eventually polls until check is content.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestBatchIsSentOnce(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(4), outbox.PurposeBatch, 300)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 300})
		if far.total() != 300 || far.duplicates() != 0 {
			t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
		}
		m := h.message(r.Messages[7].ID)
		if m.Status != mail.StatusSent || m.Attempts != 1 || m.SentAt.IsZero() || m.Recipients[0].Status != mail.RecipientSent {
			t.Errorf("%+v", m)
		}
		attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, m.ID)
		if err != nil || len(attempts) != 1 || attempts[0].Detail.Evidence != "queued" {
			t.Errorf("attempts %+v, %v", attempts, err)
		}
	})
}

// TestConnectionLimitHoldsAcrossProcesses runs two engines, each with its own pool, against one profile.
func TestConnectionLimitHoldsAcrossProcesses(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		a, b := h.engine(far, outbox.Config{Linger: time.Millisecond}), h.engine(far, outbox.Config{Linger: time.Millisecond})
		p := h.profile(3)
		var jobs []string
		for i := range 30 {
			jobs = append(jobs, h.submit([]*outbox.Outbox{a, b}[i%2], p, outbox.PurposeBatch, 20).JobID)
		}
		for _, j := range jobs {
			h.await(j, map[mail.Status]int{mail.StatusSent: 20})
		}
		if far.maxOpen > 3 {
			t.Errorf("%d connections at once, limit 3", far.maxOpen)
		}
		if far.duplicates() != 0 {
			t.Errorf("%d sent twice", far.duplicates())
		}
	})
}

// TestNoWakeUpIsLost sends single mails one after the other at the moment the lane goes to sleep, with a reaper that does
// not help: a lost wake-up leaves a mail unsent.
func TestNoWakeUpIsLost(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{Sweep: time.Hour, Linger: time.Nanosecond})
		p := h.profile(1)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 40 {
					r, err := o.Submit(context.Background(), h.submission(p, outbox.PurposeOneOff, 1))
					if err != nil {
						t.Errorf("submit %d/%d: %v", g, i, err)
						return
					}
					if i%2 == 0 { // every other time let the lane fall asleep first
						h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
					}
				}
			})
		}
		wg.Wait()
		eventually(t, func() error {
			if n := far.total(); n != 160 {
				return fmt.Errorf("%d of 160 sent", n)
			}
			return nil
		})
	})
}

func TestOneOffOvertakesBatch(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		began := make(chan struct{})
		var once sync.Once
		gate := make(chan struct{})
		far.before = func(*mail.Rendered) { once.Do(func() { close(began); <-gate }) }
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		batch := h.submit(o, p, outbox.PurposeBatch, 200)
		<-began
		single := h.submit(o, p, outbox.PurposeOneOff, 1)
		close(gate)
		h.await(single.JobID, map[mail.Status]int{mail.StatusSent: 1})
		h.await(batch.JobID, map[mail.Status]int{mail.StatusSent: 200})
		for i, subject := range far.order {
			if subject == "one_off 0" && i > 10 {
				t.Errorf("the one-off was number %d of 201", i+1)
			}
		}
	})
}

// TestBigBatchDoesNotStarveAnotherTenant has one worker, a profile with far more mail than a slice, and then a single mail of
// another profile.
func TestBigBatchDoesNotStarveAnotherProfile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{Workers: 1, Slice: 20 * time.Millisecond})
		big, small := h.profile(5), h.profile(1)
		batch := h.submit(o, big, outbox.PurposeBatch, 1500)
		eventually(t, func() error {
			if far.total() == 0 {
				return fmt.Errorf("nothing sent yet")
			}
			return nil
		})
		single := h.submit(o, small, outbox.PurposeBatch, 1)
		h.await(single.JobID, map[mail.Status]int{mail.StatusSent: 1})
		if left := h.counts(batch.JobID)[mail.StatusQueued]; left == 0 {
			t.Error("the single mail waited for the whole batch")
		}
	})
}
