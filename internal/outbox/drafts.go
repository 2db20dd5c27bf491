package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// MaxMessages is the most messages of a job.
const MaxMessages = 50_000

// ErrTooMany refuses messages above MaxMessages.
var ErrTooMany = errors.New("outbox: too many messages for one job")

// Draft is a job that is prepared.
type Draft struct {
	TenantID, Actor string
	Purpose         string
	ProfileID       string
	Job             store.JobDetail
	Rules           mail.JobRules
	SendAt          time.Time // zero: at once, when it is released
	Source          []byte    // JSON of what is asked for all messages
	Messages        []store.DraftMessage
	// Record is as for a Submission. It gets the job as it is stored.
	Record func(*store.Job) (*store.IdempotencyRecord, error)
}

// CreateDraft stores a draft with its first messages. Nothing of them is composed. The error is store.ErrNotFound when the profile is gone,
// store.ErrKeyUsed when the idempotency key was taken.
func (o *Outbox) CreateDraft(ctx context.Context, d *Draft) (*store.Job, error) {
	now := store.Now()
	j := &store.Job{
		ID: store.NewID("job"), TenantID: d.TenantID, ProfileID: d.ProfileID, Purpose: d.Purpose, Total: len(d.Messages), Detail: d.Job,
		SendAt: d.SendAt, CreatedBy: d.Actor, CreatedAt: now, State: mail.JobDraft, Rules: d.Rules, Version: 1, Draft: d.Source,
		ExpiresAt: now.Add(o.cfg.Unreleased), Counts: map[mail.Status]int{mail.StatusDraft: len(d.Messages)},
	}
	j.DueAt = j.Facts().Next(mail.JobCounts{}, now).Look
	var record *store.IdempotencyRecord
	if d.Record != nil {
		var err error
		if record, err = d.Record(j); err != nil {
			return nil, fmt.Errorf("outbox: idempotency record: %w", err)
		}
	}
	err := o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := o.save(ctx, tx, record); err != nil {
			return err
		}
		if err := o.store.InsertDraft(ctx, tx, j); err != nil {
			return err
		}
		return o.store.AppendDrafts(ctx, tx, j, d.Messages)
	})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// save writes an idempotency record, nil for none. It is store.ErrKeyUsed when the key is taken.
func (o *Outbox) save(ctx context.Context, tx *store.Tx, record *store.IdempotencyRecord) error {
	if record == nil {
		return nil
	}
	taken, err := o.store.SaveIdempotency(ctx, tx, []*store.IdempotencyRecord{record})
	if err == nil && len(taken) > 0 {
		err = store.ErrKeyUsed
	}
	return err
}

// changeDraft locks a draft and changes its messages. It is kept for its whole time again.
func (o *Outbox) changeDraft(ctx context.Context, tenantID, jobID string, change func(*jobChange) error) (*store.Job, error) {
	return o.changeJob(ctx, tenantID, jobID, func(c *jobChange) error {
		if c.job.State != mail.JobDraft {
			return c.refuse("change")
		}
		if err := change(c); err != nil {
			return err
		}
		c.job.ExpiresAt, c.job.Warned, c.changed = c.now.Add(o.cfg.Unreleased), false, true
		c.job.Counts = map[mail.Status]int{mail.StatusDraft: c.job.Total}
		return nil
	})
}

// AppendDraft adds messages to a draft. record is as Draft.Record, and may be nil.
func (o *Outbox) AppendDraft(ctx context.Context, tenantID, jobID string, messages []store.DraftMessage, record func(*store.Job) (*store.IdempotencyRecord, error)) (*store.Job, error) {
	return o.changeDraft(ctx, tenantID, jobID, func(c *jobChange) error {
		if c.job.Total+len(messages) > MaxMessages {
			return ErrTooMany
		}
		c.job.Total += len(messages)
		if record != nil {
			rec, err := record(c.job)
			if err != nil {
				return fmt.Errorf("outbox: idempotency record: %w", err)
			}
			if err := o.save(c.ctx, c.tx, rec); err != nil {
				return err
			}
		}
		return o.store.AppendDrafts(c.ctx, c.tx, c.job, messages)
	})
}

// ReplaceDraft changes a message of a draft. It is store.ErrNotFound when it has none with this id.
func (o *Outbox) ReplaceDraft(ctx context.Context, tenantID, jobID string, m store.DraftMessage) error {
	_, err := o.changeDraft(ctx, tenantID, jobID, func(c *jobChange) error {
		return o.store.ReplaceDraft(c.ctx, c.tx, c.job, m)
	})
	return err
}

// RemoveDraft takes a message out of a draft.
func (o *Outbox) RemoveDraft(ctx context.Context, tenantID, jobID, messageID string) error {
	_, err := o.changeDraft(ctx, tenantID, jobID, func(c *jobChange) error {
		c.job.Total--
		return o.store.RemoveDraft(c.ctx, c.tx, c.job, messageID)
	})
	return err
}
