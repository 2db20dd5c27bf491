package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// Mark asks to record that a message is about to be handed over. It also names a claim: two workers may both believe to have
// a message, but not with the same token.
type Mark struct {
	TenantID, MessageID, Token string
}

// Settled is the outcome of a claim, to be recorded.
type Settled struct {
	MessageID, TenantID, Token string
	Attempts                   int // counted before
	mail.Settlement
	// Attempt is recorded when the settlement is burnt.
	Attempt AttemptDetail
	Outcome mail.Outcome
	Started time.Time
	Ended   time.Time
	// Watch has the message looked up when it becomes uncertain; nil: nobody can.
	Watch *Watch
	// Gone are addresses that the far end said are none. They are suppressed.
	Gone []mail.RecipientVerdict
}

// Claim names the claim that it is the outcome of.
func (o *Settled) Claim() Mark { return Mark{o.TenantID, o.MessageID, o.Token} }

// Journaled says which entries of a flush took effect. An entry that did not was fenced off: its message was canceled,
// settled by somebody else, or is on another lease.
type Journaled struct {
	Marked, Settled map[Mark]bool
}

const (
	// An outcome may still reach a message that was declared uncertain, as long as its claim stands: it comes from the
	// process that made the hand-over, so it is proof. It is about an attempt that was counted and recorded already, and takes
	// the place of that record; so does an entry that is written twice because the answer to its commit was lost.
	// The wait until the next attempt counts from now by the database's clock.
	settlePostgres = `UPDATE messages m SET status = v.status, phase = '', code = v.code, recipients = v.recipients,
		not_before = CASE WHEN v.not_before > 0 THEN ` + nowPostgres + ` + v.not_before - v.finished ELSE m.not_before END,
		attempts = m.attempts + (v.attempt IS NOT NULL AND m.status = 'sending')::int, attempt = coalesce(v.attempt, m.attempt),
		claim = CASE WHEN v.status = 'uncertain' THEN m.claim END,
		sent_at = CASE WHEN v.status = 'sent' THEN v.finished END, updated_at = v.finished
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[])
	WITH ORDINALITY AS v (tenant_id, id, token, status, recipients, code, attempt, not_before, finished, n)
	WHERE m.tenant_id = v.tenant_id AND m.id = v.id AND m.claim = v.token AND m.status IN ('sending', 'uncertain')
	RETURNING v.n`
	// The record of the attempt before makes room for the one that is about to be written.
	keepAttemptPostgres = `INSERT INTO attempts (tenant_id, message_id, n, attempt)
	SELECT m.tenant_id, m.id, m.attempts, m.attempt FROM unnest($1::text[], $2::text[], $3::text[]) AS v (tenant_id, id, token)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id WHERE m.claim = v.token AND m.status = 'sending' AND m.attempts > 0
	ON CONFLICT DO NOTHING`
	// A message that is claimed is sending. Saying so too would have PostgreSQL look through all that are sending.
	markPostgres = `UPDATE messages m SET phase = 'committing' FROM unnest($1::text[], $2::text[], $3::text[])
	WITH ORDINALITY AS v (tenant_id, id, token, n)
	WHERE m.tenant_id = v.tenant_id AND m.id = v.id AND m.claim = v.token AND m.phase = 'claimed' RETURNING v.n`
	endClaimsPostgres = `DELETE FROM claims WHERE token = ANY($1)`

	settleSQLite = `UPDATE messages SET status = $4, phase = '', code = $6, recipients = $5,
	not_before = CASE WHEN $8 > 0 THEN ` + nowSQLite + ` + $8 - $9 ELSE not_before END,
	attempts = attempts + ($7 IS NOT NULL AND status = 'sending'), attempt = coalesce($7, attempt),
	claim = CASE WHEN $4 = 'uncertain' THEN claim END,
	sent_at = CASE WHEN $4 = 'sent' THEN $9 END, updated_at = $9
	WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND status IN ('sending', 'uncertain')`
	keepAttemptSQLite = `INSERT INTO attempts (tenant_id, message_id, n, attempt)
	SELECT tenant_id, id, attempts, attempt FROM messages WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND status = 'sending' AND attempts > 0
	ON CONFLICT DO NOTHING`
	markSQLite     = `UPDATE messages SET phase = 'committing' WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND phase = 'claimed'`
	endClaimSQLite = `DELETE FROM claims WHERE token = $1`
)

// Journal writes outcomes and marks in one commit, and ends claims (by their tokens) of which every message has an outcome by
// then. A nil error means that they are on disk.
func (s *Store) Journal(ctx context.Context, marks []Mark, settled []Settled, ended []string) (Journaled, error) {
	j := Journaled{Marked: make(map[Mark]bool, len(marks)), Settled: make(map[Mark]bool, len(settled))}
	outcomes, err := encodeOutcomes(settled)
	if err != nil {
		return Journaled{}, fmt.Errorf("store: journal: %w", err)
	}
	events, err := s.outcomeEvents(ctx, settled)
	if err != nil {
		return Journaled{}, fmt.Errorf("store: journal: %w", err)
	}
	if s.pg != nil {
		err = again(ctx, func() error {
			clear(j.Marked)
			clear(j.Settled)
			return s.journalPostgres(ctx, marks, outcomes, events, ended, &j)
		})
	} else {
		err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
			clear(j.Marked)
			clear(j.Settled)
			return s.journalSQLite(ctx, tx, marks, outcomes, events, ended, &j)
		})
	}
	if err != nil {
		return Journaled{}, fmt.Errorf("store: journal: %w", err)
	}
	for i := range settled {
		if len(settled[i].Gone) > 0 {
			s.suppressing.forget(settled[i].TenantID)
		}
	}
	return j, nil
}

