package mail

import (
	"slices"
	"strings"
)

// Codes with which the breaker pauses a profile.
const (
	CodeServerSilent = "server_silent" // it takes mails and does not say what becomes of them
	CodeServerDefers = "server_defers" // it puts off whatever it is given
)

// So many messages in a row open the breaker. What a silent server may have costs a person's time each, what it puts off costs
// only an attempt.
const (
	silentRow   = 3
	deferredRow = 10
)

// Breaker counts the hand-overs of a profile in a row that say something is wrong with the server and not with the mail, so that a
// batch stops after a few of them. The zero value has seen none.
//
// A row is made of different messages: one that no server can bear opens nothing, however often it is tried. The server's word
// on a mail, a refusal too, ends the row of its silence; a mail that it takes or refuses for good ends both.
type Breaker struct {
	silent, deferred []string // ids of messages
}

// Reaction is what follows from a hand-over.
type Reaction struct {
	Open  string // the code to pause the profile with; empty: it is not paused
	Close bool   // the profile has recovered
}

// After weighs the verdict on a message. paused is the code of the pause that the profile comes from, empty when it comes from
// none: after a pause the first sign of the same trouble opens the breaker again, and only what disproves that trouble closes it.
func (b Breaker) After(message string, v Verdict, paused string) (Breaker, Reaction) {
	switch signOf(v) {
	case signDone:
		atEnd := v.Outcome == OutcomeSent || v.Step == "final"
		return Breaker{}, Reaction{Close: paused != CodeServerSilent || atEnd}
	case signSilent:
		b.silent = with(b.silent, message)
		if len(b.silent) >= silentRow || paused != "" {
			return Breaker{}, Reaction{Open: CodeServerSilent}
		}
	case signDeferred:
		b.silent, b.deferred = nil, with(b.deferred, message)
		if len(b.deferred) >= deferredRow || paused == CodeServerDefers {
			return Breaker{}, Reaction{Open: CodeServerDefers}
		}
		return b, Reaction{Close: paused != "" && paused != CodeServerSilent}
	case signRecipient:
		b.silent = nil
		return b, Reaction{Close: paused != CodeServerSilent && paused != CodeServerDefers}
	}
	return b, Reaction{}
}

// sign is what a verdict says about the server.
type sign int

const (
	signNone      sign = iota // nothing: the fault is ours, or known to be the profile's
	signDone                  // it works: it took the mail or refused it for good
	signSilent                // it got all or a part of the mail and said nothing
	signDeferred              // it put the mail off
	signRecipient             // it put the mail off for the recipient's sake
)

func signOf(v Verdict) sign {
	if v.Outcome == OutcomeUncertain {
		return signSilent
	}
	if v.Scope == ScopeProfile {
		return signNone
	}
	if v.Outcome != OutcomeTemporary {
		return signDone
	}
	reply := v.Reply
	if reply.Code == 0 && len(v.Recipients) > 0 {
		reply = v.Recipients[0].Reply
	}
	switch {
	case reply.Code != 0 && (v.Code == CodeGreylisted || aboutRecipient(reply)):
		return signRecipient
	case reply.Code != 0:
		return signDeferred
	case v.Code == CodeContentUnavailable:
		return signNone
	}
	switch v.Step {
	case "rcpt", "data", "body", "final":
		return signSilent
	}
	return signNone
}

// aboutRecipient says that the reply is about an address or its mailbox (RFC 3463 section 3.2 and 3.3).
func aboutRecipient(r Reply) bool {
	return strings.HasPrefix(r.Enhanced, "4.1.") || strings.HasPrefix(r.Enhanced, "4.2.") || strings.HasPrefix(r.Enhanced, "5.2.")
}

// with is a copy of the row with the message in it once.
func with(row []string, message string) []string {
	if slices.Contains(row, message) {
		return row
	}
	return append(slices.Clip(row), message)
}
