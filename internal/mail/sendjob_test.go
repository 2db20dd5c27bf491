package mail

import (
	"testing"
	"time"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func TestNextStepOfAJob(t *testing.T) {
	now := at("2026-11-25 10:00")   // a Wednesday, 11:00 in Brussels
	night := at("2026-11-25 22:00") // 23:00
	opening := at("2026-11-26 07:00")
	office := &Window{From: "08:00", To: "18:00", TimeZone: DefaultTimeZone}
	month := now.Add(30 * 24 * time.Hour)
	for name, tt := range map[string]struct {
		job    JobFacts
		counts JobCounts
		now    time.Time
		want   JobStep
		look   time.Duration // Look less now; 0: never
	}{
		"a draft waits": {
			job: JobFacts{State: JobDraft, ExpiresAt: month}, want: JobStep{State: JobDraft}, look: 27 * 24 * time.Hour,
		},
		"a draft is warned of": {
			job: JobFacts{State: JobDraft, ExpiresAt: now.Add(time.Hour)}, want: JobStep{State: JobDraft, Warn: true}, look: time.Hour,
		},
		"a draft is warned of once": {
			job: JobFacts{State: JobDraft, ExpiresAt: now.Add(time.Hour), Warned: true}, want: JobStep{State: JobDraft}, look: time.Hour,
		},
		"a draft expires": {
			job: JobFacts{State: JobDraft, ExpiresAt: now}, want: JobStep{State: JobExpired}, look: lookSoon,
		},
		"an unreleased job waits at night, too": {
			job:    JobFacts{State: JobReleased, Gate: GateAwaitingRelease, ExpiresAt: month, Rules: JobRules{Window: office}},
			counts: JobCounts{Paused: 5}, now: night,
			want: JobStep{State: JobReleased, Gate: GateAwaitingRelease}, look: 27*24*time.Hour - 12*time.Hour,
		},
		"an unreleased job expires": {
			job: JobFacts{State: JobReleased, Gate: GateAwaitingRelease, ExpiresAt: now}, counts: JobCounts{Paused: 5},
			want: JobStep{State: JobExpired}, look: lookSoon,
		},
		"an expired job has come to rest": {
			job: JobFacts{State: JobExpired}, counts: JobCounts{Canceled: 5}, want: JobStep{State: JobExpired, Finished: true},
		},
		"a canceled job waits for what is on its way": {
			job: JobFacts{State: JobCanceled, Gate: GatePaused}, counts: JobCounts{Sending: 1, Canceled: 5},
			want: JobStep{State: JobCanceled}, look: lookSoon,
		},
		"a job is sent": {
			job: JobFacts{State: JobReleased}, counts: JobCounts{Waiting: 4, Sending: 1}, want: JobStep{State: JobReleased}, look: lookSlow,
		},
		"the last are on their way": {
			job: JobFacts{State: JobReleased}, counts: JobCounts{Sending: 1, Sent: 9}, want: JobStep{State: JobReleased}, look: lookSoon,
		},
		"a job is finished": {
			job: JobFacts{State: JobReleased}, counts: JobCounts{Sent: 8, Failed: 1, Uncertain: 1}, want: JobStep{State: JobReleased, Finished: true},
		},
		"a finished job has no gate": {
			job:    JobFacts{State: JobReleased, Gate: GateStopped, Rules: JobRules{StopAfter: 1}, Canaries: 1},
			counts: JobCounts{Failed: 1, Canceled: 2}, want: JobStep{State: JobReleased, CanaryOver: true, Finished: true},
		},
		"the night comes": {
			job: JobFacts{State: JobReleased, Rules: JobRules{Window: office}}, counts: JobCounts{Waiting: 4}, now: night,
			want: JobStep{State: JobReleased, Gate: GateOutsideWindow, Until: opening}, look: lookSoon, // until nothing comes back
		},
		"the night goes on": {
			job: JobFacts{State: JobReleased, Gate: GateOutsideWindow, Rules: JobRules{Window: office}}, counts: JobCounts{Paused: 4}, now: night,
			want: JobStep{State: JobReleased, Gate: GateOutsideWindow, Until: opening}, look: lookSlow,
		},
		"the day comes": {
			job: JobFacts{State: JobReleased, Gate: GateOutsideWindow, Rules: JobRules{Window: office}}, counts: JobCounts{Paused: 4},
			want: JobStep{State: JobReleased}, look: lookSlow,
		},
		"a look is made when the window closes": {
			job: JobFacts{State: JobReleased, Rules: JobRules{Window: office}}, counts: JobCounts{Waiting: 4}, now: at("2026-11-25 16:59").Add(50 * time.Second),
			want: JobStep{State: JobReleased}, look: 10 * time.Second,
		},
		"a person's pause outlasts the night": {
			job: JobFacts{State: JobReleased, Gate: GatePaused, Rules: JobRules{Window: office}}, counts: JobCounts{Paused: 4}, now: night,
			want: JobStep{State: JobReleased, Gate: GatePaused}, look: lookRare,
		},
		"what came back to a paused job is looked for": {
			job: JobFacts{State: JobReleased, Gate: GatePaused}, counts: JobCounts{Paused: 4, Sending: 1},
			want: JobStep{State: JobReleased, Gate: GatePaused}, look: lookSoon,
		},
		"a canary is awaited": {
			job: JobFacts{State: JobReleased, Gate: GateCanary, Canaries: 3}, counts: JobCounts{Waiting: 1, Paused: 9, Sent: 2, CanariesSent: 2},
			want: JobStep{State: JobReleased, Gate: GateCanary}, look: lookRule,
		},
		"a canary is well": {
			job: JobFacts{State: JobReleased, Gate: GateCanary, Canaries: 3}, counts: JobCounts{Paused: 9, Sent: 3, CanariesSent: 3},
			want: JobStep{State: JobReleased, CanaryOver: true}, look: lookSlow,
		},
		"a canary is well at night": {
			job:    JobFacts{State: JobReleased, Gate: GateCanary, Canaries: 3, Rules: JobRules{Window: office}},
			counts: JobCounts{Paused: 9, Sent: 3, CanariesSent: 3}, now: night,
			want: JobStep{State: JobReleased, Gate: GateOutsideWindow, Until: opening, CanaryOver: true}, look: lookSlow,
		},
		"a canary fails": {
			job: JobFacts{State: JobReleased, Gate: GateCanary, Canaries: 3}, counts: JobCounts{Waiting: 1, Paused: 9, Sent: 1, Uncertain: 1, CanariesSent: 1, CanariesLost: 1},
			want: JobStep{State: JobReleased, Gate: GateCanaryFailed}, look: lookSoon,
		},
		"a canary that failed waits for a person": {
			job: JobFacts{State: JobReleased, Gate: GateCanaryFailed, Canaries: 3}, counts: JobCounts{Paused: 9, Sent: 3, CanariesSent: 3},
			want: JobStep{State: JobReleased, Gate: GateCanaryFailed}, look: lookRare,
		},
		"failures stop it": {
			job:    JobFacts{State: JobReleased, Rules: JobRules{StopAfter: 3, Window: office}},
			counts: JobCounts{Waiting: 9, Failed: 2, Uncertain: 1}, now: night, want: JobStep{State: JobReleased, Gate: GateStopped}, look: lookSoon,
		},
		"fewer failures do not": {
			job: JobFacts{State: JobReleased, Rules: JobRules{StopAfter: 3}}, counts: JobCounts{Waiting: 9, Failed: 2, Canceled: 5},
			want: JobStep{State: JobReleased}, look: lookRule,
		},
		"failures count anew after a person has seen them": {
			job: JobFacts{State: JobReleased, Rules: JobRules{StopAfter: 3}, Forgiven: 3}, counts: JobCounts{Waiting: 9, Failed: 5},
			want: JobStep{State: JobReleased, Forgiven: 3}, look: lookRule,
		},
		"and stop it again": {
			job: JobFacts{State: JobReleased, Rules: JobRules{StopAfter: 3}, Forgiven: 3}, counts: JobCounts{Waiting: 9, Failed: 6},
			want: JobStep{State: JobReleased, Gate: GateStopped, Forgiven: 3}, look: lookSoon,
		},
		"what was retried is not forgiven again": {
			job: JobFacts{State: JobReleased, Rules: JobRules{StopAfter: 3}, Forgiven: 3}, counts: JobCounts{Waiting: 9, Failed: 1},
			want: JobStep{State: JobReleased, Forgiven: 1}, look: lookRule,
		},
	} {
		when := tt.now
		if when.IsZero() {
			when = now
		}
		want := tt.want
		if tt.look > 0 {
			want.Look = when.Add(tt.look)
		}
		if got := tt.job.Next(tt.counts, when); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
		// A step that was taken is followed by none, as long as nothing happens.
		after := tt.job
		after.State, after.Gate, after.Forgiven, after.Warned = want.State, want.Gate, want.Forgiven, after.Warned || want.Warn
		if want.CanaryOver {
			after.Canaries = 0
		}
		counts := tt.counts
		if want.Gate.Lets() == PassNone && want.State == JobReleased {
			counts.Paused, counts.Waiting = counts.Paused+counts.Waiting, 0
		}
		again := after.Next(counts, when)
		if again.State != want.State || again.Gate != want.Gate || again.Forgiven != want.Forgiven || again.Warn || again.CanaryOver {
			t.Errorf("%s: then %+v", name, again)
		}
	}
}
