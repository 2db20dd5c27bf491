package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// NewJob is a send job as it is accepted.
type NewJob struct {
	ID, TenantID, ProfileID string
	Purpose                 string // "one_off" | "batch"
	Detail                  JobDetail
	SendAt                  time.Time // zero: at once
	CreatedBy               string    // API key id
	CreatedAt               time.Time
}

// NewMessage is a composed message as it is accepted.
type NewMessage struct {
	ID         string
	Priority   mail.Priority
	NotBefore  time.Time // zero: at once, by the database's clock
	ExpiresAt  time.Time // given up when still deferred then
	Recipients []mail.Recipient
	Content    *mail.Content
	Detail     MessageDetail
	Document   Document
}

// Submission is a job with its messages and its idempotency record, encoded and ready to be written. Making it is the
// expensive part and happens before the transaction.
type Submission struct {
	TenantID, ProfileID string
	Messages            int
	Priority            mail.Priority
	Record              *IdempotencyRecord

	job  jobRow
	rows []messageRow
}

type jobRow struct {
	id, purpose, detail, createdBy string
	sendAt                         *int64
	createdAt                      int64
}

type messageRow struct {
	id                          string
	priority                    int16
	notBefore, expiresAt        int64
	recipients, content, detail string
	subject, bodyText, bodyHTML string
	externalID                  *string
	createdAt                   int64
	document                    Document
}

// JobID is the id of the job that it makes.
func (s *Submission) JobID() string { return s.job.id }

// NewSubmission encodes a job. record may be nil.
func NewSubmission(job NewJob, messages []NewMessage, record *IdempotencyRecord) (*Submission, error) {
	detail, err := json.Marshal(job.Detail)
	if err != nil {
		return nil, fmt.Errorf("store: job detail: %w", err)
	}
	created := micros(job.CreatedAt)
	s := &Submission{
		TenantID: job.TenantID, ProfileID: job.ProfileID, Messages: len(messages), Record: record,
		Priority: mail.PriorityBatch,
		job:      jobRow{id: job.ID, purpose: job.Purpose, detail: string(detail), createdBy: job.CreatedBy, createdAt: created},
		rows:     make([]messageRow, len(messages)),
	}
	if !job.SendAt.IsZero() {
		at := micros(job.SendAt)
		s.job.sendAt = &at
	}
	for i := range messages {
		m := &messages[i]
		row := &s.rows[i]
		recipients, err1 := json.Marshal(m.Recipients)
		content, err2 := json.Marshal(m.Content)
		detail, err3 := json.Marshal(m.Detail)
		for _, err := range []error{err1, err2, err3} {
			if err != nil {
				return nil, fmt.Errorf("store: message: %w", err)
			}
		}
		*row = messageRow{
			id: m.ID, priority: int16(m.Priority), notBefore: micros(m.NotBefore), expiresAt: micros(m.ExpiresAt), //nolint:gosec // 0 or 1
			recipients: string(recipients), content: string(content), detail: string(detail),
			subject: m.Content.Subject, bodyText: m.Content.Text, bodyHTML: m.Content.HTML,
			createdAt: created, document: m.Document,
		}
		if m.Detail.ExternalID != "" {
			row.externalID = &m.Detail.ExternalID
		}
		s.Priority = min(s.Priority, m.Priority)
	}
	return s, nil
}

// InsertSubmissions writes jobs and messages. Idempotency records are written first, with SaveIdempotency, because a key that
// is taken leaves its submission out.
func (s *Store) InsertSubmissions(ctx context.Context, tx *Tx, subs []*Submission) error {
	if len(subs) == 0 {
		return nil
	}
	if tx.PG != nil {
		return insertSubmissionsPostgres(ctx, tx.PG, subs)
	}
	return s.insertSubmissionsSQLite(ctx, tx, subs)
}

const (
	insertJobsPostgres = `INSERT INTO send_jobs (id, tenant_id, purpose, sender_profile_id, total, detail, send_at, created_by, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::bigint[], $8::text[], $9::bigint[])`
	insertMessagesPostgres = `INSERT INTO messages (id, tenant_id, job_id, profile_id, status, priority, not_before, expires_at, recipients, created_at, updated_at)
SELECT id, tenant, job, profile, 'queued', priority, coalesce(nullif(not_before, 0), ` + nowPostgres + `), expires, recipients, created, created
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[])
AS u (id, tenant, job, profile, priority, not_before, expires, recipients, created)`
	insertContentsPostgres = `INSERT INTO message_contents (message_id, tenant_id, subject, body_text, body_html, content, detail, external_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])`
)

// manyRows is from how many rows on contents go by COPY: it streams them, where a statement's parameters are built in memory
// whole, and costs one round trip more.
const manyRows = 100

