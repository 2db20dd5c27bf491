package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// Gated is the job's state where it differs from that of a job that nobody looks after; nil: it does not.
	Gated *Job
	// There says that the job is there already: only messages are added to it.
	There bool
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
	Paused     bool // the gate of its job does not let it through
}

// Submission is a job with its messages and its idempotency record, encoded and ready to be written. Making it is the
// expensive part and happens before the transaction. It has at least one message.
type Submission struct {
	TenantID, ProfileID string
	Messages            int
	Queued              int // of them: those that may go
	Priority            mail.Priority
	Record              *IdempotencyRecord

	job    jobRow
	rows   []messageRow
	shared []*sharedText // of several rows
	shapes map[textShape]*shapeTexts
	size   int // of all texts
}

type jobRow struct {
	id, purpose, detail, createdBy string
	sendAt                         *int64
	createdAt                      int64
	there                          bool
	gated                          []any // arguments of saveJobSQL; nil: there is nothing to save
}

type messageRow struct {
	id, status                  string
	priority                    int16
	notBefore, expiresAt        int64
	recipients, content, detail string
	subject, bodyText, bodyHTML string
	sharedText                  *string // the id; the two above are then values
	externalID                  *string
	createdAt                   int64
	document                    Document
	override                    bool // of suppressions
}

// JobID is the id of the job that it makes.
func (s *Submission) JobID() string { return s.job.id }

// NewSubmission begins the submission of a job. Messages are added to it, and a Record if there is one.
func NewSubmission(job NewJob) (*Submission, error) {
	detail, err := json.Marshal(job.Detail)
	if err != nil {
		return nil, fmt.Errorf("store: job detail: %w", err)
	}
	s := &Submission{
		TenantID: job.TenantID, ProfileID: job.ProfileID, Priority: mail.PriorityBatch,
		job: jobRow{id: job.ID, purpose: job.Purpose, detail: string(detail), createdBy: job.CreatedBy, createdAt: micros(job.CreatedAt), there: job.There},
	}
	if job.Gated != nil {
		if s.job.gated, err = job.Gated.saved(); err != nil {
			return nil, err
		}
	}
	if !job.SendAt.IsZero() {
		at := micros(job.SendAt)
		s.job.sendAt = &at
	}
	return s, nil
}

// ErrTexts refuses a submission whose messages say too much that no other of them says: more than MaxTexts.
var ErrTexts = errors.New("store: too much text in one submission")

// MaxTexts is how many bytes of text and HTML a submission may have. What several messages say alike counts once.
const MaxTexts = 256 << 20

