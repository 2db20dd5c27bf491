package gmail

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// session is one lane's client. The connections are the driver's.
type session struct {
	t        *Transport
	profile  *mail.Profile
	boundary string // of the upload's parts: nobody who writes a mail can know it
	alive    bool
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
	whole, refusal := prepare(m)
	if whole == nil {
		return refusal
	}
	token, err := s.t.token(ctx, s.profile, "")
	if err != nil {
		return verdictOf(err)
	}
	if ctx.Err() != nil || commit(ctx) != nil {
		return transport.NotCommitted(stepConnect)
	}
	// A stop must not make uncertain what is on its way: from here on the driver's own timeouts count.
	return s.handOver(context.WithoutCancel(ctx), whole, token)
}

// prepare makes the mail as Google wants it, or says why it cannot be sent; then there is no mail.
func prepare(m *mail.Rendered) (*mail.Rendered, mail.Verdict) {
	v := mail.Verdict{Outcome: permanent, Scope: mail.ScopeMessage, Step: stepMail}
	whole, err := m.AddressedByHeader()
	switch {
	case len(m.Envelope.To) == 0:
		v.Code, v.Reply.Text = CodeEnvelopeInvalid, "the envelope has no recipient"
	case errors.Is(err, mail.ErrAddresseeSettled):
		v.Code, v.Reply.Text = CodePartlySent, "the header names a recipient who was settled by an earlier attempt"
	case err != nil:
		v.Code, v.Reply.Text = CodeEnvelopeInvalid, "a recipient cannot be named in the header"
	case len(m.Envelope.To) > MaxRecipients:
		v.Code = CodeTooManyRecipients
		v.Reply.Text = "Gmail takes " + strconv.Itoa(MaxRecipients) + " recipients, the mail has " + strconv.Itoa(len(m.Envelope.To))
	case whole.Size() > MaxBytes:
		v.Code = CodeMessageTooLarge
		v.Reply.Text = "Gmail takes " + strconv.Itoa(MaxBytes) + " bytes, the mail has " + strconv.FormatInt(whole.Size(), 10)
	default:
		return whole, mail.Verdict{}
	}
	return nil, v
}

// handOver posts the mail. It posts it again only after an answer that means that nothing was accepted, and for each of the two
// reasons once.
func (s *session) handOver(ctx context.Context, m *mail.Rendered, token string) mail.Verdict {
	_, thread, _ := ParseEvidence(m.ParentEvidence)
	renewed := false
	for {
		x := s.t.post(ctx, upload{mail: m, token: token, thread: thread, boundary: s.boundary})
		v := classify(x)
		switch {
		case v.Code == CodeReauthorizationRequired && !renewed:
			renewed = true
			var err error
			if token, err = s.t.token(ctx, s.profile, token); err != nil {
				return verdictOf(err)
			}
		case thread != "" && (x.Status == http.StatusNotFound || x.Status == http.StatusBadRequest):
			// The thread was deleted, or belongs to an account that the profile was connected to before. The mail still
			// has its References.
			thread = ""
		default:
			if v.Code == transport.CodeStale {
				// The other idle connections are as old.
				s.t.http.CloseIdleConnections()
			}
			return v
		}
	}
}

func verdictOf(err error) mail.Verdict {
	var e *transport.Error
	errors.As(err, &e) // token gives no others
	return e.Verdict
}
