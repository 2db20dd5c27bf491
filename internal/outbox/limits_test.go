package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// clock lets time go by for the limits of a house's profiles, and for a far end that notes when it sees mails.
type clock struct {
	h     *house
	mu    sync.Mutex
	ahead time.Duration
	seen  []time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) see() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, time.Now().Add(c.ahead))
}

// advance moves what was used into the past, by whole seconds. The far end's clock goes after it, so that no mail seems to be
// counted before it was seen.
func (c *clock) advance(d time.Duration) {
	c.h.t.Helper()
	ctx := context.Background()
	lock := `SELECT profile_id, used FROM profile_usage`
	err := c.h.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		exec := func(query string, args ...any) error {
			if tx.PG != nil {
				_, err := tx.PG.Exec(ctx, query, args...)
				return err
			}
			_, err := tx.SQL.ExecContext(ctx, query, args...)
			return err
		}
		var id, doc string
		var err error
		if tx.PG != nil {
			err = tx.PG.QueryRow(ctx, lock+` FOR UPDATE`).Scan(&id, &doc)
		} else {
			err = tx.SQL.QueryRowContext(ctx, lock).Scan(&id, &doc)
		}
		if err != nil {
			return err
		}
		var used [][2]int64
		if err := json.Unmarshal([]byte(doc), &used); err != nil {
			return err
		}
		for i := range used {
			used[i][0] -= int64(d / time.Second)
		}
		shifted, err := json.Marshal(used)
		if err != nil {
			return err
		}
		return errors.Join(
			exec(`UPDATE profile_usage SET used = $2 WHERE profile_id = $1`, id, string(shifted)),
			exec(`UPDATE sender_profiles SET limited_until = limited_until - $2 WHERE id = $1 AND limited_until > 0`, id, d.Microseconds()))
	})
	if err != nil {
		c.h.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// most is the largest number of mails that the far end saw in any window of the length.
func (c *clock) most(length time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := slices.Clone(c.seen)
	slices.SortFunc(seen, time.Time.Compare)
	most, first := 0, 0
	for i, at := range seen {
		for at.Sub(seen[first]) >= length {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (h *house) limitedProfile(connections int, l mail.Limits) *mail.Profile {
	h.t.Helper()
	p := h.profile(connections)
	p.Limits = l
	if err := h.store.UpdateProfile(context.Background(), p, 0); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// asleep waits until no lane is at work.
func (h *house) asleep() {
	h.t.Helper()
	eventually(h.t, func() error {
		if n := value[int](h, `SELECT count(*) FROM lanes WHERE awake > 0`); n != 0 {
			return fmt.Errorf("%d lanes awake", n)
		}
		return nil
	})
}

// full waits until the profile has no room, and gives it.
func (h *house) full(p *mail.Profile) *mail.Profile {
	h.t.Helper()
	var got *mail.Profile
	eventually(h.t, func() (err error) {
		if got, err = h.store.Profile(context.Background(), p.TenantID, p.ID); err != nil {
			return err
		}
		if !got.LimitedUntil.After(time.Now()) {
			return fmt.Errorf("limited until %s", got.LimitedUntil)
		}
		return nil
	})
	return got
}

// Two processes send as one profile may: whatever happens in between, the far end never sees more than the limits.
func TestLimitsHoldAcrossProcesses(t *testing.T) {
	for _, tt := range []struct {
		name        string
		connections int
		limits      mail.Limits
		mails       int
	}{
		{"one connection", 1, mail.Limits{PerMinute: 30}, 100},
		{"four connections", 4, mail.Limits{PerMinute: 90, PerHour: 150}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newFarEnd()
				c := &clock{h: h}
				var n int
				var mu sync.Mutex
				far.answer = func(*mail.Rendered) mail.Verdict {
					c.see()
					mu.Lock()
					defer mu.Unlock()
					if n++; n%7 == 0 { // what was refused counts as well
						return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "refused"}
					}
					return mail.Verdict{Outcome: mail.OutcomeSent}
				}
				a, b := h.engine(far, outbox.Config{Linger: time.Millisecond}), h.engine(far, outbox.Config{Linger: time.Millisecond})
				p := h.limitedProfile(tt.connections, tt.limits)
				began := time.Now()
				var jobs []string
				for i := range 4 {
					jobs = append(jobs, h.submit([]*outbox.Outbox{a, b}[i%2], p, outbox.PurposeBatch, tt.mails/4).JobID)
				}
				waiting := func() (n int) {
					for _, j := range jobs {
						n += h.counts(j)[mail.StatusQueued] + h.counts(j)[mail.StatusSending]
					}
					return n
				}
				r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
				for waiting() > 0 {
					c.advance(time.Duration(1+r.IntN(4)) * time.Second) // also while mails are on their way
					if r.IntN(3) > 0 {
						var wait time.Duration
						eventually(t, func() error {
							got, err := h.store.Profile(context.Background(), p.TenantID, p.ID)
							if err == nil && waiting() > 0 && !got.LimitedUntil.After(time.Now()) {
								err = errors.New("there is room, and mail")
							}
							wait = time.Until(got.LimitedUntil).Truncate(time.Second)
							return err
						})
						if wait > 20*time.Second {
							c.advance(wait - 5*time.Second)
						}
					}
				}
				if got := len(c.seen); got != tt.mails {
					t.Errorf("%d mails were seen", got)
				}
				if got := c.most(time.Minute); got > tt.limits.PerMinute {
					t.Errorf("%d mails in a minute", got)
				}
				if got := c.most(time.Hour); tt.limits.PerHour > 0 && got > tt.limits.PerHour {
					t.Errorf("%d mails in an hour", got)
				}
				if far.maxOpen > tt.connections {
					t.Errorf("%d connections", far.maxOpen)
				}
				want := tt.limits.Forecast(nil, 0, tt.mails, began).Sub(began)
				if took := c.now().Sub(began); took > want*3/2+5*time.Second {
					t.Errorf("%d mails took %s, the limits want %s", tt.mails, took, want)
				}
			})
		})
	}
}

// A lane without room sleeps, and nobody wakes it before there is some.
func TestLimitedLaneSleepsUntilThereIsRoom(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		c := &clock{h: h}
		o := h.engine(far, outbox.Config{Sweep: time.Hour})
		p := h.limitedProfile(3, mail.Limits{PerHour: 10})
		batch := h.submit(o, p, outbox.PurposeBatch, 25)
		h.await(batch.JobID, map[mail.Status]int{mail.StatusSent: 10, mail.StatusQueued: 15})
		got := h.full(p)
		if left := time.Until(got.LimitedUntil); got.LimitedBy != mail.LimitPerHour || left < 59*time.Minute || left > 61*time.Minute || got.Hold != nil || got.Pause != nil {
			t.Errorf("%s for %s, hold %v, pause %v", got.LimitedBy, left, got.Hold, got.Pause)
		}
		h.asleep()
		sweep := func() (wakes int) {
			t.Helper()
			before := value[int](h, `SELECT count(*) FROM river_job WHERE kind = 'lane'`)
			if err := o.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			return value[int](h, `SELECT count(*) FROM river_job WHERE kind = 'lane'`) - before
		}
		if n := sweep(); n != 0 {
			t.Errorf("%d lanes were woken without room", n)
		}
		c.advance(59 * time.Minute) // whole minutes, as an hour is counted
		if n := sweep(); n != 0 {
			t.Errorf("%d lanes were woken too early", n)
		}
		// A one-off mail goes first when there is room.
		single := h.submit(o, p, outbox.PurposeOneOff, 1)
		h.asleep() // the lane that it woke found no room
		c.advance(2 * time.Minute)
		if n := sweep(); n == 0 {
			t.Error("no lane was woken")
		}
		h.await(single.JobID, map[mail.Status]int{mail.StatusSent: 1})
		h.await(batch.JobID, map[mail.Status]int{mail.StatusSent: 19, mail.StatusQueued: 6})
	})
}

