package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Retried is what became of the failed messages of a job.
type Retried struct {
	Messages int       // that are tried again
	Skipped  []Skipped // that are not: another message brings their document by now
}

// Skipped is a failed message that stays so.
type Skipped struct {
	MessageID string
	Number    string // of the document
	By        string // the message that brings it
}

// RetryFailed has all failed messages of a job tried again, for the recipients that failed. Uncertain ones are not touched. While the job's gate is
// closed they wait with the others. record gets the result; it may be nil.
func (o *Outbox) RetryFailed(ctx context.Context, tenantID, actor, jobID string, record func(*Retried) (*store.IdempotencyRecord, error)) (*Retried, error) {
	var result *Retried
	_, err := o.changeJob(ctx, tenantID, jobID, func(c *jobChange) error {
		result = &Retried{}
		if c.job.State != mail.JobReleased || c.job.Gate.Code == mail.GateAwaitingRelease {
			return c.refuse("retry")
		}
		if err := c.retryFailed(result); err != nil {
			return err
		}
		if err := c.audit(actor, "retry_failed", map[string]int{"messages": result.Messages, "skipped": len(result.Skipped)}); err != nil {
			return err
		}
		if record == nil {
			return nil
		}
		rec, err := record(result)
		if err != nil {
			return fmt.Errorf("outbox: idempotency record: %w", err)
		}
		return o.save(c.ctx, c.tx, rec)
	})
	return result, err
}

func (c *jobChange) retryFailed(result *Retried) error {
	st, after, queued := c.o.store, "", 0
	for {
		page, err := st.FailedPage(c.ctx, c.tx, c.job, after, pageSize)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].ID
		replaced, err := st.Replaced(c.ctx, c.tx, c.job.TenantID, page)
		if err != nil {
			return err
		}
		again := page[:0]
		for _, m := range page {
			if m.Erased { // somebody wanted nothing more of it
				continue
			}
			if by, ok := replaced[m.ID]; ok {
				result.Skipped = append(result.Skipped, Skipped{m.ID, m.Document.Number, by})
				continue
			}
			m.Recipients = mail.Requeue(m.Recipients, mail.RecipientFailed)
			again = append(again, m)
			if !c.job.Keeps(m.ID) {
				queued++
			}
		}
		if err := st.Requeue(c.ctx, c.tx, c.job, again, c.now.Add(c.o.cfg.MaxWait), c.now); err != nil {
			return err
		}
		result.Messages += len(again)
	}
	if result.Messages == 0 {
		return nil
	}
	c.counts.Failed -= result.Messages
	c.counts.Waiting += queued
	c.counts.Paused += result.Messages - queued
	if queued == 0 {
		return nil
	}
	err := c.wake(queued)
	if errors.Is(err, store.ErrNotFound) { // the profile is gone, not the job
		return c.refuse("retry")
	}
	return err
}
