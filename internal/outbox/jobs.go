package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// JobStateError refuses an action that the job's state does not allow.
type JobStateError struct {
	Action string // "append", "release", "pause", "resume", "retry"
	State  mail.JobState
	Gate   mail.Gate
}

func (e *JobStateError) Error() string {
	return fmt.Sprintf("outbox: cannot %s a send job that is %s (%s)", e.Action, e.State, e.Gate)
}

// lookedAfter says that the job is more than a single mail that goes at once.
func lookedAfter(j *store.Job, messages int) bool {
	return j.Purpose != PurposeOneOff || messages != 1 || j.Rules != (mail.JobRules{})
}

// begin releases a job, or stores it so that a person releases it: it gets its gate. ids are its messages in their order.
func (o *Outbox) begin(j *store.Job, ids []string, manual bool, now time.Time) {
	j.State, j.Version = mail.JobReleased, j.Version+1
	j.Gate, j.ExpiresAt, j.Warned = store.JobGate{}, time.Time{}, false
	if n := min(j.Rules.Canary, len(ids)); n > 0 {
		j.Canaries = append([]string(nil), ids[:n]...)
	}
	if manual {
		j.Gate.Code, j.ExpiresAt = mail.GateAwaitingRelease, now.Add(o.cfg.Unreleased)
	}
	step := j.Facts().Next(mail.JobCounts{Waiting: len(ids)}, now)
	j.Gate.Code, j.Gate.Until, j.DueAt = step.Gate, step.Until, step.Look
	if j.Gate.Code != mail.GateOpen {
		j.Gate.Since, j.ClosedSince = now, now
	}
}

// jobChange is a locked job while it is changed.
type jobChange struct {
	o      *Outbox
	ctx    context.Context
	tx     *store.Tx
	job    *store.Job
	counts mail.JobCounts
	now    time.Time

	before  store.Job
	changed bool         // a person changed something, so that it is saved whatever follows from it
	then    func() error // runs last, when the job is as it will be
	ring    store.Ring
}

// changeJob locks a job, lets change do what a person wants (or nothing), and takes the step that follows from it. It is the one place
// where a job's state, its gate and, by the gate, the messages' right to go are moved. It gives the job as it is then.
func (o *Outbox) changeJob(ctx context.Context, tenantID, jobID string, change func(*jobChange) error) (*store.Job, error) {
	leave, err := o.jobs.take(ctx, store.JobID{TenantID: tenantID, ID: jobID})
	if err != nil {
		return nil, err
	}
	defer leave()
	var c *jobChange
	err = o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		job, err := o.store.LockJob(ctx, tx, tenantID, jobID)
		if err != nil {
			return err
		}
		c = &jobChange{o: o, ctx: ctx, tx: tx, job: job, now: store.Now(), before: *job}
		if err := c.count(); err != nil {
			return err
		}
		if err := change(c); err != nil {
			return err
		}
		if err := c.step(); err != nil || c.then == nil {
			return err
		}
		return c.then()
	})
	if err != nil {
		return nil, err
	}
	if c.ring.Messages > 0 {
		o.kicks.kick(c.ring.ProfileID, c.ring.Messages)
	}
	return c.job, nil
}

func (c *jobChange) count() (err error) {
	c.counts, err = c.o.store.JobCounts(c.ctx, c.tx, c.job)
	return err
}

// step has the job's state follow from its facts, and the messages follow the gate.
func (c *jobChange) step() error {
	j := c.job
	s := j.Facts().Next(c.counts, c.now)
	j.State, j.Forgiven, j.DueAt = s.State, s.Forgiven, s.Look
	if s.CanaryOver {
		j.Canaries = nil
	}
	j.Warned = j.Warned || s.Warn
	if s.Finished && j.FinishedAt.IsZero() {
		j.FinishedAt = c.now
	}
	if !s.Finished {
		j.FinishedAt = time.Time{}
	}
	if s.Gate != j.Gate.Code {
		j.Gate = store.JobGate{Code: s.Gate}
	}
	j.Gate.Until = s.Until
	if j.Gate.Code != mail.GateOpen && j.Gate.Since.IsZero() {
		j.Gate.Since = c.now
	}
	if err := c.follow(); err != nil {
		return err
	}
	if err := c.events(); err != nil {
		return err
	}
	if c.changed || moved(&c.before, j) {
		return c.o.store.SaveJob(c.ctx, c.tx, j)
	}
	return c.o.store.LookAt(c.ctx, c.tx, j, j.DueAt)
}

// moved says that something of the job changed that is kept, besides when to look again.
func moved(a, b *store.Job) bool {
	return a.State != b.State || a.Gate != b.Gate || a.Forgiven != b.Forgiven || len(a.Canaries) != len(b.Canaries) || a.Warned != b.Warned ||
		!a.FinishedAt.Equal(b.FinishedAt) || !a.ClosedSince.Equal(b.ClosedSince)
}