// What never reached the far end is room again.
func TestUnusedRoomIsGivenBack(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var down sync.Mutex
		broken := true
		far.openErr = func(*mail.Profile) error {
			down.Lock()
			defer down.Unlock()
			if broken {
				return errors.New("no route")
			}
			return nil
		}
		o := h.engine(far, outbox.Config{})
		p := h.limitedProfile(2, mail.Limits{PerDay: 10})
		r := h.submit(o, p, outbox.PurposeBatch, 20)
		eventually(t, func() error {
			got, err := h.store.Profile(t.Context(), p.TenantID, p.ID)
			if err == nil && (got.Pause == nil || h.counts(r.JobID)[mail.StatusQueued] != 20) {
				err = errors.New("not paused")
			}
			return err
		})
		down.Lock()
		broken = false
		down.Unlock()
		eventually(t, func() error { // a lane may still pause it
			if err := h.store.ClearHold(t.Context(), p.TenantID, p.ID); err != nil {
				return err
			}
			if got := h.counts(r.JobID); got[mail.StatusSent] != 10 {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
		h.full(p)
		if n := far.total(); n != 10 {
			t.Errorf("%d sent", n)
		}
	})
}

// Limits that are set while mail goes out hold for what is claimed from then on; lifting them has the rest go at once.
func TestLimitsAreEdited(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		reached, goOn := make(chan struct{}), newBarrier()
		defer goOn.open()
		var once sync.Once
		far.before = func(*mail.Rendered) { once.Do(func() { close(reached) }); goOn.wait() }
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		r := h.submit(o, p, outbox.PurposeBatch, 300)
		<-reached
		p.Limits = mail.Limits{PerHour: 20}
		if err := h.store.UpdateProfile(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		goOn.open()
		p = h.full(p)
		// Four were claimed before.
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 24, mail.StatusQueued: 276})
		p.Limits = mail.Limits{}
		if err := h.store.UpdateProfile(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		if err := o.Wake(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 300})
		if n := value[int](h, `SELECT count(*) FROM claims WHERE limited IS NOT NULL`); n != 0 {
			t.Errorf("%d claims are uncounted", n)
		}
	})
}

