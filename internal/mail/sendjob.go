package mail

import "time"

// JobState is how far a send job is as a whole.
type JobState string

const (
	JobDraft    JobState = "draft" // still being prepared; nothing is composed
	JobReleased JobState = "released"
	JobCanceled JobState = "canceled"
	JobExpired  JobState = "expired" // nobody released it in time
)

// Gate is why messages of a released job wait although their time has come.
type Gate string

const (
	GateOpen            Gate = ""
	GateAwaitingRelease Gate = "awaiting_release" // composed, and waits for a person
	GateOutsideWindow   Gate = "outside_window"
	GateCanary          Gate = "canary" // only the first few go, and the others wait for what becomes of them
	GateCanaryFailed    Gate = "canary_failed"
	GateStopped         Gate = "stopped" // too many failures
	GatePaused          Gate = "paused"  // by a person
)

// Passage is which messages of a job may go.
type Passage int

const (
	PassNone Passage = iota
	PassCanaries
	PassAll
)

// Lets says which messages the gate lets through.
func (g Gate) Lets() Passage {
	switch g {
	case GateOpen:
		return PassAll
	case GateCanary:
		return PassCanaries
	}
	return PassNone
}

// WaitsForPerson says that the gate opens by nothing but a person's word.
func (g Gate) WaitsForPerson() bool {
	return g == GateAwaitingRelease || g == GateCanaryFailed || g == GateStopped || g == GatePaused
}

// JobRules are what the caller asked about how a job is sent.
type JobRules struct {
	Manual    bool    `json:"manual,omitempty"`              // nothing goes before a person releases it
	Canary    int     `json:"canary,omitempty"`              // so many go first, and must all be sent before the others go; 0: none
	StopAfter int     `json:"stop_after_failures,omitempty"` // so many failed or uncertain messages stop it; 0: it goes on
	Window    *Window `json:"window,omitempty"`              // nil: at any time
}

// JobFacts is what the next state of a job depends on, besides its messages and the time.
type JobFacts struct {
	State     JobState
	Gate      Gate
	Rules     JobRules
	Canaries  int // whose outcome is awaited; 0: none, or the canary is over
	Forgiven  int // failures that a person has seen when the job went on
	ExpiresAt time.Time
	Warned    bool // of its expiry
}

// JobCounts are the messages of a job by what they can still do.
type JobCounts struct {
	Waiting, Sending, Paused          int // Waiting: queued or deferred
	Sent, Failed, Uncertain, Canceled int
	// Of the canaries: sent, and ended in any other way.
	CanariesSent, CanariesLost int
}

func (c JobCounts) failures() int { return c.Failed + c.Uncertain }

// JobStep is what becomes of a job.
type JobStep struct {
	State    JobState
	Gate     Gate
	Until    time.Time // when the gate opens by itself; zero: not by the clock
	Forgiven int
	// CanaryOver: the canaries are like the other messages from now on.
	CanaryOver bool
	// Finished: nothing of it can move by itself any more.
	Finished bool
	// Warn that it will expire.
	Warn bool
	// Look is when to look again, whatever happens before; zero: never.
	Look time.Time
}

const (
	// WarnBeforeExpiry is how long before its end a job that nobody releases is spoken of.
	WarnBeforeExpiry = 3 * 24 * time.Hour

	// How soon to look again. Whoever records an outcome that matters has the job looked at at once; this is for what a process
	// that died has recorded.
	lookSoon = time.Second      // messages are on their way, and nothing else is left or may be left
	lookRule = 5 * time.Second  // a rule watches the outcomes
	lookSlow = 30 * time.Second // it may have come to its end
	lookRare = time.Hour        // a person's word is awaited
)

// Next says what becomes of the job. It is pure. Messages follow the step: they wait exactly while its gate does not let them through.
func (j JobFacts) Next(c JobCounts, now time.Time) JobStep {
	s := JobStep{State: j.State, Gate: j.Gate, Forgiven: min(j.Forgiven, c.failures())}
	if j.State == JobDraft || j.State == JobReleased && j.Gate == GateAwaitingRelease {
		return j.await(s, now)
	}
	moving := c.Waiting + c.Sending
	s.Finished = moving+c.Paused == 0
	if j.State != JobReleased {
		s.Gate = GateOpen
		if s.Finished = moving == 0; !s.Finished {
			s.Look = now.Add(lookSoon)
		}
		return s
	}
	if s.Finished { // a gate would have nobody to hold
		s.Gate, s.CanaryOver = GateOpen, j.Canaries > 0
		return s
	}
	s = j.gate(s, c, now)
	look := lookSlow
	switch {
	case s.Gate.Lets() == PassNone && moving > 0, s.Gate == GateCanary && c.Waiting == 0, c.Waiting+c.Paused == 0:
		look = lookSoon
	case s.Gate.WaitsForPerson():
		look = lookRare
	case j.Rules.StopAfter > 0, s.Gate == GateCanary:
		look = lookRule
	}
	s.Look = now.Add(look)
	if j.Rules.Window != nil && !s.Gate.WaitsForPerson() {
		if _, until := j.Rules.Window.At(now); !until.IsZero() && until.Before(s.Look) {
			s.Look = until
		}
	}
	return s
}

// await is a job that waits for its release.
func (j JobFacts) await(s JobStep, now time.Time) JobStep {
	warn := j.ExpiresAt.Add(-WarnBeforeExpiry)
	switch {
	case !now.Before(j.ExpiresAt):
		s.State, s.Gate, s.Look = JobExpired, GateOpen, now.Add(lookSoon)
	case now.Before(warn):
		s.Look = warn
	default:
		s.Warn, s.Look = !j.Warned, j.ExpiresAt
	}
	return s
}

// gate decides the gate of a released job that has something left to send.
func (j JobFacts) gate(s JobStep, c JobCounts, now time.Time) JobStep {
	if j.Gate.WaitsForPerson() {
		return s
	}
	s.Gate = GateOpen
	if j.Rules.StopAfter > 0 && c.failures()-s.Forgiven >= j.Rules.StopAfter {
		s.Gate = GateStopped
		return s
	}
	canary := j.Canaries > 0
	if canary && c.CanariesLost > 0 {
		s.Gate = GateCanaryFailed
		return s
	}
	if canary && c.CanariesSent >= j.Canaries {
		canary, s.CanaryOver = false, true
	}
	if canary {
		s.Gate = GateCanary
	}
	if j.Rules.Window != nil {
		if open, until := j.Rules.Window.At(now); !open {
			s.Gate, s.Until = GateOutsideWindow, until
		}
	}
	return s
}
