package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/oklog/ulid/v2"
)

// DraftMessage is one message of a draft, as it was asked.
type DraftMessage struct {
	ID     string // that the message will have
	Source json.RawMessage
}

// NewIDs makes n ids in ascending order, so that what comes together keeps its order. Those of the next call are above them unless the clock
// was set back.
func NewIDs(prefix string, n int) []string {
	entropy := ulid.Monotonic(rand.Reader, 0)
	ids := make([]string, n)
	for i := range ids {
		id, err := ulid.New(ulid.Now(), entropy)
		if err != nil { // the random part began next to its end
			entropy = ulid.Monotonic(rand.Reader, 0)
			id = ulid.MustNew(ulid.Now(), entropy)
		}
		ids[i] = prefix + "_" + strings.ToLower(id.String())
	}
	return ids
}

// IDTime is when an id was made.
func IDTime(id string) time.Time {
	_, unique, _ := strings.Cut(id, "_")
	u, err := ulid.ParseStrict(strings.ToUpper(unique))
	if err != nil {
		return time.Time{}
	}
	return u.Timestamp().UTC()
}

const (
	insertDraftJobSQL = `INSERT INTO send_jobs (tenant_id, id, total, state, gate, gate_since, gate_until, gate_by, gate_note, closed_since,
	canaries, rules, stop_after, forgiven, version, expires_at, warned, finished_at, due_at, draft, purpose, sender_profile_id, detail, send_at, created_by, created_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, nullif(CAST($24 AS bigint), 0), $25, $26)`
	insertDraftSQLite = `INSERT INTO draft_messages (tenant_id, job_id, id, source) VALUES (?, ?, ?, ?)`
	draftPageSQL      = `SELECT id, source FROM draft_messages WHERE tenant_id = $1 AND job_id = $2 AND id > $3 ORDER BY id LIMIT $4`
	replaceDraftSQL   = `UPDATE draft_messages SET source = $4 WHERE tenant_id = $1 AND job_id = $2 AND id = $3`
	removeDraftSQL    = `DELETE FROM draft_messages WHERE tenant_id = $1 AND job_id = $2 AND id = $3`
	removeDraftsSQL   = `DELETE FROM draft_messages WHERE tenant_id = $1 AND job_id = $2`
)

// InsertDraft writes a draft without messages. It is ErrNotFound when its profile is not there.
func (s *Store) InsertDraft(ctx context.Context, tx *Tx, j *Job) error {
	const query = `SELECT 1 FROM sender_profiles WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`
	var one int
	// The lock holds off a deletion until the draft can be seen by it.
	if err := tx.row(ctx, query+` FOR KEY SHARE`, query, []any{j.TenantID, j.ProfileID}, &one); err != nil {
		return failed("profile of a draft", err)
	}
	args, err := j.saved()
	if err != nil {
		return err
	}
	detail, err := json.Marshal(j.Detail)
	if err != nil {
		return fmt.Errorf("store: job detail: %w", err)
	}
	args = append(args, j.Purpose, j.ProfileID, string(detail), micros(j.SendAt), j.CreatedBy, micros(j.CreatedAt))
	_, err = tx.affect(ctx, insertDraftJobSQL, insertDraftJobSQL, args...)
	return failed("insert draft", err)
}

// AppendDrafts adds messages to a locked draft.
func (s *Store) AppendDrafts(ctx context.Context, tx *Tx, j *Job, drafts []DraftMessage) error {
	var err error
	if tx.PG != nil {
		_, err = tx.PG.CopyFrom(ctx, pgx.Identifier{"draft_messages"}, []string{"tenant_id", "job_id", "id", "source"},
			pgx.CopyFromSlice(len(drafts), func(i int) ([]any, error) {
				return []any{j.TenantID, j.ID, drafts[i].ID, string(drafts[i].Source)}, nil
			}))
	} else {
		_, err = s.insertMany(ctx, tx, insertDraftSQLite, len(drafts), func(i int) []any {
			return []any{j.TenantID, j.ID, drafts[i].ID, string(drafts[i].Source)}
		})
	}
	return failed("append drafts", err)
}

// DraftPage gives at most n messages of a draft above an id, in the order in which they came.
func (s *Store) DraftPage(ctx context.Context, tx *Tx, j *Job, after string, n int) (page []DraftMessage, err error) {
	var id, source string
	err = tx.each(ctx, draftPageSQL, draftPageSQL, []any{j.TenantID, j.ID, after, n}, []any{&id, &source}, func() {
		page = append(page, DraftMessage{id, json.RawMessage(source)})
	})
	return page, failed("read drafts", err)
}

// ReplaceDraft changes a message of a locked draft.
func (s *Store) ReplaceDraft(ctx context.Context, tx *Tx, j *Job, d DraftMessage) error {
	found, err := tx.one(ctx, replaceDraftSQL, replaceDraftSQL, j.TenantID, j.ID, d.ID, string(d.Source))
	if err == nil && !found {
		return ErrNotFound
	}
	return failed("replace draft", err)
}

// RemoveDraft takes a message out of a locked draft.
func (s *Store) RemoveDraft(ctx context.Context, tx *Tx, j *Job, id string) error {
	found, err := tx.one(ctx, removeDraftSQL, removeDraftSQL, j.TenantID, j.ID, id)
	if err == nil && !found {
		return ErrNotFound
	}
	return failed("remove draft", err)
}

// RemoveDrafts takes all of them.
func (s *Store) RemoveDrafts(ctx context.Context, tx *Tx, j *Job) error {
	_, err := tx.affect(ctx, removeDraftsSQL, removeDraftsSQL, j.TenantID, j.ID)
	return failed("remove drafts", err)
}

type draftRow struct{ TenantID, JobID, ID, Source string }

func (draftRow) TableName() string { return "draft_messages" }

func (r *draftRow) draft() (*DraftMessage, error) {
	return &DraftMessage{r.ID, json.RawMessage(r.Source)}, nil
}

// ListDrafts lists the messages of a draft, newest first.
func (s *Store) ListDrafts(ctx context.Context, tenantID, jobID string, p Page) (*List[*DraftMessage], error) {
	q := s.ro.WithContext(ctx).Where("tenant_id = ? AND job_id = ?", tenantID, jobID)
	return list(q, p, "id", func(r *draftRow) string { return r.ID }, (*draftRow).draft)
}

// DraftsAfter gives at most n messages of a draft above an id, in the order in which they came, without keeping anybody from changing them.
func (s *Store) DraftsAfter(ctx context.Context, tenantID, jobID, after string, n int) ([]DraftMessage, error) {
	var rows []draftRow
	err := s.ro.WithContext(ctx).Where("tenant_id = ? AND job_id = ? AND id > ?", tenantID, jobID, after).Order("id").Limit(n).Find(&rows).Error
	page := make([]DraftMessage, len(rows))
	for i := range rows {
		page[i] = DraftMessage{rows[i].ID, json.RawMessage(rows[i].Source)}
	}
	return page, failed("read drafts", err)
}

// Draft gives one message of a draft.
func (s *Store) Draft(ctx context.Context, tenantID, jobID, id string) (*DraftMessage, error) {
	var row draftRow
	err := s.ro.WithContext(ctx).Where("tenant_id = ? AND job_id = ? AND id = ?", tenantID, jobID, id).Take(&row).Error
	if err != nil {
		return nil, failed("draft", err)
	}
	return row.draft()
}
