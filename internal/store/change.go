package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// MessageState is the part of a message that a person's action may change.
type MessageState struct {
	ID, JobID, ProfileID string
	JobState             mail.JobState // change cannot set it
	Status               mail.Status   // as stored: never held
	Phase                mail.Phase
	Claim                string // of the hand-over, while it is on its way or uncertain; change cannot set it
	Priority             mail.Priority
	Attempts             int
	Recipients           []mail.Recipient
	Code                 string
	NotBefore            time.Time // zero in an answer: now, by the database's clock
	ExpiresAt, SentAt    time.Time
}

const (
	stateSQL = `SELECT id, job_id, profile_id, status, phase, coalesce(claim, ''), priority, attempts, recipients, code, not_before, expires_at, coalesce(sent_at, 0)
	FROM messages WHERE tenant_id = $1 AND id = $2`
	changePostgres = `UPDATE messages SET status = $3, phase = '', claim = NULL, recipients = $4, code = $5,
	not_before = coalesce(nullif(CAST($6 AS bigint), 0), ` + nowPostgres + `), expires_at = $7, sent_at = nullif(CAST($8 AS bigint), 0), updated_at = $9 WHERE tenant_id = $1 AND id = $2`
	changeSQLite = `UPDATE messages SET status = $3, phase = '', claim = NULL, recipients = $4, code = $5,
	not_before = coalesce(nullif(CAST($6 AS bigint), 0), ` + nowSQLite + `), expires_at = $7, sent_at = nullif(CAST($8 AS bigint), 0), updated_at = $9 WHERE tenant_id = $1 AND id = $2`
	cancelable   = `(status IN ('queued', 'deferred') OR (status = 'sending' AND phase = 'claimed'))`
	cancelJobSQL = `UPDATE messages SET status = 'canceled', phase = '', claim = NULL, updated_at = $3
	WHERE tenant_id = $1 AND job_id = $2 AND (status = 'paused' OR ` + cancelable + `)`
	jobOfMessage = `SELECT job_id FROM messages WHERE tenant_id = $1 AND id = $2`
)

// ChangeMessage locks a message and its job and lets change decide the message's next state, or refuse with an error. Whoever holds a lease
// on it is fenced off. A message that would be queued or deferred is paused when the gate of its job does not let it through; a job that
// was finished goes on with it.
func (s *Store) ChangeMessage(ctx context.Context, tx *Tx, tenantID, id string, now time.Time, change func(*MessageState) error) error {
	var jobID string
	err := tx.row(ctx, jobOfMessage, jobOfMessage, []any{tenantID, id}, &jobID)
	if noRows(err) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("store: message state: %w", err)
	}
	job, err := tx.lockJob(ctx, tenantID, jobID)
	if err != nil {
		return err
	}
	var m MessageState
	var recipients []byte
	var notBefore, expires, sent int64
	dest := []any{&m.ID, &m.JobID, &m.ProfileID, &m.Status, &m.Phase, &m.Claim, &m.Priority, &m.Attempts, &recipients, &m.Code, &notBefore, &expires, &sent}
	err = tx.row(ctx, stateSQL+` FOR UPDATE`, stateSQL, []any{tenantID, id}, dest...)
	if noRows(err) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("store: message state: %w", err)
	}
	if err := json.Unmarshal(recipients, &m.Recipients); err != nil {
		return fmt.Errorf("store: recipients of %s: %w", id, err)
	}
	m.NotBefore, m.ExpiresAt, m.SentAt, m.JobState = fromMicros(notBefore), fromMicros(expires), fromMicros(sent), job.State
	before := m.Status
	if err := change(&m); err != nil {
		return err
	}
	if m.Status == mail.StatusQueued || m.Status == mail.StatusDeferred {
		if job.Keeps(id) {
			m.Status = mail.StatusPaused
		}
		if err := s.goOn(ctx, tx, job, now); err != nil {
			return err
		}
	}
	recipients, err = json.Marshal(m.Recipients)
	if err != nil {
		return err
	}
	_, err = tx.one(ctx, changePostgres, changeSQLite, tenantID, id, string(m.Status), string(recipients), m.Code,
		micros(m.NotBefore), micros(m.ExpiresAt), micros(m.SentAt), micros(now))
	if err != nil {
		return fmt.Errorf("store: change message: %w", err)
	}
	if m.Status == before {
		return nil
	}
	return s.changeEvent(ctx, tx, tenantID, id, m.Status, m.Code, m.Attempts, now)
}

// Keeps says that the job's gate does not let the message through.
func (j *Job) Keeps(messageID string) bool {
	switch j.Gate.Code.Lets() {
	case mail.PassAll:
		return false
	case mail.PassCanaries:
		return !slices.Contains(j.Canaries, messageID)
	}
	return true
}

// goOn makes a finished job an unfinished one: a message of it is to be sent after all. A canceled job stays so: the message goes by itself.
func (s *Store) goOn(ctx context.Context, tx *Tx, j *Job, now time.Time) error {
	if j.FinishedAt.IsZero() || j.State != mail.JobReleased {
		return nil
	}
	j.FinishedAt, j.DueAt = time.Time{}, now
	return s.SaveJob(ctx, tx, j)
}