// follow has the messages wait that the gate does not let through, and lets the others go.
func (c *jobChange) follow() error {
	j, st := c.job, c.o.store
	if j.State == mail.JobCanceled || j.State == mail.JobExpired {
		if c.counts.Waiting+c.counts.Paused > 0 {
			return st.CancelStragglers(c.ctx, c.tx, j, c.now)
		}
		return nil
	}
	if j.State != mail.JobReleased {
		return nil
	}
	passes, passed := j.Gate.Code.Lets(), c.before.Gate.Code.Lets()
	if passes != mail.PassAll && j.ClosedSince.IsZero() {
		j.ClosedSince = c.now
	}
	if passes == mail.PassNone {
		// Also when it was closed before: what was on its way then may have come back since.
		if passed != mail.PassNone || c.counts.Waiting > 0 {
			_, err := st.PauseMessages(c.ctx, c.tx, j, c.now)
			return err
		}
		return nil
	}
	if passes <= passed && c.counts.Paused == 0 || passes == mail.PassCanaries && passed == mail.PassCanaries {
		return nil
	}
	kept := time.Duration(0)
	if !j.ClosedSince.IsZero() {
		kept = max(c.now.Sub(j.ClosedSince), 0)
	}
	if passes == mail.PassAll {
		j.ClosedSince = time.Time{}
	}
	n, err := st.PassMessages(c.ctx, c.tx, j, passes, kept, c.now)
	if err != nil || n == 0 {
		return err
	}
	return c.wake(n)
}

// wake wakes lanes for n messages.
func (c *jobChange) wake(n int) error {
	c.ring = store.Ring{ProfileID: c.job.ProfileID, Messages: n, Priority: mail.PriorityBatch}
	if c.job.Purpose == PurposeOneOff {
		c.ring.Priority = mail.PriorityOneOff
	}
	return c.o.ringTx(c.ctx, c.tx, []store.Ring{c.ring})
}

// audit leaves a trace of a person's act.
func (c *jobChange) audit(actor, action string, detail any) error {
	trail, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	c.changed = true
	return c.o.store.AppendAudit(c.ctx, c.tx, &store.AuditEvent{
		TenantID: c.job.TenantID, Actor: actor, Action: "send_job." + action, Subject: c.job.ID, Detail: trail, CreatedAt: c.now,
	})
}

func (c *jobChange) refuse(action string) error {
	return &JobStateError{action, c.job.State, c.job.Gate.Code}
}

// errSame ends a change that has nothing to change.
var errSame = errors.New("outbox: the job is so already")

// PauseJob closes the gate of a job until somebody opens it. When it returns, nothing new of the job is handed over by any process; what is
// being handed over keeps its course. A job that waits for a person already stays as it is.
func (o *Outbox) PauseJob(ctx context.Context, tenantID, actor, jobID, note string) error {
	_, err := o.changeJob(ctx, tenantID, jobID, func(c *jobChange) error {
		j := c.job
		switch {
		case j.State != mail.JobReleased || j.Gate.Code == mail.GateAwaitingRelease:
			return c.refuse("pause")
		case j.Gate.Code.WaitsForPerson():
			return errSame
		case c.counts.Waiting+c.counts.Sending+c.counts.Paused == 0:
			return c.refuse("pause")
		}
		j.Gate = store.JobGate{Code: mail.GatePaused, Since: c.now, By: actor, Note: note}
		return c.audit(actor, "pause", map[string]string{"note": note})
	})
	return orSame(err)
}

func orSame(err error) error {
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}

// ResumeJob lets a job go on that a person, its stop rule or its canary has stopped. Failures until now do not count any more, and a canary that
// failed is over. A job that is not stopped stays as it is.
func (o *Outbox) ResumeJob(ctx context.Context, tenantID, actor, jobID, note string) error {
	_, err := o.changeJob(ctx, tenantID, jobID, func(c *jobChange) error {
		j := c.job
		switch {
		case j.State != mail.JobReleased || j.Gate.Code == mail.GateAwaitingRelease:
			return c.refuse("resume")
		case !j.Gate.Code.WaitsForPerson():
			return errSame
		}
		if j.Gate.Code == mail.GateCanaryFailed || c.counts.CanariesLost > 0 {
			j.Canaries = nil
		}
		if err := c.audit(actor, "resume", map[string]string{"note": note, "from": string(j.Gate.Code)}); err != nil {
			return err
		}
		j.Forgiven = c.counts.Failed + c.counts.Uncertain
		j.Gate = store.JobGate{}
		return nil
	})
	return orSame(err)
}

// CancelJob cancels every message of the job that was not handed over, and says how many. What is on its way keeps its course, and is not
// tried again. A draft is canceled whole.
func (o *Outbox) CancelJob(ctx context.Context, tenantID, actor, jobID string) (canceled int, err error) {
	_, err = o.changeJob(ctx, tenantID, jobID, func(c *jobChange) error {
		j := c.job
		var err error
		if j.State == mail.JobDraft {
			canceled, err = j.Total, o.store.RemoveDrafts(c.ctx, c.tx, j)
		} else {
			canceled, err = o.store.CancelJob(c.ctx, c.tx, tenantID, jobID, c.now)
		}
		if err != nil {
			return err
		}
		if j.State == mail.JobDraft || canceled > 0 || c.counts.Sending > 0 { // what is on its way may come back
			j.State, j.ExpiresAt = mail.JobCanceled, time.Time{}
			j.Gate, j.ClosedSince, j.Canaries = store.JobGate{}, time.Time{}, nil
			c.counts.Canceled += canceled
			c.counts.Waiting, c.counts.Paused = 0, 0
		}
		return c.audit(actor, "cancel", map[string]int{"canceled": canceled})
	})
	return canceled, err
}
