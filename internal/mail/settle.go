package mail

import (
	"slices"
	"time"
)

// Codes that Settle itself gives.
const (
	CodePartlyRefused = "recipient_refused_partly" // sent, but not to every recipient
	CodeExpired       = "expired"                  // given up after the longest time a mail may wait
	CodeWorkerLost    = "worker_lost"              // the process ended between the hand-over and its outcome
	CodeGreylisted    = "greylisted"
)

// CodeContentUnavailable is that of a mail that could not be made or read to its end: the fault is on our side.
const CodeContentUnavailable = "content_unavailable"

// retryGaps are the waits after the first, second, … temporary failure; the last one repeats.
var retryGaps = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// pauseGaps are the waits of a profile whose server is out of reach. They start short: one probe a minute costs nobody anything.
var pauseGaps = []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

// silentGaps are the waits of a profile whose server is silent. They grow longer than the others: each probe is a mail of which
// nobody knows whether it was sent.
var silentGaps = append(slices.Clip(pauseGaps), time.Hour)

const (
	greylistGap   = 5 * time.Minute // RFC 6647 section 5: servers commonly refuse for the first minutes
	maxRetryAfter = 24 * time.Hour
)

// Settlement is what a message becomes after an attempt.
type Settlement struct {
	Status     Status
	Recipients []Recipient
	Code       string    // why, for every status but a plain sent
	NotBefore  time.Time // when deferred: the next attempt
	Burnt      bool      // the attempt counts and is recorded; false when the fault was not the message's
	// Hold and Pause say what to do with the profile.
	Hold  bool
	Pause bool
}

// Settle turns a transport's verdict on a message's n-th counted attempt (from 1) into the message's next state. It is pure:
// jitter is a number in [0,1) that the caller draws. recipients is not changed.
//
// A verdict is about the recipients that were still pending; those that were settled by an earlier attempt stay as they are,
// and are not handed over again.
func Settle(v Verdict, n int, recipients []Recipient, now time.Time, jitter float64) Settlement {
	if v.Scope == ScopeProfile && (v.Outcome == OutcomeTemporary || v.Outcome == OutcomePermanent) {
		return Settlement{
			Status: Waiting(n - 1), Recipients: recipients, Code: v.Code, NotBefore: now,
			Hold: v.Outcome == OutcomePermanent, Pause: v.Outcome == OutcomeTemporary,
		}
	}
	own := func(address string) *RecipientVerdict {
		for i := range v.Recipients {
			if v.Recipients[i].Address == address {
				return &v.Recipients[i]
			}
		}
		return nil
	}
	s := Settlement{Recipients: make([]Recipient, len(recipients)), Burnt: true}
	var sent, failed, pending, uncertain int
	code := v.Code
	for i, r := range recipients {
		if r.Status == RecipientPending {
			outcome, reply := v.Outcome, v.Reply
			if rv := own(r.Envelope()); rv != nil {
				outcome, reply = rv.Outcome, rv.Reply
				if code == "" {
					code = rv.Code
				}
			}
			switch outcome {
			case OutcomeSent:
				r.Status = RecipientSent
			case OutcomePermanent:
				r.Status = RecipientFailed
			case OutcomeTemporary:
			default:
				r.Status = RecipientUncertain
			}
			if !reply.IsZero() {
				r.Reply = &reply
			}
		}
		switch r.Status {
		case RecipientSent:
			sent++
		case RecipientFailed:
			failed++
		case RecipientUncertain:
			uncertain++
		default:
			pending++
		}
		s.Recipients[i] = r
	}
	switch {
	case uncertain > 0:
		s.Status, s.Code = StatusUncertain, code
	case pending > 0:
		s.Status, s.Code = StatusDeferred, code
		v.Code = code
		s.NotBefore = now.Add(RetryGap(v, n, jitter))
	case sent > 0 && failed > 0:
		s.Status, s.Code = StatusSent, CodePartlyRefused
	case sent > 0:
		s.Status = StatusSent
	default:
		s.Status, s.Code = StatusFailed, code
	}
	return s
}

// Expire gives up on the recipients that are still pending. What was sent stays sent.
func Expire(recipients []Recipient) Settlement {
	s := Settlement{Status: StatusFailed, Code: CodeExpired, Recipients: make([]Recipient, len(recipients))}
	for i, r := range recipients {
		switch r.Status {
		case RecipientPending:
			r.Status = RecipientFailed
		case RecipientSent:
			s.Status, s.Code = StatusSent, CodePartlyRefused
		}
		s.Recipients[i] = r
	}
	return s
}

// Requeue makes the recipients of one status pending again: the failed ones for a retry, the uncertain ones for a resend.
func Requeue(recipients []Recipient, from RecipientStatus) []Recipient {
	out := make([]Recipient, len(recipients))
	for i, r := range recipients {
		if r.Status == from {
			r.Status = RecipientPending
		}
		out[i] = r
	}
	return out
}

// RetryGap is the wait after the n-th temporary failure: 1, 5, 15, 60 minutes and then hourly, up to a fifth longer at
// random, never shorter than what the far end asked for (a day at most), nor than five minutes when it greylists.
func RetryGap(v Verdict, n int, jitter float64) time.Duration {
	gap := spread(retryGaps[min(max(n, 1), len(retryGaps))-1], jitter)
	if v.Code == CodeGreylisted {
		gap = max(gap, spread(greylistGap, jitter))
	}
	return max(gap, min(v.RetryAfter, maxRetryAfter))
}

// PauseGap is how long a profile waits after the n-th time in a row that its server was out of reach, or that its breaker opened.
func PauseGap(v Verdict, n int, jitter float64) time.Duration {
	gaps := pauseGaps
	if v.Code == CodeServerSilent {
		gaps = silentGaps
	}
	gap := spread(gaps[min(max(n, 1), len(gaps))-1], jitter)
	return max(gap, min(v.RetryAfter, maxRetryAfter))
}

func spread(d time.Duration, jitter float64) time.Duration {
	return d + time.Duration(jitter*float64(d)/5)
}

// Waiting is the status of a message that is to be tried, after so many counted attempts.
func Waiting(attempts int) Status {
	if attempts > 0 {
		return StatusDeferred
	}
	return StatusQueued
}