// Add encodes messages. Their contents are not kept: as many mails as a job may have would not fit into memory. ErrTexts: it was
// one too many.
func (s *Submission) Add(messages ...NewMessage) error {
	s.rows = slices.Grow(s.rows, len(messages))
	for i := range messages {
		if err := s.add(&messages[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Submission) add(m *NewMessage) error {
	recipients, err1 := json.Marshal(m.Recipients)
	content, err2 := json.Marshal(m.Content)
	detail, err3 := json.Marshal(m.Detail)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return fmt.Errorf("store: message: %w", err)
	}
	row := messageRow{
		id: m.ID, status: string(mail.StatusQueued), priority: int16(m.Priority), notBefore: micros(m.NotBefore), expiresAt: micros(m.ExpiresAt), //nolint:gosec // 0 or 1
		recipients: string(recipients), content: string(content), detail: string(detail), subject: m.Content.Subject,
		createdAt: s.job.createdAt, document: m.Document, override: m.Content.OverrideSuppression,
	}
	if m.Paused {
		row.status = string(mail.StatusPaused)
	} else {
		s.Queued++
	}
	if id := m.Detail.ExternalID; id != "" {
		row.externalID = &id // not m's, which would keep all of it
	}
	s.Priority = min(s.Priority, m.Priority)
	s.Messages++
	s.rows = append(s.rows, row)
	s.addTexts(m.Content)
	if s.size > MaxTexts {
		return ErrTexts
	}
	return nil
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
	insertContentsPostgres = `INSERT INTO message_contents (message_id, tenant_id, subject, text, html, content, detail, external_id, shared_text_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])`
	insertSharedTextsPostgres = `INSERT INTO shared_texts (tenant_id, id, job_id, text, html)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])`
)

// manyRows is from how many messages on they go by COPY: it streams them, where a statement's parameters are built in memory
// whole, and costs two round trips more.
const manyRows = 100

// subRow is a message with the submission that it is of.
type subRow struct {
	sub *Submission
	*messageRow
}

func insertSubmissionsPostgres(ctx context.Context, tx pgx.Tx, subs []*Submission) error {
	jobs := newColumns(6, len(subs))
	var rows []subRow
	var sendAt []*int64
	var total []int32
	var created []int64
	many := false
	shared := newColumns(5, 0)
	for _, s := range subs {
		for _, t := range s.shared {
			shared.add(s.TenantID, t.id, s.job.id, t.text, t.html)
		}
		if !s.job.there {
			jobs.add(s.job.id, s.TenantID, s.job.purpose, s.ProfileID, s.job.detail, s.job.createdBy)
			sendAt, total, created = append(sendAt, s.job.sendAt), append(total, int32(len(s.rows))), append(created, s.job.createdAt) //nolint:gosec // at most 10,000
		}
		many = many || s.Queued < s.Messages // only COPY knows another status than queued
		for i := range s.rows {
			rows = append(rows, subRow{s, &s.rows[i]})
		}
	}
	var b pgx.Batch
	many = many || len(rows) >= manyRows
	if len(total) > 0 {
		b.Queue(insertJobsPostgres, jobs[0], jobs[1], jobs[2], jobs[3], total, jobs[4], sendAt, jobs[5], created)
	}
	for _, s := range subs {
		if s.job.gated != nil {
			b.Queue(saveJobSQL, s.job.gated...)
		}
	}
	if len(shared[0]) > 0 {
		b.Queue(insertSharedTextsPostgres, shared[0], shared[1], shared[2], shared[3], shared[4])
	}
	var now int64
	if !many {
		queueMessages(&b, rows)
	} else {
		b.Queue(`SELECT ` + nowPostgres).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	}
	err := tx.SendBatch(ctx, &b).Close()
	if err == nil && many {
		err = copyMessages(ctx, tx, rows, now)
	}
	if err != nil {
		return fmt.Errorf("store: insert submissions: %w", err)
	}
	return nil
}

func queueMessages(b *pgx.Batch, rows []subRow) {
	n := len(rows)
	msgs, contents := newColumns(5, n), newColumns(7, n)
	priority, externalIDs, sharedTexts := make([]int16, n), make([]*string, n), make([]*string, n)
	notBefore, expires, created := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, r := range rows {
		msgs.add(r.id, r.sub.TenantID, r.sub.job.id, r.sub.ProfileID, r.recipients)
		priority[i], notBefore[i], expires[i], created[i] = r.priority, r.notBefore, r.expiresAt, r.createdAt
		contents.add(r.id, r.sub.TenantID, r.subject, r.bodyText, r.bodyHTML, r.content, r.detail)
		externalIDs[i], sharedTexts[i] = r.externalID, r.sharedText
	}
	b.Queue(insertMessagesPostgres, msgs[0], msgs[1], msgs[2], msgs[3], priority, notBefore, expires, msgs[4], created)
	b.Queue(insertContentsPostgres, contents[0], contents[1], contents[2], contents[3], contents[4], contents[5], contents[6], externalIDs, sharedTexts)
}

// copyMessages is queueMessages for many. now is the database's clock: what is to be sent at once is due then.
func copyMessages(ctx context.Context, tx pgx.Tx, rows []subRow, now int64) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"messages"},
		[]string{"id", "tenant_id", "job_id", "profile_id", "status", "priority", "not_before", "expires_at", "recipients", "created_at", "updated_at"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := rows[i]
			due := r.notBefore
			if due == 0 {
				due = now
			}
			return []any{r.id, r.sub.TenantID, r.sub.job.id, r.sub.ProfileID, r.status, r.priority, due, r.expiresAt, r.recipients, r.createdAt, r.createdAt}, nil
		}))
	if err != nil {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"message_contents"},
		[]string{"message_id", "tenant_id", "subject", "text", "html", "content", "detail", "external_id", "shared_text_id"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := rows[i]
			return []any{r.id, r.sub.TenantID, r.subject, r.bodyText, r.bodyHTML, r.content, r.detail, r.externalID, r.sharedText}, nil
		}))
	return err
}

