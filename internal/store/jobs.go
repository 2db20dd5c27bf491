package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// Job is a send job as it is read.
type Job struct {
	ID, TenantID, ProfileID string
	Purpose                 string // "one_off" | "batch"
	Total                   int
	Detail                  JobDetail
	SendAt                  time.Time // zero: at once
	CreatedBy               string    // API key id
	CreatedAt               time.Time

	State       mail.JobState
	Gate        JobGate
	ClosedSince time.Time // since when not all of its messages may go; zero: they may
	Rules       mail.JobRules
	Canaries    []string // ids of the messages whose outcome is awaited before the others go
	Forgiven    int      // failures that a person has seen when it went on
	Version     int64    // counts the changes of the job itself, not those of its messages
	ExpiresAt   time.Time
	Warned      bool // of its expiry
	FinishedAt  time.Time
	DueAt       time.Time       // when to look after it; zero: never
	Draft       json.RawMessage // what the caller asked for all messages, while it is a draft

	// Counts and Partial are filled by Store.Job and Store.LockJob, Pace by Store.Job alone.
	Counts  map[mail.Status]int // of its messages by status as Message.Status has it; statuses with none are absent
	Partial int                 // of those sent: how many were refused for some of their recipients
	Pace    Pace
}

// JobGate is why messages of a job wait, and since when.
type JobGate struct {
	Code         mail.Gate
	Since, Until time.Time // Until: when it opens by the clock; zero: not so
	By, Note     string    // the API key of the person who closed it, and what he said
}

