package mail

import (
	"slices"
	"testing"
	"time"
)

var settleNow = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func rcpt(address string, s RecipientStatus) Recipient {
	return Recipient{Address: Address{Address: address}, Kind: KindTo, Status: s}
}

func TestSettle(t *testing.T) {
	one := []Recipient{rcpt("a@x.example", RecipientPending)}
	two := []Recipient{rcpt("a@x.example", RecipientPending), rcpt("b@x.example", RecipientPending)}
	about := func(address string, o Outcome, code string) RecipientVerdict {
		return RecipientVerdict{Address: address, Outcome: o, Code: code, Reply: Reply{Code: 550}}
	}
	tests := []struct {
		name       string
		verdict    Verdict
		n          int
		recipients []Recipient
		status     Status
		code       string
		each       []RecipientStatus
		gap        time.Duration
		unburnt    bool
		hold       bool
		pause      bool
	}{
		{name: "sent", verdict: Verdict{Outcome: OutcomeSent}, n: 1, recipients: two,
			status: StatusSent, each: []RecipientStatus{RecipientSent, RecipientSent}},
		{name: "the zero verdict is uncertain", n: 1, recipients: one,
			status: StatusUncertain, each: []RecipientStatus{RecipientUncertain}},
		{name: "uncertain", verdict: Verdict{Outcome: OutcomeUncertain, Code: "smtp_final_lost"}, n: 3, recipients: one,
			status: StatusUncertain, code: "smtp_final_lost", each: []RecipientStatus{RecipientUncertain}},
		{name: "permanent", verdict: Verdict{Outcome: OutcomePermanent, Code: "content_refused"}, n: 1, recipients: two,
			status: StatusFailed, code: "content_refused", each: []RecipientStatus{RecipientFailed, RecipientFailed}},
		{name: "first temporary", verdict: Verdict{Outcome: OutcomeTemporary, Code: "mailbox_busy"}, n: 1, recipients: one,
			status: StatusDeferred, code: "mailbox_busy", each: []RecipientStatus{RecipientPending}, gap: time.Minute},
		{name: "second temporary", verdict: Verdict{Outcome: OutcomeTemporary}, n: 2, recipients: one,
			status: StatusDeferred, each: []RecipientStatus{RecipientPending}, gap: 5 * time.Minute},
		{name: "third temporary", verdict: Verdict{Outcome: OutcomeTemporary}, n: 3, recipients: one,
			status: StatusDeferred, each: []RecipientStatus{RecipientPending}, gap: 15 * time.Minute},
		{name: "fourth temporary", verdict: Verdict{Outcome: OutcomeTemporary}, n: 4, recipients: one,
			status: StatusDeferred, each: []RecipientStatus{RecipientPending}, gap: time.Hour},
		{name: "then hourly", verdict: Verdict{Outcome: OutcomeTemporary}, n: 40, recipients: one,
			status: StatusDeferred, each: []RecipientStatus{RecipientPending}, gap: time.Hour},
		{name: "greylisted waits five minutes", verdict: Verdict{Outcome: OutcomeTemporary, Code: CodeGreylisted}, n: 1, recipients: one,
			status: StatusDeferred, code: CodeGreylisted, each: []RecipientStatus{RecipientPending}, gap: 5 * time.Minute},
		{name: "the far end may ask for longer", verdict: Verdict{Outcome: OutcomeTemporary, RetryAfter: 2 * time.Hour}, n: 1, recipients: one,
			status: StatusDeferred, each: []RecipientStatus{RecipientPending}, gap: 2 * time.Hour},
		{name: "but not for more than a day", verdict: Verdict{Outcome: OutcomeTemporary, RetryAfter: 1000 * time.Hour}, n: 1, recipients: one,
			status: StatusDeferred, each: []RecipientStatus{RecipientPending}, gap: 24 * time.Hour},
		{name: "one of two refused", verdict: Verdict{Outcome: OutcomeSent, Recipients: []RecipientVerdict{about("b@x.example", OutcomePermanent, "recipient_unknown")}}, n: 1, recipients: two,
			status: StatusSent, code: CodePartlyRefused, each: []RecipientStatus{RecipientSent, RecipientFailed}},
		{name: "one of two greylisted", verdict: Verdict{Outcome: OutcomeSent, Recipients: []RecipientVerdict{about("b@x.example", OutcomeTemporary, CodeGreylisted)}}, n: 1, recipients: two,
			status: StatusDeferred, code: CodeGreylisted, each: []RecipientStatus{RecipientSent, RecipientPending}, gap: 5 * time.Minute},
		{name: "what was sent before stays sent", verdict: Verdict{Outcome: OutcomeSent}, n: 2,
			recipients: []Recipient{rcpt("a@x.example", RecipientSent), rcpt("b@x.example", RecipientPending)},
			status:     StatusSent, each: []RecipientStatus{RecipientSent, RecipientSent}},
		{name: "refused after another was sent", verdict: Verdict{Outcome: OutcomePermanent, Code: "recipient_unknown"}, n: 2,
			recipients: []Recipient{rcpt("a@x.example", RecipientSent), rcpt("b@x.example", RecipientPending)},
			status:     StatusSent, code: CodePartlyRefused, each: []RecipientStatus{RecipientSent, RecipientFailed}},
		{name: "uncertain never touches the settled", verdict: Verdict{}, n: 2,
			recipients: []Recipient{rcpt("a@x.example", RecipientSent), rcpt("b@x.example", RecipientFailed), rcpt("c@x.example", RecipientPending)},
			status:     StatusUncertain, each: []RecipientStatus{RecipientSent, RecipientFailed, RecipientUncertain}},
		{name: "bad login holds the profile, not the mail", verdict: Verdict{Outcome: OutcomePermanent, Scope: ScopeProfile, Code: "smtp_login_refused"}, n: 1, recipients: one,
			status: StatusQueued, code: "smtp_login_refused", each: []RecipientStatus{RecipientPending}, unburnt: true, hold: true},
		{name: "server away pauses the profile", verdict: Verdict{Outcome: OutcomeTemporary, Scope: ScopeProfile, Code: "smtp_connection_refused"}, n: 3, recipients: one,
			status: StatusDeferred, code: "smtp_connection_refused", each: []RecipientStatus{RecipientPending}, unburnt: true, pause: true},
		{name: "uncertain with profile scope is uncertain", verdict: Verdict{Outcome: OutcomeUncertain, Scope: ScopeProfile}, n: 1, recipients: one,
			status: StatusUncertain, each: []RecipientStatus{RecipientUncertain}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.recipients)
			s := Settle(tt.verdict, tt.n, tt.recipients, settleNow, 0)
			if s.Status != tt.status || s.Code != tt.code {
				t.Errorf("status %s code %q, want %s %q", s.Status, s.Code, tt.status, tt.code)
			}
			if s.Burnt == tt.unburnt || s.Hold != tt.hold || s.Pause != tt.pause {
				t.Errorf("burnt %t hold %t pause %t", s.Burnt, s.Hold, s.Pause)
			}
			var each []RecipientStatus
			for _, r := range s.Recipients {
				each = append(each, r.Status)
			}
			if !slices.Equal(each, tt.each) {
				t.Errorf("recipients %v, want %v", each, tt.each)
			}
			if tt.gap > 0 && s.NotBefore.Sub(settleNow) != tt.gap {
				t.Errorf("gap %s, want %s", s.NotBefore.Sub(settleNow), tt.gap)
			}
			if !slices.Equal(before, tt.recipients) {
				t.Error("the input was changed")
			}
		})
	}
}

