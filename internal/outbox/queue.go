package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// queue is River on one of the two databases; they differ in the type of a transaction.
type queue interface {
	start(ctx context.Context) error
	stop(ctx context.Context) error
	// wake inserts wake-ups in the transaction that marked the lanes awake.
	wake(ctx context.Context, tx *store.Tx, wakes []store.Wake) error
	// oldest is when the oldest wake-up that waits for a worker was made, zero when none waits.
	oldest(ctx context.Context) (time.Time, error)
}

// laneArgs is a wake-up for one lane. It carries no work: the lane claims whatever is due when it runs.
type laneArgs struct {
	ProfileID string `json:"profile_id"`
	Lane      int    `json:"lane"`
}

func (laneArgs) Kind() string { return "lane" }

const laneQueue = "lanes"

type laneWorker struct {
	river.WorkerDefaults[laneArgs]
	work func(context.Context, store.Lane)
}

// Work never fails: what goes wrong is in the rows, and the reaper wakes the lane again.
func (w *laneWorker) Work(ctx context.Context, job *river.Job[laneArgs]) error {
	w.work(ctx, store.Lane{ProfileID: job.Args.ProfileID, Number: job.Args.Lane})
	return nil
}

func newQueue(st *store.Store, work func(context.Context, store.Lane), cfg Config) (queue, error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &laneWorker{work: work}); err != nil {
		return nil, err
	}
	rc := &river.Config{
		Workers: workers,
		Queues:  map[string]river.QueueConfig{laneQueue: {MaxWorkers: cfg.Workers}},
		// A lane decides itself how long it runs, and a hand-over may wait ten minutes for its reply.
		JobTimeout: -1,
		// A notification inside the cooldown is dropped and then waits for the poll: both must be short.
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 100 * time.Millisecond,
		// Wake-ups are worth nothing once they ran.
		CompletedJobRetentionPeriod: 10 * time.Minute,
		CancelledJobRetentionPeriod: 10 * time.Minute,
		DiscardedJobRetentionPeriod: time.Hour,
		MaxAttempts:                 1,
		Logger:                      quiet(cfg.Logger),
	}
	if pool := st.Postgres(); pool != nil {
		return newRiver(riverpgxv5.New(pool), rc, func(tx *store.Tx) pgx.Tx { return tx.PG })
	}
	rc.FetchPollInterval = 20 * time.Millisecond
	return newRiver(riversqlite.New(st.SQLite()), rc, func(tx *store.Tx) *sql.Tx { return tx.SQL })
}

// quiet drops River's chatter below warnings: a lane that runs is no news.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(warnings{l.Handler()}) }

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

type riverQueue[T any] struct {
	client *river.Client[T]
	tx     func(*store.Tx) T
}

func newRiver[T any](driver riverdriver.Driver[T], cfg *river.Config, tx func(*store.Tx) T) (*riverQueue[T], error) {
	client, err := river.NewClient(driver, cfg)
	if err != nil {
		return nil, err
	}
	return &riverQueue[T]{client, tx}, nil
}

func (q *riverQueue[T]) start(ctx context.Context) error {
	return q.client.Start(context.WithoutCancel(ctx))
}

// stopGrace is what comes on top of the time given for a stop: to break off what can be broken off, and to write it down.
const stopGrace = 2 * time.Second

func (q *riverQueue[T]) stop(ctx context.Context) error {
	err := q.client.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	// A hand-over that waits for the final reply does not listen, because the mail may be there. It is left to its lease.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if q.client.StopAndCancel(grace) != nil {
		return fmt.Errorf("outbox: hand-overs in flight did not end in time; their outcome will be uncertain: %w", err)
	}
	return fmt.Errorf("outbox: hand-overs in flight were broken off: %w", err)
}

func (q *riverQueue[T]) wake(ctx context.Context, tx *store.Tx, wakes []store.Wake) error {
	if len(wakes) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(wakes))
	for i, w := range wakes {
		priority := 2
		if w.Priority == mail.PriorityOneOff {
			priority = 1
		}
		params[i] = river.InsertManyParams{
			Args:       laneArgs{w.ProfileID, w.Number},
			InsertOpts: &river.InsertOpts{Queue: laneQueue, Priority: priority, MaxAttempts: 1},
		}
	}
	if _, err := q.client.InsertManyFastTx(ctx, q.tx(tx), params); err != nil {
		return fmt.Errorf("outbox: wake: %w", err)
	}
	return nil
}

func (q *riverQueue[T]) oldest(ctx context.Context) (time.Time, error) {
	waiting, err := q.client.JobList(ctx, river.NewJobListParams().Queues(laneQueue).States(rivertype.JobStateAvailable).
		OrderBy(river.JobListOrderByScheduledAt, river.SortOrderAsc).First(1))
	if err != nil {
		return time.Time{}, fmt.Errorf("outbox: oldest wake-up: %w", err)
	}
	if len(waiting.Jobs) == 0 {
		return time.Time{}, nil
	}
	return waiting.Jobs[0].ScheduledAt, nil
}

// migrateLock is the PostgreSQL advisory lock under which River's tables are migrated ("fctriver").
const migrateLock = 0x6663747269766572

func migrateQueue(ctx context.Context, st *store.Store) error {
	if pool := st.Postgres(); pool != nil {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return fmt.Errorf("outbox: migrate: %w", err)
		}
		defer conn.Release()
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrateLock)); err != nil {
			return fmt.Errorf("outbox: migrate: %w", err)
		}
		defer conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(migrateLock)) //nolint:errcheck // the lock ends with the connection at the latest
		return migrateRiver(ctx, riverpgxv5.New(pool))
	}
	return migrateRiver(ctx, riversqlite.New(st.SQLite()))
}

func migrateRiver[T any](ctx context.Context, driver riverdriver.Driver[T]) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("outbox: migrate: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("outbox: migrate: %w", err)
	}
	return nil
}
