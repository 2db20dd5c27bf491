package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Suppression is an address that a tenant's mail is not sent to.
type Suppression struct {
	ID       string // "sup_…"; empty: a new one
	TenantID string
	Address  string // in normal form
	Reason   mail.SuppressionReason
	Note     string // of the person who added it
	Evidence string // what the far end said
	// MessageID is the message that brought it; empty: none.
	MessageID string
	CreatedBy string // API key id; empty: the service itself
	CreatedAt time.Time
}

type suppressionRow struct {
	ID, TenantID, Address, Reason, Note, Evidence, MessageID, CreatedBy string
	CreatedAt                                                           int64 `gorm:"autoCreateTime:false"`
}

func (suppressionRow) TableName() string { return "suppressions" }

func (r *suppressionRow) suppression() (*Suppression, error) {
	return &Suppression{
		ID: r.ID, TenantID: r.TenantID, Address: r.Address, Reason: mail.SuppressionReason(r.Reason), Note: r.Note, Evidence: r.Evidence,
		MessageID: r.MessageID, CreatedBy: r.CreatedBy, CreatedAt: fromMicros(r.CreatedAt),
	}, nil
}

// SuppressionFilter selects suppressions; zero fields select everything.
type SuppressionFilter struct {
	Address string // in any form
	Reason  mail.SuppressionReason
}

// ListSuppressions lists a tenant's suppressions, newest first.
func (s *Store) ListSuppressions(ctx context.Context, tenantID string, f SuppressionFilter, p Page) (*List[*Suppression], error) {
	q := s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID)
	if f.Address != "" {
		q = q.Where("address = ?", mail.NormalAddress(f.Address))
	}
	if f.Reason != "" {
		q = q.Where("reason = ?", string(f.Reason))
	}
	return list(q, p, "id", func(r *suppressionRow) string { return r.ID }, (*suppressionRow).suppression)
}

// Suppressed tells which of the addresses are suppressed, by the address as it was given.
func (s *Store) Suppressed(ctx context.Context, tenantID string, addresses []string) (map[string]Suppression, error) {
	given := make(map[string][]string, len(addresses)) // by normal form
	for _, a := range addresses {
		normal := mail.NormalAddress(a)
		given[normal] = append(given[normal], a)
	}
	found := map[string]Suppression{}
	normals := make([]string, 0, len(given))
	for normal := range given {
		normals = append(normals, normal)
	}
	for part := range slices.Chunk(normals, 500) { // SQLite has a limit of parameters
		var rows []suppressionRow
		if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND address IN ?", tenantID, part).Find(&rows).Error; err != nil {
			return nil, failed("suppressed", err)
		}
		for i := range rows {
			sup, _ := rows[i].suppression()
			for _, a := range given[sup.Address] {
				found[a] = *sup
			}
		}
	}
	return found, nil
}

const (
	suppressPostgres = `INSERT INTO suppressions (tenant_id, address, id, reason, note, evidence, message_id, created_by, created_at)
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[])` + suppressOnce
	suppressSQLite = `INSERT INTO suppressions (tenant_id, address, id, reason, note, evidence, message_id, created_by, created_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)` + suppressOnce
	suppressOnce = ` ON CONFLICT (tenant_id, address) DO NOTHING`
)

// suppressionColumns completes new suppressions and gives them as columns, in the order in which everybody writes them: two
// transactions must not wait for each other.
func suppressionColumns(list []Suppression) (cols columns, created []int64) {
	slices.SortFunc(list, func(a, b Suppression) int {
		return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), cmp.Compare(a.Address, b.Address))
	})
	cols = newColumns(8, len(list))
	for i := range list {
		p := &list[i]
		fill("sup", &p.ID, &p.CreatedAt)
		cols.add(p.TenantID, p.Address, p.ID, string(p.Reason), p.Note, p.Evidence, p.MessageID, p.CreatedBy)
		created = append(created, micros(p.CreatedAt))
	}
	return cols, created
}

// suppress adds suppressions to those that there are; one that is there already stays as it is. Addresses are made normal.
func (s *Store) suppress(ctx context.Context, tx *Tx, list []Suppression) (added int, err error) {
	if len(list) == 0 {
		return 0, nil
	}
	for i := range list {
		list[i].Address = mail.NormalAddress(list[i].Address)
	}
	c, created := suppressionColumns(list)
	if tx.PG != nil {
		tag, err := tx.PG.Exec(ctx, suppressPostgres, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], created)
		return int(tag.RowsAffected()), err
	}
	for i := range created {
		n, err := tx.affect(ctx, suppressSQLite, suppressSQLite, c[0][i], c[1][i], c[2][i], c[3][i], c[4][i], c[5][i], c[6][i], c[7][i], created[i])
		if err != nil {
			return added, err
		}
		added += n
	}
	return added, nil
}

