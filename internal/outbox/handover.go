package outbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// ahead is a mail that was rendered while the one before it was on its way.
type ahead struct {
	claim    *store.Claimed
	rendered *mail.Rendered
}

// send makes one attempt and has its outcome recorded. following is the message that will be sent after it, nil when none is
// known. handed says that the far end may have seen the mail.
func (r *laneRun) send(ctx context.Context, c, following *store.Claimed) (handed bool) {
	started := time.Now()
	r.size = 0
	var markErr error
	marked := false // stays when a session turns out stale after its commit
	v := r.attempt(ctx, c, &marked, func(ctx context.Context) error {
		if marked {
			return nil
		}
		wait := r.journal.mark(store.Mark{TenantID: c.TenantID, MessageID: c.ID, Token: c.Token})
		r.prepare(ctx, following)
		markErr = wait(ctx)
		marked = markErr == nil
		return markErr
	})
	if r.session != nil && !r.session.Alive() {
		r.closeSession()
	}
	if v.Code == transport.CodeNotCommitted {
		if !errors.Is(markErr, errFenced) {
			r.release(c)
		}
		return marked
	}
	ended := time.Now()
	s := mail.Settle(v, c.Attempts+1, c.Recipients, ended, rand.Float64()) //nolint:gosec // jitter
	if s.Hold || s.Pause {
		r.trouble(v, s)
	} else {
		r.weigh(c.ID, v)
	}
	next := time.Time{}
	if s.Status == mail.StatusDeferred {
		next = s.NotBefore
	}
	o := store.Settled{
		MessageID: c.ID, TenantID: c.TenantID, Token: c.Token, Attempts: c.Attempts, Settlement: s,
		Attempt: attemptDetail(v, next), Outcome: v.Outcome, Started: started, Ended: ended,
		Gone: v.NoSuchMailboxes(),
	}
	o.Attempt.Transport = r.profile.Transport
	if marked { // the far end may have seen it
		o.Attempt.Bytes = r.size
	}
	if s.Status == mail.StatusUncertain {
		o.Watch = r.watch(r.profile.Transport, r.profile.Version, r.profile.ResendUncertain, false, c.Recipients)
	}
	r.journal.settle(o)
	if v.Outcome != mail.OutcomeSent {
		r.log.Info("not sent", "message", c.ID, "outcome", v.Outcome.String(), "scope", v.Scope, "code", v.Code, "step", v.Step, "reply", v.Reply.Code, "status", s.Status)
	}
	return marked
}

// prepare renders the next message while the current one's mark is being written, and announces it to the session. What goes
// wrong with it shows when its turn comes.
func (r *laneRun) prepare(ctx context.Context, next *store.Claimed) {
	r.ahead = ahead{}
	session, ok := r.session.(transport.Pipeliner)
	if next == nil || !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			r.log.Debug("panic while a message was prepared", "message", next.ID, "panic", p)
		}
	}()
	if rendered, err := r.render(ctx, next); err == nil {
		r.ahead = ahead{next, rendered}
		session.Announce(rendered)
	}
}

func (r *laneRun) render(ctx context.Context, c *store.Claimed) (*mail.Rendered, error) {
	if r.ahead.claim == c {
		return r.ahead.rendered, nil
	}
	content, err := c.Content()
	if err != nil {
		return nil, err
	}
	m, err := mail.Render(ctx, content, r.profile, envelope(r.profile, c.ID, c.Recipients), r.store.Files(c.TenantID))
	if err == nil && len(r.parents) > 0 {
		m.ParentEvidence = r.parents[content.InReplyToID()]
	}
	return m, err
}

// attempt renders the message and hands it to the session, opening one when there is none. A panic is this message's trouble
// alone: it must not stop the mails behind it. Once marked, the far end may have the message.
func (r *laneRun) attempt(ctx context.Context, c *store.Claimed, marked *bool, commit func(context.Context) error) (v mail.Verdict) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic during a hand-over", "message", c.ID, "panic", p, "stack", string(debug.Stack()))
			r.closeSession()
			v = mail.Verdict{Code: CodeInternal}
			if !*marked {
				v.Outcome = mail.OutcomeTemporary
			}
		}
	}()
	rendered, err := r.render(ctx, c)
	if err != nil {
		if ctx.Err() != nil {
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeNotCommitted}
		}
		if errors.Is(err, mail.ErrErased) {
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: CodeContentErased, Step: "render"}
		}
		r.log.Error("render", "message", c.ID, "error", err)
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: CodeContentUnavailable, Step: "render"}
	}
	r.size = rendered.Size()
	driver, ok := r.transports[r.profile.Transport]
	if !ok {
		return mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeProfile, Code: CodeTransportUnavailable, Step: "connect"}
	}
	// A kept connection may turn out dead; a fresh one that dies has to be believed.
	for {
		fresh := r.session == nil
		if fresh {
			if r.session, err = driver.Open(ctx, r.profile); err != nil {
				r.session = nil
				var oe *transport.Error
				if ctx.Err() != nil {
					return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeNotCommitted}
				}
				if errors.As(err, &oe) {
					return oe.Verdict
				}
				r.log.Error("open session", "error", err)
				return mail.Verdict{Outcome: mail.OutcomeTemporary, Scope: mail.ScopeProfile, Code: "connection_failed", Step: "connect"}
			}
		}
		v := r.session.Send(ctx, rendered, commit)
		if v.Code != transport.CodeStale || fresh {
			return v
		}
		r.closeSession()
	}
}

// envelope has the sender and the recipients that are still to be reached.
func envelope(p *mail.Profile, messageID string, recipients []mail.Recipient) mail.Envelope {
	e := mail.Envelope{From: p.ReturnPath(messageID), To: make([]string, 0, len(recipients))}
	for _, rc := range recipients {
		if rc.Status == mail.RecipientPending {
			e.To = append(e.To, rc.Envelope())
		}
	}
	return e
}

// attemptDetail is the record of a verdict.
func attemptDetail(v mail.Verdict, next time.Time) store.AttemptDetail {
	return store.AttemptDetail{
		Scope: v.Scope, Code: v.Code, Step: v.Step, Reply: v.Reply, Evidence: v.Evidence, Recipients: v.Recipients,
		NextAttemptAt: next,
	}
}
