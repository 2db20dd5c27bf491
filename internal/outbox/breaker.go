package outbox

import (
	"sync"

	"github.com/winprest/facteur/internal/mail"
)

// A server that takes every mail and says nothing, or puts off every mail, fails each message of a batch one by one. The breaker
// pauses its profile after a few in a row (mail.Breaker). Each process counts for itself, over all lanes of a profile; the pause
// is in the profile's row and stops the lanes of every process. After it the first lane goes on alone, one mail at a time, and
// the first failure of the same kind is the next pause; when a mail has got through, the other lanes are woken.
//
// So at most three mails become uncertain in each process that sends for the profile, one more on each of its other connections,
// which are in the middle of a mail at that time, and one for each pause.

// breaker is that of one profile.
type breaker struct {
	mu     sync.Mutex
	row    mail.Breaker
	opened uint64

	// pausing is held while a pause is being written, so that no lane claims between its decision and its commit.
	pausing sync.RWMutex
}

// times is how often it has opened. A lane notes it before it claims, and sends nothing more of the claim once it has changed.
func (b *breaker) times() uint64 {
	b.pausing.RLock()
	defer b.pausing.RUnlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

func (b *breaker) after(message string, v mail.Verdict, paused string) (reaction mail.Reaction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.row, reaction = b.row.After(message, v, paused)
	return reaction
}

// weigh lets the breaker decide what a hand-over means for the profile.
func (r *laneRun) weigh(message string, v mail.Verdict) {
	paused := ""
	if r.profile.PauseCount > 0 && r.profile.Pause != nil {
		paused = r.profile.Pause.Code
	}
	reaction := r.breaker.after(message, v, paused)
	switch {
	case reaction.Open != "":
		r.breaker.pausing.Lock()
		defer r.breaker.pausing.Unlock()
		r.breaker.mu.Lock()
		r.breaker.opened++
		r.breaker.mu.Unlock()
		v.Code = reaction.Open
		r.trouble(v, mail.Settlement{Pause: true})
	case reaction.Close && r.profile.PauseCount > 0:
		r.recovered()
	}
}

// breakers are those of the profiles that this process has sent for.
type breakers struct {
	mu       sync.Mutex
	profiles map[string]*breaker
}

func (b *breakers) init() { b.profiles = map[string]*breaker{} }

func (b *breakers) of(profileID string) *breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	br, ok := b.profiles[profileID]
	if !ok {
		br = &breaker{}
		b.profiles[profileID] = br
	}
	return br
}