// A process that dies in the middle has used what it had claimed.
func TestDeadProcessKeepsItsRoom(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		p := h.limitedProfile(1, mail.Limits{PerDay: 10})
		o := h.engine(far, outbox.Config{Sweep: time.Hour})
		r := h.submit(o, p, outbox.PurposeBatch, 5)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 5})
		// The dead one claims three and marks one of them.
		id := store.NewID("dead")
		more := h.submission(p, outbox.PurposeBatch, 20)
		more.SendAt = time.Now().Add(time.Hour)
		late, err := o.Submit(t.Context(), more)
		if err != nil {
			t.Fatal(err)
		}
		h.asleep() // or the lane claims what is due before the dead one does
		h.exec(`UPDATE messages SET not_before = 0 WHERE status = 'queued'`)
		claimed, err := h.store.ClaimWithin(t.Context(), p.ID, id, time.Hour, 3)
		if err != nil || len(claimed) != 3 {
			t.Fatalf("%d claimed, %v", len(claimed), err)
		}
		if _, err := h.store.Journal(t.Context(), []store.Mark{{TenantID: p.TenantID, MessageID: claimed[0].ID, Token: id}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		h.exec(`UPDATE claims SET lease_until = 1 WHERE token = $1`, id)
		if err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.await(late.JobID, map[mail.Status]int{mail.StatusSent: 2, mail.StatusUncertain: 1, mail.StatusQueued: 17})
		h.full(p)
		if n := far.total(); n != 7 {
			t.Errorf("%d sent", n)
		}
	})
}
