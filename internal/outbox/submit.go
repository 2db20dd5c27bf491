package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Purposes of a send job.
const (
	PurposeOneOff = "one_off"
	PurposeBatch  = "batch"
)

// Submission is one act of sending, with every reference already looked up.
type Submission struct {
	TenantID, Actor string // Actor: the API key that asks
	Purpose         string
	Profile         *mail.Profile
	Job             store.JobDetail
	Rules           mail.JobRules
	SendAt          time.Time // zero: now
	Items           []Item
	// Record makes the idempotency record from the receipt, to be stored in the same commit; nil when the caller gave no key.
	Record func(*Receipt) (*store.IdempotencyRecord, error)
}

// Item is one message of a submission.
type Item struct {
	Draft    *mail.Draft
	Template *mail.Template // nil: the draft's own content
	Detail   store.MessageDetail
	SendAt   time.Time // zero: the submission's
	// AllowDuplicate is why the document may go to somebody who has it; empty: it may not.
	AllowDuplicate string
}

// Receipt says what was accepted.
type Receipt struct {
	JobID     string
	CreatedAt time.Time
	Gate      mail.Gate // why not all of it may go
	Messages  []ReceiptMessage
}

// ReceiptMessage is one accepted message.
type ReceiptMessage struct {
	ID              string
	Language        string // the translation used
	TemplateVersion int64  // 0: own content
}

// Submit composes every message and stores the job, all of it or nothing. When it returns nil the job is on disk.
//
// The error is mail.Problems, with pointers that begin with the item's index ("/0/to/1/address"), when the input is wrong;
// *store.DuplicateError when somebody has one of the documents already; store.ErrKeyUsed when the idempotency key was taken meanwhile; anything else is a fault of ours, and nothing was stored
// as far as the database could still be asked.
func (o *Outbox) Submit(ctx context.Context, s *Submission) (*Receipt, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	receipt := &Receipt{JobID: store.NewID("job"), CreatedAt: now, Messages: make([]ReceiptMessage, len(s.Items))}
	ids := make([]string, len(s.Items))
	for i := range ids {
		ids[i] = store.NewID("msg")
	}
	job := &store.Job{ID: receipt.JobID, TenantID: s.TenantID, Total: len(ids), Purpose: s.Purpose, Rules: s.Rules}
	if lookedAfter(job, len(ids)) {
		o.begin(job, ids, s.Rules.Manual, now)
	} else {
		job = nil
	}
	c := &composition{profile: s.Profile, purpose: s.Purpose, job: job, sendAt: s.SendAt, maxWait: o.cfg.MaxWait, now: now, documents: documents{}}
	sub, err := store.NewSubmission(store.NewJob{
		ID: receipt.JobID, TenantID: s.TenantID, ProfileID: s.Profile.ID, Purpose: s.Purpose,
		Detail: s.Job, SendAt: s.SendAt, CreatedBy: s.Actor, CreatedAt: now, Gated: job,
	})
	if err != nil {
		return nil, err
	}
	if err := c.compose(ids, s.Items, receipt.Messages, sub); err != nil {
		return nil, err
	}
	if job != nil {
		receipt.Gate = job.Gate.Code
	}
	if s.Record != nil {
		if sub.Record, err = s.Record(receipt); err != nil {
			return nil, fmt.Errorf("outbox: idempotency record: %w", err)
		}
	}
	if err := o.commit(ctx, sub); err != nil {
		return nil, err
	}
	return receipt, nil
}

// pending is a submission that waits for its commit.
type pending struct {
	ctx  context.Context
	sub  *store.Submission
	done chan error
}

// ErrStopping refuses a submission because this process stops. Nothing was stored; another process, or the next start, takes it.
var ErrStopping = errors.New("outbox: stopping")

// commit hands the submission to the committer and waits. A caller that goes away does not undo it: the answer is what
// counts, and an idempotency key finds it again.
func (o *Outbox) commit(ctx context.Context, sub *store.Submission) error {
	p := &pending{ctx: ctx, sub: sub, done: make(chan error, 1)}
	select {
	case o.intake <- p:
	case <-o.background.Done():
		return ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-p.done:
		return err
	case <-o.accepted:
		select {
		case err := <-p.done:
			return err
		default:
			return ErrStopping
		}
	}
}

