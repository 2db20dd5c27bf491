package outbox_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// What is told of a job has its counts as they are then.
func TestEventsHaveTheCountsOfTheirTime(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			time.Sleep(20 * time.Millisecond) // as a server does
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		if err := h.store.PutNoticeSettings(t.Context(), &store.NoticeSettings{
			TenantID: h.tenant.ID, Addresses: []string{"boss@firm.example"}, Language: "fr", SenderProfileID: h.profile(1).ID, Kinds: []store.NoticeKind{store.NoticeJobFailures},
		}, "key_test"); err != nil {
			t.Fatal(err)
		}
		o := h.engine(far, outbox.Config{})
		manual := h.submitWith(o, h.submission(h.profile(1), outbox.PurposeBatch, 9), mail.JobRules{Manual: true})
		if _, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", manual.JobID); err != nil {
			t.Fatal(err)
		}
		stopped := h.submitWith(o, h.submission(h.profile(1), outbox.PurposeBatch, 300), mail.JobRules{StopAfter: 2})
		h.awaitJob(stopped.JobID, "stopped", func(j *store.Job) bool { return j.Gate.Code == mail.GateStopped })
		told := func(jobID string) map[string]int {
			var data store.EventData
			if err := json.Unmarshal([]byte(value[string](h, `SELECT data FROM events WHERE subject = $1`, jobID)), &data); err != nil {
				t.Fatal(err)
			}
			return data.Counts
		}
		if got := told(manual.JobID); len(got) != 1 || got["canceled"] != 9 {
			t.Errorf("canceled: %v", got)
		}
		if got := told(stopped.JobID); got["queued"] != 0 || got["failed"] < 2 || got["failed"]+got["sending"]+got["paused"] != 300 {
			t.Errorf("stopped: %v", got)
		}
	})
}

// A job whose hours ended while no process ran sends nothing when one starts.
func TestStartOutsideTheWindow(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		accepts, err := outbox.New(h.store, transport.NewRegistry(far), outbox.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { accepts.Stop(context.Background()) }) //nolint:errcheck // it has nothing to end
		open := &mail.Window{Days: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, From: "00:00", To: "24:00", TimeZone: "UTC"}
		var jobs []string
		p := h.profile(4)
		const more = 120 // than are looked at with one query
		for range more {
			jobs = append(jobs, h.submitWith(accepts, h.submission(p, outbox.PurposeBatch, 2), mail.JobRules{Window: open}).JobID)
		}
		later := time.Now().UTC().Add(48 * time.Hour)
		day := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}[later.Weekday()]
		for _, id := range jobs {
			err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				j, err := h.store.LockJob(ctx, tx, h.tenant.ID, id)
				if err != nil {
					return err
				}
				j.Rules.Window, j.DueAt = &mail.Window{Days: []string{day}, From: "00:00", To: "24:00", TimeZone: "UTC"}, store.Now()
				return h.store.SaveJob(ctx, tx, j)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		h.engine(far, outbox.Config{})
		for _, id := range jobs {
			h.awaitJob(id, "outside its window", func(j *store.Job) bool {
				return j.Gate.Code == mail.GateOutsideWindow && j.Counts[mail.StatusPaused] > 0
			})
		}
		if far.total() != 0 {
			t.Errorf("%d were sent outside the window", far.total())
		}
	})
}