// AuditOverrides leaves a trace of the messages that are to be sent in spite of suppressions, one for each submission.
func (s *Store) AuditOverrides(ctx context.Context, tx *Tx, subs []*Submission) error {
	for _, sub := range subs {
		n, subject := 0, sub.job.id
		for i := range sub.rows {
			if sub.rows[i].override {
				n++
				if len(sub.rows) == 1 {
					subject = sub.rows[i].id
				}
			}
		}
		if n == 0 {
			continue
		}
		err := s.AppendAudit(ctx, tx, &AuditEvent{
			TenantID: sub.TenantID, Actor: sub.job.createdBy, Action: "message.override_suppression", Subject: subject,
			Detail: json.RawMessage(fmt.Sprintf(`{"messages":%d}`, n)),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// suppressGone gives the suppressions that outcomes bring, in normal form. What the far end said of an address stays true when
// the outcome itself comes too late for its lease.
func suppressGone(outcomes []outcome) (list []Suppression) {
	for _, o := range outcomes {
		for _, r := range o.Gone {
			list = append(list, Suppression{
				TenantID: o.TenantID, Address: mail.NormalAddress(r.Address), Reason: mail.SuppressedBounce,
				Evidence: r.Reply.String(), MessageID: o.MessageID,
			})
		}
	}
	return list
}

// AddSuppression stores p with its audit event. ErrConflict: the address is suppressed already.
func (s *Store) AddSuppression(ctx context.Context, p *Suppression, rec *IdempotencyRecord) error {
	fill("sup", &p.ID, &p.CreatedAt)
	p.Address = mail.NormalAddress(p.Address)
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		if rec != nil {
			taken, err := s.SaveIdempotency(ctx, tx, []*IdempotencyRecord{rec})
			if err != nil {
				return err
			}
			if len(taken) > 0 {
				return ErrKeyUsed
			}
		}
		n, err := s.suppress(ctx, tx, []Suppression{*p})
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrConflict
		}
		return s.auditSuppression(ctx, tx, "suppression.add", p, p.CreatedBy)
	})
	s.suppressing.forget(p.TenantID)
	return failed("add suppression", err)
}

// LiftSuppression lets mail go to the address again, and leaves a trace.
func (s *Store) LiftSuppression(ctx context.Context, tenantID, id, actor string) error {
	const query = `DELETE FROM suppressions WHERE tenant_id = $1 AND id = $2 RETURNING address, reason`
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		p := Suppression{ID: id, TenantID: tenantID}
		err := tx.row(ctx, query, query, []any{tenantID, id}, &p.Address, &p.Reason)
		if noRows(err) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.auditSuppression(ctx, tx, "suppression.lift", &p, actor)
	})
	s.suppressing.forget(tenantID)
	return failed("lift suppression", err)
}

func (s *Store) auditSuppression(ctx context.Context, tx *Tx, action string, p *Suppression, actor string) error {
	detail, err := json.Marshal(map[string]string{"address": p.Address, "reason": string(p.Reason)})
	if err != nil {
		return err
	}
	return s.AppendAudit(ctx, tx, &AuditEvent{TenantID: p.TenantID, Actor: actor, Action: action, Subject: p.ID, Detail: detail})
}

// suppressingFor is how long a process may not know yet that a tenant has got its first suppression in another process.
const suppressingFor = 2 * time.Second

// suppressing remembers which tenants have suppressions at all: most have none, and their mail costs no query then.
type suppressing struct {
	mu      sync.Mutex
	tenants map[string]suppressingEntry
}

type suppressingEntry struct {
	any   bool
	until time.Time
}

func (c *suppressing) get(tenantID string, now time.Time) (has, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.tenants[tenantID]
	return e.any, ok && now.Before(e.until)
}

func (c *suppressing) put(tenantID string, has bool, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tenants == nil || len(c.tenants) > 10_000 {
		c.tenants = map[string]suppressingEntry{}
	}
	c.tenants[tenantID] = suppressingEntry{has, until}
}

func (c *suppressing) forget(tenantID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tenants, tenantID)
}

// Suppresses says whether the tenant has any suppression. What another process adds is seen within suppressingFor.
func (s *Store) Suppresses(ctx context.Context, tenantID string) (bool, error) {
	now := time.Now()
	if has, known := s.suppressing.get(tenantID, now); known {
		return has, nil
	}
	var has bool
	err := s.row(ctx, `SELECT EXISTS (SELECT 1 FROM suppressions WHERE tenant_id = $1)`, []any{tenantID}, &has)
	if err != nil {
		return false, fmt.Errorf("store: suppressions: %w", err)
	}
	s.suppressing.put(tenantID, has, now.Add(suppressingFor))
	return has, nil
}