// maxGroup bounds the messages of one commit, so that a single mail does not wait for a pile of batches.
const maxGroup = 2000

// accept commits submissions; those that arrive while a commit is under way share the next one.
func (o *Outbox) accept() {
	defer close(o.accepted)
	for {
		var group []*pending
		select {
		case p := <-o.intake:
			group = append(group, p)
		case <-o.background.Done():
			return
		}
		n := group[0].sub.Messages
	gather:
		for n < maxGroup {
			select {
			case p := <-o.intake:
				group = append(group, p)
				n += p.sub.Messages
			default:
				break gather
			}
		}
		o.commitGroup(group)
	}
}

func (o *Outbox) commitGroup(group []*pending) {
	alive := group[:0]
	for _, p := range group {
		if err := p.ctx.Err(); err != nil { // nobody waits for it any more, and nothing was written yet
			p.done <- err
			continue
		}
		alive = append(alive, p)
	}
	if len(alive) == 0 {
		return
	}
	conflicts, err := o.writeGroup(alive)
	if err != nil && len(alive) > 1 && !errors.Is(err, context.DeadlineExceeded) {
		// One bad submission must not fail its neighbours: write them one by one.
		for _, p := range alive {
			o.commitGroup([]*pending{p})
		}
		return
	}
	for i, p := range alive {
		switch {
		case err != nil && !o.stored(p.sub):
			p.done <- err
		case conflicts[i]:
			p.done <- store.ErrKeyUsed
		default:
			p.done <- nil
			o.kicks.kick(p.sub.ProfileID, p.sub.Queued)
		}
	}
}

// stored says whether a submission is in the database although its commit failed: the answer may have been lost.
func (o *Outbox) stored(sub *store.Submission) bool {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	_, err := o.store.Job(ctx, sub.TenantID, sub.JobID())
	return err == nil
}

// commitLimit is how long a commit of submissions may take, so that a database that hangs is noticed.
const commitLimit = time.Minute

// writeGroup writes the submissions in one transaction and says which were left out because their key was taken.
func (o *Outbox) writeGroup(group []*pending) (conflicts map[int]bool, err error) {
	// A stop does not break off a commit at once: its outcome would be unknown.
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	defer context.AfterFunc(o.background, func() { time.AfterFunc(stopGrace, cancel) })()
	err = o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		conflicts = map[int]bool{}
		var records []*store.IdempotencyRecord
		var owner []int
		for i, p := range group {
			if p.sub.Record != nil {
				records, owner = append(records, p.sub.Record), append(owner, i)
			}
		}
		if len(records) > 0 {
			taken, err := o.store.SaveIdempotency(ctx, tx, records)
			if err != nil {
				return err
			}
			for _, i := range taken {
				conflicts[owner[i]] = true
			}
		}
		subs := make([]*store.Submission, 0, len(group))
		for i, p := range group {
			if !conflicts[i] {
				subs = append(subs, p.sub)
			}
		}
		if err := o.store.InsertSubmissions(ctx, tx, subs); err != nil {
			return err
		}
		if err := o.store.ClaimDocuments(ctx, tx, subs); err != nil {
			return err
		}
		if err := o.store.AuditOverrides(ctx, tx, subs); err != nil {
			return err
		}
		wakes, err := o.store.RingLanes(ctx, tx, ringsFor(subs))
		if err != nil {
			return err
		}
		return o.queue.wake(ctx, tx, wakes)
	})
	return conflicts, err
}

// ringsFor sums the submissions by profile and priority, in the order of profiles, so that two processes that ring the same
// profiles lock them in the same order.
func ringsFor(subs []*store.Submission) []store.Ring {
	rings := make([]store.Ring, 0, len(subs))
	for _, s := range subs {
		rings = append(rings, store.Ring{ProfileID: s.ProfileID, Messages: s.Queued, Priority: s.Priority})
	}
	return mergeRings(rings)
}
