package outbox_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// Several people pull at one job in two processes while it is sent. Whatever they do, nothing goes out twice, the counts agree with the far end,
// and when they let it go it comes to its end.
func TestManyHandsOnOneJob(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var answers atomic.Int64
		far.answer = func(*mail.Rendered) mail.Verdict {
			switch n := answers.Add(1); {
			case n%16 == 0: // seldom, or the breaker pauses the profile
				return mail.Verdict{}
			case n%4 == 1:
				return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		engines := []*outbox.Outbox{h.engine(far, outbox.Config{}), h.engine(far, outbox.Config{})}
		const n, hands, acts = 400, 4, 40
		r := h.submitWith(engines[0], h.submission(h.profile(6), outbox.PurposeBatch, n), mail.JobRules{Manual: true, Canary: 3, StopAfter: 20})
		ctx, tenant, who := t.Context(), h.tenant.ID, "key_test"
		one := func() string { return r.Messages[rand.IntN(n)].ID } //nolint:gosec // a test
		release := func(o *outbox.Outbox) error {
			_, err := o.Release(ctx, tenant, who, r.JobID, nil, nil)
			return err
		}
		retryFailed := func(o *outbox.Outbox) error {
			_, err := o.RetryFailed(ctx, tenant, who, r.JobID, nil)
			return err
		}
		can := []func(o *outbox.Outbox) error{
			release, retryFailed,
			func(o *outbox.Outbox) error { return o.PauseJob(ctx, tenant, who, r.JobID, "") },
			func(o *outbox.Outbox) error { return o.ResumeJob(ctx, tenant, who, r.JobID, "") },
			func(o *outbox.Outbox) error { return o.ResumeJob(ctx, tenant, who, r.JobID, "") },
			func(o *outbox.Outbox) error { return o.Cancel(ctx, tenant, who, one()) },
			func(o *outbox.Outbox) error { return o.Retry(ctx, tenant, who, one()) },
			func(o *outbox.Outbox) error { return o.Resolve(ctx, tenant, who, one(), outbox.ResolveResend, "") },
			func(o *outbox.Outbox) error {
				return o.ResolveJob(ctx, tenant, who, r.JobID, outbox.ResolveResend, "", func(*outbox.JobResolution) (*store.IdempotencyRecord, error) { return nil, nil })
			},
		}
		var wg sync.WaitGroup
		for range hands {
			wg.Go(func() {
				for range acts {
					err := can[rand.IntN(len(can))](engines[rand.IntN(2)]) //nolint:gosec // a test
					var job *outbox.JobStateError
					var message *outbox.StateError
					if err != nil && !errors.As(err, &job) && !errors.As(err, &message) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := release(engines[0]); err != nil {
			t.Fatal(err)
		}
		j := h.awaitJob(r.JobID, "at its end", func(j *store.Job) bool {
			if j.Gate.Code.WaitsForPerson() {
				if err := engines[1].ResumeJob(context.Background(), tenant, who, r.JobID, ""); err != nil {
					t.Error(err)
				}
			}
			return !j.FinishedAt.IsZero()
		})
		c := j.Counts
		if c[mail.StatusSent]+c[mail.StatusFailed]+c[mail.StatusUncertain]+c[mail.StatusCanceled] != n || far.total() != c[mail.StatusSent] || far.duplicates() != 0 {
			t.Errorf("counts %v; the far end has %d, %d twice", c, far.total(), far.duplicates())
		}
	})
}
