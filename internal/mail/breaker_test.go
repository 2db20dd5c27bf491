package mail

import (
	"fmt"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	reply := func(code int, enhanced string) Reply { return Reply{Code: code, Enhanced: enhanced, Text: "words"} }
	var (
		sent      = Verdict{Outcome: OutcomeSent, Step: "final", Reply: reply(250, "2.0.0")}
		dropped   = Verdict{Outcome: OutcomeUncertain, Step: "final", Code: "smtp_outcome_unknown"}
		broke     = Verdict{Outcome: OutcomeTemporary, Step: "body", Code: "smtp_connection_lost", Reply: Reply{Text: "the server closed the connection"}}
		deferred  = Verdict{Outcome: OutcomeTemporary, Step: "final", Code: "smtp_message_deferred", Reply: reply(451, "4.3.0")}
		rcpt451   = Verdict{Outcome: OutcomeTemporary, Scope: ScopeRecipient, Step: "rcpt", Recipients: []RecipientVerdict{{Reply: reply(451, "")}}}
		unknown   = Verdict{Outcome: OutcomePermanent, Scope: ScopeRecipient, Step: "rcpt", Reply: reply(550, "5.1.1")}
		spam      = Verdict{Outcome: OutcomePermanent, Step: "final", Reply: reply(554, "5.7.1")}
		full      = Verdict{Outcome: OutcomeTemporary, Scope: ScopeRecipient, Step: "rcpt", Reply: reply(452, "4.2.2")}
		greylist  = Verdict{Outcome: OutcomeTemporary, Scope: ScopeRecipient, Step: "rcpt", Code: CodeGreylisted, Reply: reply(451, "4.7.1")}
		unread    = Verdict{Outcome: OutcomeTemporary, Step: "body", Code: CodeContentUnavailable, Reply: Reply{Text: "an attachment could not be read"}}
		unmade    = Verdict{Outcome: OutcomeTemporary, Step: "render", Code: CodeContentUnavailable}
		loginGone = Verdict{Outcome: OutcomePermanent, Scope: ScopeProfile, Step: "mail", Reply: reply(530, "")}
	)
	silent, defers := Reaction{Open: CodeServerSilent}, Reaction{Open: CodeServerDefers}
	closed, nothing := Reaction{Close: true}, Reaction{}
	same := func(v Verdict, n int) []Verdict {
		row := make([]Verdict, n)
		for i := range row {
			row[i] = v
		}
		return row
	}
	then := func(rows ...[]Verdict) (all []Verdict) {
		for _, row := range rows {
			all = append(all, row...)
		}
		return all
	}
	one := func(v Verdict) []Verdict { return []Verdict{v} }
	for name, c := range map[string]struct {
		verdicts []Verdict // each of another message
		paused   string
		want     Reaction // to the last
	}{
		"two uncertain":                              {same(dropped, 2), "", nothing},
		"three uncertain":                            {same(dropped, 3), "", silent},
		"three broken":                               {same(broke, 3), "", silent},
		"mixed":                                      {then(one(broke), one(dropped), one(broke)), "", silent},
		"a sent one between":                         {then(same(dropped, 2), one(sent), one(dropped)), "", nothing},
		"a refused recipient between":                {then(same(dropped, 2), one(unknown), one(dropped)), "", nothing},
		"refused content between":                    {then(same(dropped, 2), one(spam), one(dropped)), "", nothing},
		"greylisted between":                         {then(same(dropped, 2), one(greylist), one(dropped)), "", nothing},
		"a fault of ours between":                    {then(same(dropped, 2), one(unread), one(dropped)), "", silent},
		"nine deferred":                              {same(deferred, 9), "", nothing},
		"ten deferred":                               {same(deferred, 10), "", defers},
		"ten deferred at RCPT":                       {same(rcpt451, 10), "", defers},
		"a sent one among the deferred":              {then(same(deferred, 9), one(sent), one(deferred)), "", nothing},
		"a full mailbox among the deferred":          {then(same(deferred, 9), one(full), one(deferred)), "", defers},
		"refused recipients":                         {same(unknown, 100), "", closed},
		"full mailboxes":                             {same(full, 100), "", closed},
		"everybody greylists":                        {same(greylist, 100), "", closed},
		"files that cannot be read":                  {same(unread, 100), "", nothing},
		"mails that cannot be made":                  {same(unmade, 100), "", nothing},
		"trouble of the profile":                     {same(loginGone, 100), "", nothing},
		"after silence: silent again":                {one(dropped), CodeServerSilent, silent},
		"after silence: sent":                        {one(sent), CodeServerSilent, closed},
		"after silence: refused at the end":          {one(spam), CodeServerSilent, closed},
		"after silence: refused at RCPT":             {one(unknown), CodeServerSilent, nothing},
		"after silence: greylisted":                  {one(greylist), CodeServerSilent, nothing},
		"after silence: put off":                     {one(deferred), CodeServerSilent, nothing},
		"after deferrals: deferred again":            {one(deferred), CodeServerDefers, defers},
		"after deferrals: refused":                   {one(unknown), CodeServerDefers, closed},
		"after deferrals: greylisted":                {one(greylist), CodeServerDefers, nothing},
		"after deferrals: silent":                    {one(dropped), CodeServerDefers, silent},
		"after another pause: put off":               {one(deferred), "smtp_timeout", closed},
		"after another pause: silent":                {one(dropped), "smtp_timeout", silent},
		"after another pause: greylisted":            {one(greylist), "smtp_timeout", closed},
		"after another pause: a file cannot be read": {one(unread), "smtp_timeout", nothing},
	} {
		var b Breaker
		var got Reaction
		for i, v := range c.verdicts {
			if got != nothing && got != closed {
				t.Errorf("%s: %+v already after %d", name, got, i)
			}
			b, got = b.After(fmt.Sprint("msg_", i), v, c.paused)
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	var b Breaker
	for range 100 { // one message, tried again and again
		var got Reaction
		if b, got = b.After("msg_1", broke, ""); got != nothing {
			t.Fatalf("one message alone: %+v", got)
		}
	}
	early := b
	_, _ = b.After("msg_2", broke, "")
	if _, got := early.After("msg_3", broke, ""); got != nothing {
		t.Errorf("a former state knows what came later: %+v", got)
	}
	if gap := PauseGap(Verdict{Code: CodeServerSilent}, 9, 0); gap != time.Hour {
		t.Errorf("a silent server is tried again after %s", gap)
	}
	if gap := PauseGap(Verdict{Code: CodeServerDefers}, 9, 0); gap != 15*time.Minute {
		t.Errorf("a server that defers is tried again after %s", gap)
	}
}
