package store

import (
	"context"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// The messages of a job whose gate does not let them through are paused: no claim sees them, so that what sends knows nothing of gates.

const (
	pauseSQL   = `UPDATE messages SET status = 'paused', phase = '', claim = NULL, updated_at = $3 WHERE tenant_id = $1 AND job_id = $2 AND `
	waitingNow = `status IN ('queued', 'deferred')`

	passSQL = `UPDATE messages SET status = CASE WHEN attempts > 0 THEN 'deferred' ELSE 'queued' END, expires_at = expires_at + $4, updated_at = $3
	WHERE tenant_id = $1 AND job_id = $2 AND status = 'paused'`
	passSomePostgres = passSQL + ` AND id = ANY($5)`
	passSomeSQLite   = passSQL + ` AND id IN (SELECT value FROM json_each($5))`

	stragglersSQL = `UPDATE messages SET status = 'canceled', updated_at = $3 WHERE tenant_id = $1 AND job_id = $2 AND status IN ('deferred', 'paused')`
)

// PauseMessages has every message of a locked job wait that was not handed over, and says how many. When it is committed nothing new of
// the job is handed over by any process: the mark of a message that was claimed is fenced off. What was marked keeps its course.
func (s *Store) PauseMessages(ctx context.Context, tx *Tx, j *Job, now time.Time) (int, error) {
	total := 0
	// Those that lanes work on come last, so that the lanes, and their neighbours in the journal, wait for a moment only.
	for _, which := range []string{waitingNow, cancelable} {
		n, err := tx.affect(ctx, pauseSQL+which, pauseSQL+which, j.TenantID, j.ID, micros(now))
		if err != nil {
			return 0, fmt.Errorf("store: pause messages: %w", err)
		}
		total += n
	}
	return total, nil
}

// PassMessages lets the paused messages of a locked job go, all of them or its canaries, and says how many. The time for which they were
// kept does not count as waiting.
func (s *Store) PassMessages(ctx context.Context, tx *Tx, j *Job, which mail.Passage, kept time.Duration, now time.Time) (n int, err error) {
	args := []any{j.TenantID, j.ID, micros(now), kept.Microseconds()}
	postgres, sqlite := passSQL, passSQL
	if which == mail.PassCanaries {
		ids, err := tx.list(j.Canaries)
		if err != nil {
			return 0, err
		}
		args, postgres, sqlite = append(args, ids), passSomePostgres, passSomeSQLite
	}
	if n, err = tx.affect(ctx, postgres, sqlite, args...); err != nil {
		return 0, fmt.Errorf("store: pass messages: %w", err)
	}
	return n, nil
}

// CancelStragglers cancels what came back to the queue of a locked job that was canceled, and what an expired one had.
func (s *Store) CancelStragglers(ctx context.Context, tx *Tx, j *Job, now time.Time) error {
	_, err := tx.affect(ctx, stragglersSQL, stragglersSQL, j.TenantID, j.ID, micros(now))
	if err != nil {
		return fmt.Errorf("store: cancel stragglers: %w", err)
	}
	return nil
}

// JobID names a job.
type JobID struct{ TenantID, ID string }

const (
	dueJobsSQL     = `SELECT tenant_id, id FROM send_jobs WHERE due_at > 0 AND due_at <= $1 ORDER BY due_at LIMIT 100`
	restedPostgres = `SELECT tenant_id, id FROM send_jobs WHERE due_at > 0 AND sender_profile_id = ANY($1) AND state <> 'draft' AND gate IN ('', 'canary')`
	restedSQLite   = `SELECT tenant_id, id FROM send_jobs WHERE due_at > 0 AND sender_profile_id IN (SELECT value FROM json_each($1)) AND state <> 'draft' AND gate IN ('', 'canary')`
	// Of messages that were not sent: the jobs that want to know.
	concernedPostgres = `SELECT DISTINCT j.tenant_id, j.id FROM unnest($1::text[], $2::text[]) AS v (tenant_id, id)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id JOIN send_jobs j ON j.tenant_id = m.tenant_id AND j.id = m.job_id WHERE ` + concerned
	concernedSQLite = `SELECT DISTINCT j.tenant_id, j.id FROM json_each($1) AS a JOIN json_each($2) AS b ON a.key = b.key
	CROSS JOIN messages m ON m.tenant_id = a.value AND m.id = b.value CROSS JOIN send_jobs j ON j.tenant_id = m.tenant_id AND j.id = m.job_id WHERE ` + concerned
	concerned = `j.due_at > 0 AND (j.stop_after > 0 OR j.canaries <> '' OR j.gate <> '' OR j.state <> 'released')`
)

// DueJobs lists at most 100 jobs that are to be looked at by now, the longest due first.
func (s *Store) DueJobs(ctx context.Context, now time.Time) ([]JobID, error) {
	return s.jobIDs(ctx, dueJobsSQL, dueJobsSQL, func(*Tx) ([]any, error) { return []any{micros(now)}, nil })
}

// RestedJobs lists the jobs that may have come to their end, because lanes of their profiles found nothing to send.
func (s *Store) RestedJobs(ctx context.Context, profiles []string) ([]JobID, error) {
	return s.jobIDs(ctx, restedPostgres, restedSQLite, func(tx *Tx) ([]any, error) {
		list, err := tx.list(profiles)
		return []any{list}, err
	})
}

// ConcernedJobs lists the jobs to which it matters that the messages were not sent.
func (s *Store) ConcernedJobs(ctx context.Context, unsent []Mark) ([]JobID, error) {
	return s.jobIDs(ctx, concernedPostgres, concernedSQLite, func(tx *Tx) ([]any, error) {
		tenants, ids := make([]string, len(unsent)), make([]string, len(unsent))
		for i, m := range unsent {
			tenants[i], ids[i] = m.TenantID, m.MessageID
		}
		a, err := tx.list(tenants)
		if err != nil {
			return nil, err
		}
		b, err := tx.list(ids)
		return []any{a, b}, err
	})
}

// jobIDs reads outside of a transaction of the one writer.
func (s *Store) jobIDs(ctx context.Context, postgres, sqlite string, args func(*Tx) ([]any, error)) (ids []JobID, err error) {
	var id JobID
	add := func() { ids = append(ids, id) }
	dest := []any{&id.TenantID, &id.ID}
	read := func(tx *Tx) error {
		list, err := args(tx)
		if err != nil {
			return err
		}
		return tx.each(ctx, postgres, sqlite, list, dest, add)
	}
	if s.pg != nil {
		err = s.Write(ctx, func(_ context.Context, tx *Tx) error { ids = nil; return read(tx) })
	} else {
		tx, begin := s.liteRead.BeginTx(ctx, nil)
		if begin != nil {
			return nil, fmt.Errorf("store: jobs: %w", begin)
		}
		defer tx.Rollback() //nolint:errcheck // it only reads
		err = read(&Tx{SQL: tx})
	}
	return ids, failed("jobs", err)
}
