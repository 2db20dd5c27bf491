// Package mailbox reads the bounce mailboxes of sender profiles over IMAP, and tells the engine what their delivery reports say of mails
// that were sent.
//
// A mailbox is read every minute by whichever process comes first; its progress is kept by UIDVALIDITY and UID (RFC 3501). A report that
// was taken in is marked as read, with the keyword $Facteur where there can be keywords, and moved if the profile says so. Nothing is ever
// deleted, and what is no report, or none about the tenant's mails, is left as it was. A report that is read twice changes nothing the
// second time.
//
// The server is one that somebody typed in: it is reached through package dial, is heard for a bounded time and number of bytes, and nothing that it
// sends is believed but what match.go says. What is wrong with a mailbox is shown with the profile and keeps no mail from
// being sent.
package mailbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/bounce"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
)

// Config puts a Reader together.
type Config struct {
	Store  *store.Store
	Outbox *outbox.Outbox
	Dialer *dial.Dialer
	Logger *slog.Logger  // nil: silence
	Every  time.Duration // how often a mailbox is read; 0: a minute
}

// Reader reads mailboxes. It is safe for concurrent use.
type Reader struct {
	cfg    Config
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
}

const (
	look    = 10 * time.Second // how often a process looks for mailboxes that are due
	atOnce  = 4                // mailboxes of one process
	chunk   = 25               // mails between two notes of the progress
	chunks  = 4                // of one session: see maxReceived
	within  = 2 * time.Minute  // a session
	lease   = 5 * time.Minute  // longer than within
	longest = time.Hour        // between two tries
	// A refused login needs a person, and some servers close an account after a few.
	afterLogin = 15 * time.Minute
)

// New makes a Reader.
func New(c Config) *Reader {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Every == 0 {
		c.Every = time.Minute
	}
	return &Reader{cfg: c, log: c.Logger}
}

// Start reads mailboxes until Stop.
func (r *Reader) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		tick := time.NewTicker(look)
		defer tick.Stop()
		for {
			for {
				n, err := r.ReadDue(ctx)
				if err != nil && ctx.Err() == nil {
					r.log.Error("bounce mailboxes", "error", err)
				}
				if n == 0 || err != nil {
					break
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// Stop breaks off what is under way; another process goes on with it.
func (r *Reader) Stop() {
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

// Check proves that a profile's mailbox can be read. It is nil when it can.
func (r *Reader) Check(ctx context.Context, p *mail.Profile) *mail.ProfileTrouble {
	ctx, cancel := context.WithTimeout(ctx, 2*connectWithin)
	defer cancel()
	s, f := r.open(ctx, p)
	if f != nil {
		return f.trouble()
	}
	s.close()
	return nil
}

func (f *failure) trouble() *mail.ProfileTrouble {
	return &mail.ProfileTrouble{Code: f.Code, Reply: f.Reply, Since: store.Now()}
}

// ReadDue reads a few of the mailboxes that are due, at once, and says how many there were.
func (r *Reader) ReadDue(ctx context.Context) (int, error) {
	readings, err := r.cfg.Store.BounceReadings(ctx, rand.Text(), lease, atOnce)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	for i := range readings {
		wg.Go(func() {
			b := &readings[i]
			if err := r.readOne(ctx, b); err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
				r.log.Error("read a bounce mailbox", "profile", b.ProfileID, "error", err)
			}
		})
	}
	wg.Wait()
	return len(readings), nil
}

// readOne makes one reading and records how it ended. ErrNotFound: the reading was overtaken, by an edit or another process.
func (r *Reader) readOne(ctx context.Context, b *store.BounceReading) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	more, err := r.read(limited, b)
	ending, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancelEnd()
	if ctx.Err() != nil {
		return r.cfg.Store.KeepBounceReading(ending, b, 0)
	}
	var f *failure
	switch {
	case err == nil && more:
		return r.cfg.Store.EndBounceReading(ending, b, 0, nil)
	case err == nil, errors.Is(err, errNotYet):
		return r.cfg.Store.EndBounceReading(ending, b, r.cfg.Every, nil)
	case errors.As(err, &f):
		gap := min(r.cfg.Every<<min(b.Failures, 10), longest)
		if f.Code == CodeLoginRefused {
			gap = max(gap, afterLogin)
		}
		r.log.Warn("a bounce mailbox cannot be read", "profile", b.ProfileID, "code", f.Code, "reply", f.Reply.Text, "again", gap)
		return r.cfg.Store.EndBounceReading(ending, b, gap, f.trouble())
	}
	return err // of the database: the lease ends by itself
}

// read reads what is new, and says whether there is more than it read.
func (r *Reader) read(ctx context.Context, b *store.BounceReading) (more bool, _ error) {
	p, err := r.cfg.Store.ProfileWithSecrets(ctx, b.TenantID, b.ProfileID)
	if errors.Is(err, store.ErrSealed) {
		return false, &failure{Code: CodeSealed, err: err}
	}
	if err != nil || p.BounceMailbox == nil {
		return false, err
	}
	s, f := r.open(ctx, p)
	if f != nil {
		return false, f
	}
	defer s.close()
	if v := s.selected.UIDValidity; v != b.UIDValidity {
		b.UIDValidity, b.LastUID = v, 0
	}
	uids, err := s.after(b.LastUID, chunk*chunks)
	if err != nil {
		return false, s.failure(CodeRefused, err)
	}
	more = len(uids) == chunk*chunks
	for len(uids) > 0 {
		part := uids[:min(chunk, len(uids))]
		uids = uids[len(part):]
		likely, err := s.likely(part)
		if err != nil {
			return false, s.failure(CodeRefused, err)
		}
		for _, uid := range likely {
			body, err := s.beginning(uid)
			if err != nil {
				return false, s.failure(CodeRefused, err)
			}
			report := r.parse(body)
			if report == nil {
				continue
			}
			ours, err := r.take(ctx, b.TenantID, report)
			if errors.Is(err, errNotYet) {
				b.LastUID = uint32(uid) - 1 // it comes first the next time
				return false, errors.Join(err, r.cfg.Store.KeepBounceReading(ctx, b, lease))
			}
			if err != nil {
				return false, err
			}
			if ours {
				if err := s.mark(uid); err != nil {
					return false, s.failure(CodeRefused, err)
				}
			}
		}
		b.LastUID = uint32(part[len(part)-1])
		if err := r.cfg.Store.KeepBounceReading(ctx, b, lease); err != nil {
			return false, err
		}
	}
	return more, nil
}

// parse is nil for what is no report. A mail that the parser fails on is passed over: it must stop neither the process nor the mails behind it.
func (r *Reader) parse(body []byte) (report *bounce.Report) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic while a mail was read", "panic", p, "stack", string(debug.Stack()))
			report = nil
		}
	}()
	report, err := bounce.Parse(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	return report
}

// take gives the engine what a report says, and tells whether it was about a message of ours.
func (r *Reader) take(ctx context.Context, tenantID string, report *bounce.Report) (bool, error) {
	s, err := r.subject(ctx, tenantID, report)
	if err != nil || s == nil {
		return false, err
	}
	events, err := s.events(report, time.Now())
	if err != nil || len(events) == 0 {
		return false, err
	}
	n, err := r.cfg.Outbox.TakeEvents(ctx, "", events)
	if err != nil {
		return false, err
	}
	if n.New > 0 {
		r.log.Info("a delivery report was taken in", "message", s.message.ID, "events", n.New, "verified", s.verified)
	}
	return true, nil
}