// journalPostgres sends the statements in one pipeline with one sync, which PostgreSQL runs as one transaction: one round
// trip, commit included.
func (s *Store) journalPostgres(ctx context.Context, marks []Mark, outcomes []outcome, events []outcomeEvent, ended []string, j *Journaled) error {
	var b pgx.Batch
	if n := len(outcomes); n > 0 {
		cols, before := newColumns(6, n), newColumns(3, 0)
		notBefore, finished := make([]int64, n), make([]int64, n)
		attempts := make([]*string, n)
		for i := range outcomes {
			o := &outcomes[i]
			cols.add(o.TenantID, o.MessageID, o.Token, string(o.Status), o.recipients, o.Code)
			attempts[i], notBefore[i], finished[i] = o.attempt, micros(o.NotBefore), micros(o.Ended)
			if o.keepsEarlier() {
				before.add(o.TenantID, o.MessageID, o.Token)
			}
		}
		if len(before[0]) > 0 {
			b.Queue(keepAttemptPostgres, before[0], before[1], before[2])
		}
		outcomeEventsInPostgres(&b, events)
		b.Queue(settlePostgres, cols[0], cols[1], cols[2], cols[3], cols[4], cols[5], attempts, notBefore, finished).Query(collect(j.Settled, func(i int) Mark { return outcomes[i].Claim() }))
		watchesPostgres(&b, outcomes)
	}
	if n := len(marks); n > 0 {
		cols := newColumns(3, n)
		for _, m := range marks {
			cols.add(m.TenantID, m.MessageID, m.Token)
		}
		b.Queue(markPostgres, cols[0], cols[1], cols[2]).Query(collect(j.Marked, func(i int) Mark { return marks[i] }))
	}
	if gone := suppressGone(outcomes); len(gone) > 0 {
		c, created := suppressionColumns(gone)
		b.Queue(suppressPostgres, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], created)
	}
	if len(ended) > 0 {
		b.Queue(endClaimsPostgres, ended)
	}
	return s.pg.SendBatch(ctx, &b).Close()
}

// collect reads the ordinals, from 1, of the entries that took effect.
func collect(into map[Mark]bool, entry func(i int) Mark) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var n int
		_, err := pgx.ForEachRow(rows, []any{&n}, func() error {
			into[entry(n-1)] = true
			return nil
		})
		return err
	}
}

func (s *Store) journalSQLite(ctx context.Context, tx *Tx, marks []Mark, outcomes []outcome, events []outcomeEvent, ended []string, j *Journaled) error {
	if err := s.outcomeEventsInSQLite(ctx, tx, events); err != nil {
		return err
	}
	for i := range outcomes {
		o := &outcomes[i]
		if o.keepsEarlier() {
			if err := s.exec(ctx, tx, keepAttemptSQLite, o.TenantID, o.MessageID, o.Token); err != nil {
				return err
			}
		}
		found, err := s.execOne(ctx, tx, settleSQLite, o.TenantID, o.MessageID, o.Token, string(o.Status), o.recipients, o.Code, o.attempt, micros(o.NotBefore), micros(o.Ended))
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		j.Settled[o.Claim()] = true
		if o.watched() {
			if err := watchInSQLite(ctx, tx, o.Settled); err != nil {
				return err
			}
		}
	}
	if gone := suppressGone(outcomes); len(gone) > 0 {
		if _, err := s.suppress(ctx, tx, gone); err != nil {
			return err
		}
	}
	for _, m := range marks {
		found, err := s.execOne(ctx, tx, markSQLite, m.TenantID, m.MessageID, m.Token)
		if err != nil {
			return err
		}
		if found {
			j.Marked[m] = true
		}
	}
	for _, token := range ended {
		if err := s.exec(ctx, tx, endClaimSQLite, token); err != nil {
			return err
		}
	}
	return nil
}

// keepsEarlier says that there is an attempt before the one that is to be recorded.
func (o *Settled) keepsEarlier() bool { return o.Burnt && o.Attempts > 0 }

// outcome is a Settled with its JSON.
type outcome struct {
	*Settled
	recipients string
	attempt    *string // nil when none is to be recorded
}

func encodeOutcomes(settled []Settled) ([]outcome, error) {
	outcomes := make([]outcome, len(settled))
	for i := range settled {
		o := &settled[i]
		recipients, err := json.Marshal(o.Recipients)
		if err != nil {
			return nil, err
		}
		outcomes[i] = outcome{o, string(recipients), nil}
		if !o.Burnt {
			continue
		}
		attempt, err := json.Marshal(attemptRecord{micros(o.Started), micros(o.Ended), o.Outcome, o.Attempt})
		if err != nil {
			return nil, err
		}
		doc := string(attempt)
		outcomes[i].attempt = &doc
	}
	return outcomes, nil
}

// attemptRecord is an attempt as it is stored.
type attemptRecord struct {
	Started  int64         `json:"started"`
	Finished int64         `json:"finished"`
	Outcome  mail.Outcome  `json:"outcome"`
	Detail   AttemptDetail `json:"detail"`
}