// CancelJob cancels every message of the job that was not handed over, and says how many.
func (s *Store) CancelJob(ctx context.Context, tx *Tx, tenantID, jobID string, now time.Time) (int, error) {
	n, err := tx.affect(ctx, cancelJobSQL, cancelJobSQL, tenantID, jobID, micros(now))
	if err != nil {
		return 0, fmt.Errorf("store: cancel job: %w", err)
	}
	return n, nil
}

// list is a parameter that the databases unfold to rows: an array for PostgreSQL, JSON for SQLite.
func (tx *Tx) list(values []string) (any, error) {
	if tx.PG != nil {
		return values, nil
	}
	b, err := json.Marshal(values)
	return string(b), err
}

// HoldProfile stops the profile until a person mends it. It does nothing when the profile was edited since p was read: the
// trouble may be mended already.
func (s *Store) HoldProfile(ctx context.Context, p *mail.Profile, t mail.ProfileTrouble) error {
	if p.Transport == sendGridTransport && t.Code == mail.CodeSenderUnverified {
		if err := s.doubtIdentity(ctx, p); err != nil {
			return err
		}
	}
	const (
		query = `UPDATE sender_profiles SET hold = $4 WHERE tenant_id = $1 AND id = $2 AND version = $3`
		first = query + ` AND hold IS NULL` // of several lanes that meet the same trouble, one tells of it
	)
	held, err := s.setTrouble(ctx, p, t, true, first, first)
	if err == nil && !held {
		_, err = s.setTrouble(ctx, p, t, false, query, query)
	}
	return err
}

// PauseProfile stops the profile for gap. It does nothing when the profile was edited, or paused by another lane, since p
// was read.
func (s *Store) PauseProfile(ctx context.Context, p *mail.Profile, t mail.ProfileTrouble, gap time.Duration) error {
	const (
		before = `UPDATE sender_profiles SET pause = $4, pause_count = $6 + 1, paused_until = $5 + `
		after  = ` WHERE tenant_id = $1 AND id = $2 AND version = $3 AND pause_count = $6`
	)
	_, err := s.setTrouble(ctx, p, t, p.PauseCount+1 == LongPauses, before+nowPostgres+after, before+nowSQLite+after, gap.Microseconds(), p.PauseCount)
	return err
}

// setTrouble writes the trouble, and when it is for a person, the event that tells him.
func (s *Store) setTrouble(ctx context.Context, p *mail.Profile, t mail.ProfileTrouble, tell bool, postgres, sqlite string, args ...any) (set bool, err error) {
	doc, err := json.Marshal(t)
	if err != nil {
		return false, err
	}
	err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		set, err = tx.one(ctx, postgres, sqlite, append([]any{p.TenantID, p.ID, p.Version, string(doc)}, args...)...)
		if err != nil || !set || !tell {
			return err
		}
		return s.AppendEvents(ctx, tx, []Event{troubleEvent(p.TenantID, p.ID, p.Name, t.Code)})
	})
	if err != nil {
		return false, fmt.Errorf("store: profile trouble: %w", err)
	}
	return set, nil
}

// ClearPause forgets the pauses of a profile whose server answers.
func (s *Store) ClearPause(ctx context.Context, p *mail.Profile) error {
	const query = `UPDATE sender_profiles SET pause = NULL, paused_until = 0, pause_count = 0 WHERE tenant_id = $1 AND id = $2 AND pause_count > 0`
	return s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		cleared, err := tx.one(ctx, query, query, p.TenantID, p.ID)
		if err != nil || !cleared || p.PauseCount < LongPauses {
			return err
		}
		return s.AppendEvents(ctx, tx, []Event{troubleEvent(p.TenantID, p.ID, p.Name, "")})
	})
}

// ClearHold lets a profile send again after a good check. One of the transport sendgrid keeps the hold that it must have.
func (s *Store) ClearHold(ctx context.Context, tenantID, profileID string) error {
	return failed("clear hold", s.transaction(ctx, func(tx *gorm.DB) error {
		if err := lockTenant(tx, tenantID); err != nil {
			return err
		}
		old, err := lockProfile(tx, tenantID, profileID, 0, "NO KEY UPDATE")
		if err != nil {
			return err
		}
		var settings profileSettings
		if err := json.Unmarshal([]byte(old.Settings), &settings); err != nil {
			return err
		}
		hold, err := s.gateHold(tx, tenantID, old.Transport, settings.From.Address)
		if err != nil {
			return err
		}
		text, err := holdText(hold)
		if err != nil {
			return err
		}
		err = tx.Model(&profileRow{}).Where("tenant_id = ? AND id = ?", tenantID, profileID).UpdateColumns(map[string]any{
			"hold": text, "pause": nil, "paused_until": 0, "pause_count": 0,
		}).Error
		if err != nil {
			return err
		}
		return s.regarded(tx, old, hold)
	}))
}

// regarded tells what a change of the hold means to a person: that a profile needs one no more, or by now.
func (s *Store) regarded(tx *gorm.DB, old *profileRow, hold *mail.ProfileTrouble) error {
	switch {
	case hold == nil:
		return s.mended(tx, old)
	case old.Hold == nil:
		return s.appendEvents(tx, troubleEvent(old.TenantID, old.ID, old.Name, hold.Code))
	}
	return nil
}

// mended tells that a profile that needed a person, as it was before, needs none any more.
func (s *Store) mended(tx *gorm.DB, old *profileRow) error {
	if old.Hold == nil && old.PauseCount < LongPauses {
		return nil
	}
	return s.appendEvents(tx, troubleEvent(old.TenantID, old.ID, old.Name, ""))
}
