package sendgrid_test

import (
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// A careful mail whose hand-over ends in doubt is taken back when SendGrid confirms that in time, and stays in doubt otherwise.
func TestCareful(t *testing.T) {
	accepted := tt.SendGridAction{Accept: true, Drop: true}
	for name, test := range map[string]struct {
		actions map[string]tt.SendGridAction
		ahead   time.Duration
		outcome mail.Outcome
		gone    bool // the mail that SendGrid has is never sent
	}{
		"sent":                       {nil, 0, mail.OutcomeSent, false},
		"dropped, canceled":          {map[string]tt.SendGridAction{"send": accepted}, 0, mail.OutcomeTemporary, true},
		"500, canceled":              {map[string]tt.SendGridAction{"send": {Accept: true, Status: 500}}, 0, mail.OutcomeTemporary, true},
		"the cancellation's answer":  {map[string]tt.SendGridAction{"send": accepted, "scheduled POST": {Accept: true, Drop: true}}, 0, mail.OutcomeTemporary, true},
		"cancellation refused":       {map[string]tt.SendGridAction{"send": accepted, "scheduled POST": {Status: 400, Message: "maximum number of pending batches reached"}}, 0, mail.OutcomeUncertain, false},
		"cancellation unheard of":    {map[string]tt.SendGridAction{"send": accepted, "scheduled POST": {Drop: true}}, 0, mail.OutcomeUncertain, false},
		"canceled, never confirmed":  {map[string]tt.SendGridAction{"send": accepted, "scheduled POST": {Accept: true, Drop: true}, "scheduled GET": {Drop: true}}, 0, mail.OutcomeUncertain, true},
		"confirmed with other words": {map[string]tt.SendGridAction{"send": accepted, "scheduled POST": {Status: 201, Body: `{"batch_id":"x","status":"cancel"}`}}, 0, mail.OutcomeUncertain, false},
		"too late":                   {map[string]tt.SendGridAction{"send": accepted}, 11 * time.Minute, mail.OutcomeUncertain, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true, Hook: func(step tt.SendGridStep) tt.SendGridAction {
				if step.Endpoint == "scheduled" {
					return test.actions["scheduled "+step.Method]
				}
				return test.actions[step.Endpoint]
			}})
			tr := newTransport(t, s, func(c *sendgrid.Config) { c.Ahead = test.ahead })
			m := tt.Message(t, careful(), "a@zoe.example")
			v := attempt(t, tr, s, careful(), m)
			if v.Outcome != test.outcome || s.Calls("upload") != 1 || v.Outcome == mail.OutcomeTemporary && v.Code != sendgrid.CodeTakenBack {
				t.Fatalf("%d POSTs, %+v", s.Calls("upload"), v)
			}
			kept := s.Mails()[0]
			if kept.Canceled != test.gone || kept.BatchID == "" || time.Until(time.Unix(kept.SendAt, 0)) < 9*time.Minute {
				t.Errorf("%+v", kept)
			}
			if v.Outcome != mail.OutcomeTemporary {
				return
			}
			s.SetHook(nil)
			if v := attempt(t, tr, s, careful(), m); v.Outcome != mail.OutcomeSent || s.Duplicates() != 0 || s.ByMessageID()[m.Content.MessageIDHeader] != 1 {
				t.Errorf("sent again: %+v, %d twice", v, s.Duplicates())
			}
		})
	}
}

// Without a batch nothing is handed over.
func TestCarefulNeedsABatch(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true, Hook: at("batch", tt.SendGridAction{Status: 503})})
	v := attempt(t, newTransport(t, s), s, careful(), tt.Message(t, careful(), "a@zoe.example"))
	if v.Outcome != mail.OutcomeTemporary || s.Calls("upload") != 0 {
		t.Errorf("%+v", v)
	}
}