func insertSubmissionsPostgres(ctx context.Context, tx pgx.Tx, subs []*Submission) error {
	n := 0
	for _, s := range subs {
		n += len(s.rows)
	}
	jobs := newColumns(len(subs))
	var sendAt []*int64
	var total []int32
	msgs := newColumns(n)
	priority := make([]int16, 0, n)
	var notBefore, expires, created = make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n)
	var contents []contentRow
	jobCreated := make([]int64, 0, len(subs))
	for _, s := range subs {
		jobs.add(s.job.id, s.TenantID, s.job.purpose, s.ProfileID, s.job.detail, s.job.createdBy)
		sendAt, total, jobCreated = append(sendAt, s.job.sendAt), append(total, int32(len(s.rows))), append(jobCreated, s.job.createdAt) //nolint:gosec // at most 10,000
		for i := range s.rows {
			r := &s.rows[i]
			msgs.add(r.id, s.TenantID, s.job.id, s.ProfileID, r.recipients)
			priority, notBefore, expires, created = append(priority, r.priority), append(notBefore, r.notBefore), append(expires, r.expiresAt), append(created, r.createdAt)
			contents = append(contents, contentRow{s.TenantID, r})
		}
	}
	var b pgx.Batch
	b.Queue(insertJobsPostgres, jobs[0], jobs[1], jobs[2], jobs[3], total, jobs[4], sendAt, jobs[5], jobCreated)
	b.Queue(insertMessagesPostgres, msgs[0], msgs[1], msgs[2], msgs[3], priority, notBefore, expires, msgs[4], created)
	if n < manyRows {
		queueContents(&b, contents)
	}
	err := tx.SendBatch(ctx, &b).Close()
	if err == nil && n >= manyRows {
		err = copyContents(ctx, tx, contents)
	}
	if err != nil {
		return fmt.Errorf("store: insert submissions: %w", err)
	}
	return nil
}

type contentRow struct {
	tenantID string
	*messageRow
}

func queueContents(b *pgx.Batch, rows []contentRow) {
	cols := newColumns(len(rows))
	externalIDs := make([]*string, len(rows))
	for i, r := range rows {
		cols.add(r.id, r.tenantID, r.subject, r.bodyText, r.bodyHTML, r.content, r.detail)
		externalIDs[i] = r.externalID
	}
	b.Queue(insertContentsPostgres, cols[0], cols[1], cols[2], cols[3], cols[4], cols[5], cols[6], externalIDs)
}

func copyContents(ctx context.Context, tx pgx.Tx, rows []contentRow) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"message_contents"},
		[]string{"message_id", "tenant_id", "subject", "body_text", "body_html", "content", "detail", "external_id"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := rows[i]
			return []any{r.id, r.tenantID, r.subject, r.bodyText, r.bodyHTML, r.content, r.detail, r.externalID}, nil
		}))
	return err
}

// columns gathers rows of text as the columns that unnest wants.
type columns [8][]string

func newColumns(n int) *columns {
	var c columns
	for i := range c {
		c[i] = make([]string, 0, n)
	}
	return &c
}

func (c *columns) add(values ...string) {
	for i, v := range values {
		c[i] = append(c[i], v)
	}
}

const (
	insertJobSQLite     = `INSERT INTO send_jobs (id, tenant_id, purpose, sender_profile_id, total, detail, send_at, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertMessageSQLite = `INSERT INTO messages (id, tenant_id, job_id, profile_id, status, priority, not_before, expires_at, recipients, created_at, updated_at) VALUES (?, ?, ?, ?, 'queued', ?, coalesce(nullif(?, 0), ` + nowSQLite + `), ?, ?, ?, ?)`
	insertContentSQLite = `INSERT INTO message_contents (message_id, tenant_id, subject, body_text, body_html, content, detail, external_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
)

func (s *Store) insertSubmissionsSQLite(ctx context.Context, tx *Tx, subs []*Submission) error {
	for _, sub := range subs {
		if err := s.exec(ctx, tx, insertJobSQLite, sub.job.id, sub.TenantID, sub.job.purpose, sub.ProfileID, len(sub.rows), sub.job.detail, sub.job.sendAt, sub.job.createdBy, sub.job.createdAt); err != nil {
			return fmt.Errorf("store: insert job: %w", err)
		}
		for i := range sub.rows {
			r := &sub.rows[i]
			if err := s.exec(ctx, tx, insertMessageSQLite, r.id, sub.TenantID, sub.job.id, sub.ProfileID, r.priority, r.notBefore, r.expiresAt, r.recipients, r.createdAt, r.createdAt); err != nil {
				return fmt.Errorf("store: insert message: %w", err)
			}
			if err := s.exec(ctx, tx, insertContentSQLite, r.id, sub.TenantID, r.subject, r.bodyText, r.bodyHTML, r.content, r.detail, r.externalID); err != nil {
				return fmt.Errorf("store: insert content: %w", err)
			}
		}
	}
	return nil
}