func TestGapsJitterUpwards(t *testing.T) {
	for n := range 10 {
		low, high := RetryGap(Verdict{}, n, 0), RetryGap(Verdict{}, n, 0.999)
		if high <= low || high > low+low/5 {
			t.Errorf("retry %d: %s to %s", n, low, high)
		}
		low, high = PauseGap(Verdict{}, n, 0), PauseGap(Verdict{}, n, 0.999)
		if high <= low || high > low+low/5 {
			t.Errorf("pause %d: %s to %s", n, low, high)
		}
	}
}

func TestExpireKeepsWhatWasSent(t *testing.T) {
	s := Expire([]Recipient{rcpt("a@x.example", RecipientPending)})
	if s.Status != StatusFailed || s.Code != CodeExpired || s.Recipients[0].Status != RecipientFailed {
		t.Errorf("%+v", s)
	}
	s = Expire([]Recipient{rcpt("a@x.example", RecipientSent), rcpt("b@x.example", RecipientPending)})
	if s.Status != StatusSent || s.Code != CodePartlyRefused || s.Recipients[1].Status != RecipientFailed {
		t.Errorf("%+v", s)
	}
}

func TestRequeueTouchesOneStatusOnly(t *testing.T) {
	in := []Recipient{rcpt("a@x.example", RecipientSent), rcpt("b@x.example", RecipientFailed), rcpt("c@x.example", RecipientUncertain)}
	out := Requeue(in, RecipientFailed)
	if out[0].Status != RecipientSent || out[1].Status != RecipientPending || out[2].Status != RecipientUncertain {
		t.Errorf("%+v", out)
	}
}