// columns gathers rows of text as the columns that unnest wants.
type columns [][]string

// newColumns has room for n rows.
func newColumns(width, n int) columns {
	c := make(columns, width)
	for i := range c {
		c[i] = make([]string, 0, n)
	}
	return c
}

// add adds a row, a value for each column.
func (c columns) add(values ...string) {
	for i, v := range values {
		c[i] = append(c[i], v)
	}
}

const (
	insertJobSQLite     = `INSERT INTO send_jobs (id, tenant_id, purpose, sender_profile_id, total, detail, send_at, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertMessageSQLite = `INSERT INTO messages (id, tenant_id, job_id, profile_id, status, priority, not_before, expires_at, recipients, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, coalesce(nullif(?, 0), ` + nowSQLite + `), ?, ?, ?, ?)`
	insertContentSQLite = `INSERT INTO message_contents (message_id, tenant_id, subject, text, html, content, detail, external_id, shared_text_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertSharedTextSQL = `INSERT INTO shared_texts (tenant_id, id, job_id, text, html) VALUES (?, ?, ?, ?, ?)`
)

func (s *Store) insertSubmissionsSQLite(ctx context.Context, tx *Tx, subs []*Submission) error {
	for _, sub := range subs {
		if err := s.insertJobSQLite(ctx, tx, sub); err != nil {
			return fmt.Errorf("store: insert job: %w", err)
		}
		for _, t := range sub.shared {
			if _, err := tx.affect(ctx, "", insertSharedTextSQL, sub.TenantID, t.id, sub.job.id, t.text, t.html); err != nil {
				return fmt.Errorf("store: insert shared text: %w", err)
			}
		}
		_, err := s.insertMany(ctx, tx, insertMessageSQLite, len(sub.rows), func(i int) []any {
			r := &sub.rows[i]
			return []any{r.id, sub.TenantID, sub.job.id, sub.ProfileID, r.status, r.priority, r.notBefore, r.expiresAt, r.recipients, r.createdAt, r.createdAt}
		})
		if err != nil {
			return fmt.Errorf("store: insert messages: %w", err)
		}
		_, err = s.insertMany(ctx, tx, insertContentSQLite, len(sub.rows), func(i int) []any {
			r := &sub.rows[i]
			return []any{r.id, sub.TenantID, r.subject, r.bodyText, r.bodyHTML, r.content, r.detail, r.externalID, r.sharedText}
		})
		if err != nil {
			return fmt.Errorf("store: insert contents: %w", err)
		}
	}
	return nil
}

func (s *Store) insertJobSQLite(ctx context.Context, tx *Tx, sub *Submission) error {
	j := &sub.job
	if !j.there {
		if err := s.exec(ctx, tx, insertJobSQLite, j.id, sub.TenantID, j.purpose, sub.ProfileID, len(sub.rows), j.detail, j.sendAt, j.createdBy, j.createdAt); err != nil {
			return err
		}
	}
	if j.gated == nil {
		return nil
	}
	_, err := tx.affect(ctx, "", saveJobSQL, j.gated...)
	return err
}
