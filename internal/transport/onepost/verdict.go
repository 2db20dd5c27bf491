package onepost

import (
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// Codes are a driver's names for how a call can break.
type Codes struct {
	TimedOut, TLSFailed, ConnectionFailed, ConnectionLost string // before the mail was whole
	OutcomeUnknown                                        string // after
	ContentUnavailable                                    string // the mail itself could not be read
}

// NoAnswer is the verdict on a call that broke. Before there is a connection it would break for any mail of the profile; later it
// may be this mail that the other side cannot bear.
func (x Exchange) NoAnswer(c Codes) mail.Verdict {
	v := mail.Verdict{Outcome: mail.OutcomeTemporary, Scope: mail.ScopeMessage, Code: c.ConnectionLost, Step: "body"}
	switch {
	case IsTimeout(x.Err):
		v.Code, v.Reply.Text = c.TimedOut, mail.LineTimeout
	case !x.Connected && IsTLS(x.Err):
		v.Code, v.Reply.Text = c.TLSFailed, mail.ReplyText(x.Err.Error())
	case !x.Connected:
		v.Code, v.Reply.Text = c.ConnectionFailed, "no connection"
	default:
		v.Reply.Text = mail.LineBroke
	}
	switch {
	case x.Whole:
		v.Outcome, v.Code, v.Step = mail.OutcomeUncertain, c.OutcomeUnknown, "final"
		v.Evidence = "after the whole mail: " + v.Reply.Text
	case x.Unreadable != nil:
		v.Code, v.Reply.Text = c.ContentUnavailable, "an attachment could not be read"
	case !x.Connected:
		v.Scope, v.Step = mail.ScopeProfile, "connect"
	case x.Reused && v.Code == c.ConnectionLost:
		v.Code = transport.CodeStale
	}
	return v
}
