package sendgrid

import (
	"context"
	"strconv"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// session is one lane's client. The connections are the driver's.
type session struct {
	*Client
	profile *mail.Profile
	alive   bool
}

// Alive implements transport.Session.
func (s *session) Alive() bool { return s.alive }

// Close implements transport.Session.
func (s *session) Close() error {
	s.alive = false
	return nil
}

// Send implements transport.Session.
func (s *session) Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict {
	if !s.alive {
		return mail.Verdict{Outcome: temporary, Scope: mail.ScopeMessage, Code: transport.CodeStale, Step: stepConnect}
	}
	if v := unfit(m); v.Code != "" {
		return v
	}
	if v := s.foreign(ctx, m); v.Code != "" {
		return v
	}
	q := compose(m, s.profile)
	var undo *recall
	if s.profile.SendGrid != nil && s.profile.SendGrid.Careful {
		var err error
		if undo, err = s.newRecall(ctx); err != nil {
			if ctx.Err() != nil {
				return transport.NotCommitted(stepConnect)
			}
			return verdictOf(err)
		}
		q.SetBatchID(undo.batchID)
		q.SetSendAt(int(undo.sendAt))
	}
	r, err := newRequest(q, m)
	if err != nil {
		return mail.Verdict{Outcome: permanent, Scope: mail.ScopeMessage, Code: CodeMessageInvalid, Step: stepMail, Reply: mail.Reply{Text: "the request cannot be made"}}
	}
	if r.size > MaxBytes {
		return mail.Verdict{Outcome: permanent, Scope: mail.ScopeMessage, Code: CodeMessageTooLarge, Step: stepMail, Reply: mail.Reply{
			Text: "SendGrid takes " + strconv.Itoa(MaxBytes) + " bytes, the request has " + strconv.FormatInt(r.size, 10),
		}}
	}
	if ctx.Err() != nil || commit(ctx) != nil {
		return transport.NotCommitted(stepConnect)
	}
	// A stop must not make uncertain what is on its way: from here on the driver's own timeouts count.
	ctx = context.WithoutCancel(ctx)
	v := classify(s.post(ctx, r))
	if v.Code == transport.CodeStale {
		s.t.http.CloseIdleConnections() // the others are as old
	}
	if v.Code == CodeSenderUnverified && s.earlierFrom(m) { // says nothing of the From that the profile has now
		v.Scope, v.Code = mail.ScopeMessage, CodeFromUnverified
	}
	if undo != nil && v.Outcome == mail.OutcomeUncertain {
		return undo.takeBack(ctx, v)
	}
	return v
}

// foreign says why a mail cannot go in this profile's name. It keeps the From that it was accepted with, and the profile may have
// another by now; SendGrid takes every sender that is verified in its account, of whatever firm.
func (s *session) foreign(ctx context.Context, m *mail.Rendered) mail.Verdict {
	if !s.earlierFrom(m) {
		return mail.Verdict{}
	}
	then := *s.profile
	then.From = m.Content.From
	if _, err := s.t.account(ctx, &then); err != nil {
		v := verdictOf(err)
		switch {
		case ctx.Err() != nil:
			return transport.NotCommitted(stepMail)
		case v.Code == CodeSenderUnverified: // of this mail, and not of the profile's next ones
			v.Scope, v.Code, v.Step = mail.ScopeMessage, CodeFromUnverified, stepMail
			v.Reply.Text = mail.ReplyText(mail.Shown(then.From.Address) + " is not verified for this firm")
		}
		return v
	}
	return mail.Verdict{}
}

// earlierFrom says that a mail's From is not the one that the profile has by now.
func (s *session) earlierFrom(m *mail.Rendered) bool {
	return mail.SenderIdentity(m.Content.From.Address) != mail.SenderIdentity(s.profile.From.Address)
}

// post makes one POST. The closing brace is what makes it whole.
func (c *Client) post(ctx context.Context, r *request) onepost.Exchange {
	return c.t.http.Post(ctx, onepost.Post{
		URL: c.key.send, Header: c.header(), Write: r.write, Tail: r.tail, Size: r.size,
		Body: c.t.timeouts.body(r.size), Answer: c.t.timeouts.Answer, Secret: c.key.secret,
	})
}
