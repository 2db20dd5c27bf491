package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// pageSize is how many messages of a draft are in memory at once.
const pageSize = 1000

// maxReleases is how many drafts this process releases at once. Each holds a page of messages, and a connection to the database while it looks up what
// they refer to over others.
const maxReleases = 2

// Preparer looks up what the messages of a draft refer to, page by page, and gathers what is wrong with them.
type Preparer interface {
	// Prepare works out a page. It gives no items when something is wrong with one of them.
	Prepare(ctx context.Context, job *store.Job, page []store.DraftMessage) (*mail.Profile, []Item, error)
	// Refuse is told what Submit would answer to the page that was prepared last: mail.Problems or *store.DuplicateError.
	Refuse(err error)
	// Err is what was wrong in all; nil: nothing.
	Err() error
}

// ErrEmpty refuses to release a draft without messages.
var ErrEmpty = errors.New("outbox: the draft has no messages")

// Release sends a draft on its way, or lets a job go that waits for it: all of it in one transaction, or nothing. A draft is composed here, page
// by page, in as much memory as one page takes. prepare is called anew when the transaction has to be run again. A job that is released
// already stays as it is. record gets the job as it is then; it may be nil.
func (o *Outbox) Release(ctx context.Context, tenantID, actor, jobID string, prepare func() Preparer, record func(*store.Job) (*store.IdempotencyRecord, error)) (*store.Job, error) {
	select {
	case o.releases <- struct{}{}:
		defer func() { <-o.releases }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.stopping:
		return nil, ErrStopping
	}
	var queued int
	job, err := o.changeJob(ctx, tenantID, jobID, func(c *jobChange) error {
		queued = 0
		j := c.job
		switch {
		case j.State == mail.JobReleased && j.Gate.Code != mail.GateAwaitingRelease:
		case j.State == mail.JobReleased:
			if err := c.audit(actor, "release", map[string]int{"messages": j.Total}); err != nil {
				return err
			}
			j.Gate, j.ExpiresAt = store.JobGate{}, time.Time{}
		case j.State == mail.JobDraft && j.Total == 0:
			return ErrEmpty
		case j.State == mail.JobDraft:
			if err := c.release(prepare()); err != nil {
				return err
			}
			queued = j.Counts[mail.StatusQueued]
			if err := c.audit(actor, "release", map[string]int{"messages": j.Total}); err != nil {
				return err
			}
		default:
			return c.refuse("release")
		}
		c.then = func() error { return c.answered(record) }
		return nil
	})
	if err == nil && queued > 0 {
		o.kicks.kick(job.ProfileID, queued)
	}
	return job, err
}

// answered counts the job as it is now, and keeps the answer.
func (c *jobChange) answered(record func(*store.Job) (*store.IdempotencyRecord, error)) error {
	if err := c.o.store.CountJob(c.ctx, c.tx, c.job); err != nil || record == nil {
		return err
	}
	rec, err := record(c.job)
	if err != nil {
		return fmt.Errorf("outbox: idempotency record: %w", err)
	}
	return c.o.save(c.ctx, c.tx, rec)
}

// release composes a draft and stores its messages. The draft's own rows go.
func (c *jobChange) release(prepare Preparer) error {
	j, st := c.job, c.o.store
	first, err := st.DraftPage(c.ctx, c.tx, j, "", max(j.Rules.Canary, 1))
	if err != nil {
		return err
	}
	ids := make([]string, j.Total) // only the canaries' are asked for
	for i := range first {
		ids[i] = first[i].ID
	}
	c.o.begin(j, ids, false, c.now)
	comp := &composition{purpose: j.Purpose, job: j, sendAt: j.SendAt, maxWait: c.o.cfg.MaxWait, now: c.now, documents: documents{}}
	released := releasing{c, prepare, comp, false, 0}
	after := ""
	for {
		page, err := st.DraftPage(c.ctx, c.tx, j, after, pageSize)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].ID
		if err := released.page(page); err != nil {
			return err
		}
	}
	if err := prepare.Err(); err != nil {
		return err
	}
	if err := st.RemoveDrafts(c.ctx, c.tx, j); err != nil {
		return err
	}
	j.Draft = nil
	// The step that follows finds the messages as they were stored.
	c.before.Gate, c.before.State = j.Gate, j.State
	j.Counts = map[mail.Status]int{mail.StatusQueued: released.queued}
	if rest := j.Total - released.queued; rest > 0 {
		j.Counts[mail.StatusPaused] = rest
	}
	if err := c.count(); err != nil {
		return err
	}
	return c.o.ringTx(c.ctx, c.tx, []store.Ring{{ProfileID: j.ProfileID, Messages: released.queued, Priority: comp.priority()}})
}

// releasing is a release under way.
type releasing struct {
	*jobChange
	prepare Preparer
	comp    *composition
	refused bool // nothing is stored any more: the rest is only looked through for what is wrong
	queued  int
}

func (r *releasing) page(page []store.DraftMessage) error {
	profile, items, err := r.prepare.Prepare(r.ctx, r.job, page)
	if err != nil {
		return err
	}
	if items == nil {
		r.refused = true
		return nil
	}
	r.comp.profile = profile
	ids := make([]string, len(page))
	for i := range page {
		ids[i] = page[i].ID
	}
	sub, err := store.NewSubmission(store.NewJob{
		ID: r.job.ID, TenantID: r.job.TenantID, ProfileID: r.job.ProfileID, Purpose: r.job.Purpose, CreatedBy: r.job.CreatedBy,
		CreatedAt: r.now, There: true,
	})
	if err != nil {
		return err
	}
	err = r.comp.compose(ids, items, make([]ReceiptMessage, len(page)), sub)
	var problems mail.Problems
	switch {
	case errors.As(err, &problems):
		r.prepare.Refuse(problems)
		r.refused = true
	case err != nil:
		return err
	}
	if r.refused {
		return nil
	}
	r.queued += sub.Queued
	subs := []*store.Submission{sub}
	if err := r.o.store.InsertSubmissions(r.ctx, r.tx, subs); err != nil {
		return err
	}
	if err := r.o.store.AuditOverrides(r.ctx, r.tx, subs); err != nil {
		return err
	}
	err = r.o.store.ClaimDocuments(r.ctx, r.tx, subs)
	var duplicates *store.DuplicateError
	if errors.As(err, &duplicates) {
		r.prepare.Refuse(duplicates)
		r.refused = true
		return nil
	}
	return err
}