// JobDetail is what the caller asked for the job as a whole.
type JobDetail struct {
	ExternalID   string            `json:"external_id,omitempty"`
	Name         string            `json:"name,omitempty"`
	Tags         []string          `json:"tags,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	TemplateID   string            `json:"template_id,omitempty"`
	SenderLevel  mail.Level        `json:"sender_level,omitempty"`
	SenderReason string            `json:"sender_reason,omitempty"`
}

// JobFilter selects jobs; zero fields select everything.
type JobFilter struct {
	Purpose, ProfileID          string
	State                       mail.JobState
	CreatedAfter, CreatedBefore time.Time // after is included, before is not
}

// Facts is what the job's next state depends on.
func (j *Job) Facts() mail.JobFacts {
	return mail.JobFacts{
		State: j.State, Gate: j.Gate.Code, Rules: j.Rules, Canaries: len(j.Canaries), Forgiven: j.Forgiven, ExpiresAt: j.ExpiresAt, Warned: j.Warned,
	}
}

type jobReadRow struct {
	ID, TenantID, Purpose, SenderProfileID string
	Total                                  int
	Detail                                 string
	SendAt                                 *int64
	CreatedBy                              string
	CreatedAt                              int64 `gorm:"autoCreateTime:false"`

	State, Gate          string
	GateSince, GateUntil int64
	GateBy, GateNote     string
	ClosedSince          int64
	Canaries, Rules      string
	Forgiven             int
	Version              int64
	ExpiresAt            int64
	Warned               bool
	FinishedAt, DueAt    int64
	Draft                string
}

func (jobReadRow) TableName() string { return "send_jobs" }

const jobColumns = `id, tenant_id, purpose, sender_profile_id, total, detail, send_at, created_by, created_at,
	state, gate, gate_since, gate_until, gate_by, gate_note, closed_since, canaries, rules, forgiven, version, expires_at, warned, finished_at, due_at, draft`

// columns are the fields in the order of jobColumns.
func (r *jobReadRow) columns() []any {
	return []any{
		&r.ID, &r.TenantID, &r.Purpose, &r.SenderProfileID, &r.Total, &r.Detail, &r.SendAt, &r.CreatedBy, &r.CreatedAt,
		&r.State, &r.Gate, &r.GateSince, &r.GateUntil, &r.GateBy, &r.GateNote, &r.ClosedSince, &r.Canaries, &r.Rules, &r.Forgiven, &r.Version,
		&r.ExpiresAt, &r.Warned, &r.FinishedAt, &r.DueAt, &r.Draft,
	}
}

func (r *jobReadRow) job() (*Job, error) {
	j := &Job{
		ID: r.ID, TenantID: r.TenantID, ProfileID: r.SenderProfileID, Purpose: r.Purpose, Total: r.Total, SendAt: fromOptional(r.SendAt),
		CreatedBy: r.CreatedBy, CreatedAt: fromMicros(r.CreatedAt),
		State: mail.JobState(r.State), ClosedSince: fromMicros(r.ClosedSince), Forgiven: r.Forgiven, Version: r.Version,
		Gate:      JobGate{Code: mail.Gate(r.Gate), Since: fromMicros(r.GateSince), Until: fromMicros(r.GateUntil), By: r.GateBy, Note: r.GateNote},
		ExpiresAt: fromMicros(r.ExpiresAt), Warned: r.Warned, FinishedAt: fromMicros(r.FinishedAt), DueAt: fromMicros(r.DueAt),
	}
	if r.Draft != "" {
		j.Draft = json.RawMessage(r.Draft)
	}
	for _, part := range []struct {
		doc  string
		into any
	}{{r.Detail, &j.Detail}, {r.Rules, &j.Rules}, {r.Canaries, &j.Canaries}} {
		if part.doc == "" {
			continue
		}
		if err := json.Unmarshal([]byte(part.doc), part.into); err != nil {
			return nil, fmt.Errorf("store: job %s: %w", r.ID, err)
		}
	}
	return j, nil
}

const (
	countMessages = countByStatus + ofJob
	countWithPace = countByStatus + `,
	sum(CASE WHEN m.sent_at >= $3 THEN 1 ELSE 0 END) AS recent, min(CASE WHEN m.sent_at >= $3 THEN m.sent_at END) AS since,
	max(p.per_hour) AS per_hour, max(p.per_day) AS per_day` + ofJob
	countByStatus = `SELECT CASE WHEN ` + isHeld + ` THEN 'held' ELSE m.status END AS status, count(*) AS n,
	sum(CASE WHEN m.status = 'sent' AND m.code = '` + mail.CodePartlyRefused + `' THEN 1 ELSE 0 END) AS partial`
	ofJob = `
FROM messages m JOIN sender_profiles p ON p.id = m.profile_id
WHERE m.tenant_id = $1 AND m.job_id = $2 GROUP BY 1`
)

// Job gives a job with the counts of its messages.
func (s *Store) Job(ctx context.Context, tenantID, id string) (*Job, error) {
	var row jobReadRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND id = ?", tenantID, id).Take(&row).Error; err != nil {
		return nil, failed("job", err)
	}
	j, err := row.job()
	if err != nil {
		return nil, err
	}
	var counts []struct {
		Status             mail.Status
		N, Partial, Recent int
		Since              *int64
		PerHour, PerDay    int
	}
	j.Pace.At = Now()
	if err := s.ro.WithContext(ctx).Raw(countWithPace, tenantID, id, micros(j.Pace.At.Add(-paceWindow))).Scan(&counts).Error; err != nil {
		return nil, failed("count messages", err)
	}
	j.Counts = make(map[mail.Status]int, len(counts))
	for _, c := range counts {
		j.count(c.Status, c.N, c.Partial)
		j.Pace.add(c.Recent, fromOptional(c.Since), mail.Limits{PerHour: c.PerHour, PerDay: c.PerDay})
	}
	j.countDrafts()
	return j, nil
}

func (j *Job) count(status mail.Status, n, partial int) {
	j.Counts[status] += n
	j.Partial += partial
}

// countDrafts counts what has never become a message.
func (j *Job) countDrafts() {
	if len(j.Counts) > 0 || j.Total == 0 {
		return
	}
	switch j.State {
	case mail.JobDraft:
		j.Counts[mail.StatusDraft] = j.Total
	case mail.JobCanceled, mail.JobExpired:
		j.Counts[mail.StatusCanceled] = j.Total
	}
}

// ListJobs lists a tenant's jobs, newest first, without counts: they would read every message of every job.
func (s *Store) ListJobs(ctx context.Context, tenantID string, f JobFilter, p Page) (*List[*Job], error) {
	q := s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID)
	q = where(q, "purpose", f.Purpose)
	q = where(q, "sender_profile_id", f.ProfileID)
	q = where(q, "state", string(f.State))
	q = created(q, "created_at", f.CreatedAfter, f.CreatedBefore)
	return list(q, p, "id", func(r *jobReadRow) string { return r.ID }, (*jobReadRow).job)
}

func where(q *gorm.DB, column, value string) *gorm.DB {
	if value == "" {
		return q
	}
	return q.Where(column+" = ?", value)
}

const (
	// Not the strongest lock: what only refers to the job, as a message does that is being written, need not wait.
	lockJobSQL = `SELECT ` + jobColumns + ` FROM send_jobs WHERE tenant_id = $1 AND id = $2`
	saveJobSQL = `UPDATE send_jobs SET total = $3, state = $4, gate = $5, gate_since = $6, gate_until = $7, gate_by = $8, gate_note = $9, closed_since = $10,
	canaries = $11, rules = $12, stop_after = $13, forgiven = $14, version = $15, expires_at = $16, warned = $17, finished_at = $18, due_at = $19, draft = $20
	WHERE tenant_id = $1 AND id = $2`
	canariesPostgres = `SELECT status, count(*) FROM messages WHERE tenant_id = $1 AND id = ANY($2) GROUP BY 1`
	canariesSQLite   = `SELECT status, count(*) FROM messages WHERE tenant_id = $1 AND id IN (SELECT value FROM json_each($2)) GROUP BY 1`
)

// LockJob reads a job with its counts and locks it until the transaction ends. Whoever changes a job, or brings messages of it back to
// the queue, locks it first and its messages after.
func (s *Store) LockJob(ctx context.Context, tx *Tx, tenantID, id string) (*Job, error) {
	j, err := tx.lockJob(ctx, tenantID, id)
	if err != nil {
		return nil, err
	}
	return j, s.CountJob(ctx, tx, j)
}

// CountJob counts the messages of a job, as the transaction sees them.
func (s *Store) CountJob(ctx context.Context, tx *Tx, j *Job) error {
	j.Counts, j.Partial = map[mail.Status]int{}, 0
	var status mail.Status
	var n, partial int
	err := tx.each(ctx, countMessages, countMessages, []any{j.TenantID, j.ID}, []any{&status, &n, &partial}, func() { j.count(status, n, partial) })
	j.countDrafts()
	return failed("count messages", err)
}

func (tx *Tx) lockJob(ctx context.Context, tenantID, id string) (*Job, error) {
	var row jobReadRow
	if err := tx.row(ctx, lockJobSQL+` FOR NO KEY UPDATE`, lockJobSQL, []any{tenantID, id}, row.columns()...); err != nil {
		return nil, failed("lock job", err)
	}
	return row.job()
}

// JobCounts gives the counts of a locked job as the rules want them.
func (s *Store) JobCounts(ctx context.Context, tx *Tx, j *Job) (mail.JobCounts, error) {
	n := j.Counts
	c := mail.JobCounts{
		Waiting: n[mail.StatusQueued] + n[mail.StatusDeferred] + n[mail.StatusHeld], Sending: n[mail.StatusSending], Paused: n[mail.StatusPaused],
		Sent: n[mail.StatusSent], Failed: n[mail.StatusFailed], Uncertain: n[mail.StatusUncertain], Canceled: n[mail.StatusCanceled],
	}
	if len(j.Canaries) == 0 {
		return c, nil
	}
	ids, err := tx.list(j.Canaries)
	if err != nil {
		return c, err
	}
	var status mail.Status
	var k int
	err = tx.each(ctx, canariesPostgres, canariesSQLite, []any{j.TenantID, ids}, []any{&status, &k}, func() {
		switch status {
		case mail.StatusSent:
			c.CanariesSent += k
		case mail.StatusFailed, mail.StatusUncertain, mail.StatusCanceled:
			c.CanariesLost += k
		}
	})
	return c, failed("count canaries", err)
}

// SaveJob writes what may change of a locked job, as its next version.
func (s *Store) SaveJob(ctx context.Context, tx *Tx, j *Job) error {
	j.Version++
	args, err := j.saved()
	if err != nil {
		return err
	}
	_, err = tx.one(ctx, saveJobSQL, saveJobSQL, args...)
	return failed("save job", err)
}

// LookAt has the job looked at again, and changes nothing else.
func (s *Store) LookAt(ctx context.Context, tx *Tx, j *Job, at time.Time) error {
	const query = `UPDATE send_jobs SET due_at = $3 WHERE tenant_id = $1 AND id = $2`
	_, err := tx.one(ctx, query, query, j.TenantID, j.ID, micros(at))
	return failed("look at job", err)
}

// saved are the arguments of saveJobSQL.
func (j *Job) saved() ([]any, error) {
	rules, err := json.Marshal(j.Rules)
	if err != nil {
		return nil, fmt.Errorf("store: rules of a job: %w", err)
	}
	canaries := ""
	if len(j.Canaries) > 0 {
		b, err := json.Marshal(j.Canaries)
		if err != nil {
			return nil, err
		}
		canaries = string(b)
	}
	g := &j.Gate
	return []any{
		j.TenantID, j.ID, j.Total, string(j.State), string(g.Code), micros(g.Since), micros(g.Until), g.By, g.Note, micros(j.ClosedSince),
		canaries, string(rules), j.Rules.StopAfter, j.Forgiven, j.Version, micros(j.ExpiresAt), j.Warned, micros(j.FinishedAt), micros(j.DueAt), string(j.Draft),
	}, nil
}
