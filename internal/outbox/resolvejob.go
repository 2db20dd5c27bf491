package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// resolvedAtOnce is how many messages of a job are resolved in one transaction: their rows are locked no longer than it takes.
const resolvedAtOnce = 100

// JobResolution is what came of resolving the uncertain messages of a job.
type JobResolution struct {
	Resolved int
	// Skipped are the ids of those that were not sent again, because another message brings their document by now. They stay
	// uncertain.
	Skipped []string
}

// errSkip leaves a message as it is.
var errSkip = errors.New("outbox: the message is left as it is")

// ResolveJob settles every uncertain message of a job by a person's word, as Resolve does one. Messages that become uncertain
// meanwhile may be left. record makes what is stored with the end of it, nil for nothing; the error is store.ErrKeyUsed when its
// key was used meanwhile. What was resolved before an error stays so: the call can be repeated.
func (o *Outbox) ResolveJob(ctx context.Context, tenantID, actor, jobID, as, note string, record func(*JobResolution) (*store.IdempotencyRecord, error)) error {
	job, err := o.store.Job(ctx, tenantID, jobID)
	if err != nil {
		return err
	}
	detail, err := json.Marshal(map[string]string{"as": as, "note": note, "job_id": jobID})
	if err != nil {
		return err
	}
	var done JobResolution
	for after := ""; ; {
		ids, err := o.store.UncertainOf(ctx, job, after, resolvedAtOnce)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		if err := o.resolveSome(ctx, job, ids, actor, as, detail, &done); err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
	rec, err := record(&done)
	if err != nil {
		return err
	}
	detail, err = json.Marshal(map[string]any{"as": as, "note": note, "resolved": done.Resolved, "skipped": len(done.Skipped)})
	if err != nil {
		return err
	}
	return o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		conflicts, err := o.store.SaveIdempotency(ctx, tx, []*store.IdempotencyRecord{rec})
		if err != nil {
			return err
		}
		if len(conflicts) > 0 {
			return store.ErrKeyUsed
		}
		return o.store.AppendAudit(ctx, tx, &store.AuditEvent{
			TenantID: tenantID, Actor: actor, Action: "send_job.resolve", Subject: jobID, Detail: detail, CreatedAt: time.Now().UTC(),
		})
	})
}

// resolveSome resolves some messages of the job in one transaction.
func (o *Outbox) resolveSome(ctx context.Context, job *store.Job, ids []string, actor, as string, detail json.RawMessage, done *JobResolution) error {
	now := time.Now().UTC()
	var resolved int
	var skipped []string
	var ring store.Ring
	err := o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		resolved, skipped, ring = 0, nil, store.Ring{ProfileID: job.ProfileID}
		for _, id := range ids {
			err := o.store.ChangeMessage(ctx, tx, job.TenantID, id, now, func(m *store.MessageState) error {
				if m.Status != mail.StatusUncertain { // somebody was faster
					return errSkip
				}
				if as == ResolveResend {
					taken, err := o.store.DocumentsTaken(ctx, tx, job.TenantID, id, m.Recipients)
					if err != nil {
						return err
					}
					if taken {
						skipped = append(skipped, id)
						return errSkip
					}
				}
				o.resolve(m, as)
				if m.Status != mail.StatusSent {
					ring.Messages, ring.Priority = ring.Messages+1, m.Priority
				}
				return nil
			})
			if errors.Is(err, errSkip) {
				continue
			}
			if err != nil {
				return err
			}
			resolved++
			err = o.store.AppendAudit(ctx, tx, &store.AuditEvent{
				TenantID: job.TenantID, Actor: actor, Action: actionResolve, Subject: id, Detail: detail, CreatedAt: now,
			})
			if err != nil {
				return err
			}
		}
		if ring.Messages == 0 {
			return nil
		}
		return o.ringTx(ctx, tx, []store.Ring{ring})
	})
	if err != nil {
		return err
	}
	if ring.Messages > 0 {
		o.kicks.kick(ring.ProfileID, ring.Messages)
	}
	done.Resolved += resolved
	done.Skipped = append(done.Skipped, skipped...)
	return nil
}
