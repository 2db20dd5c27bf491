package store

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// What is read to look at a batch before it is sent. Nothing here locks: by the time the batch is accepted it may be otherwise,
// and then the accepting transaction says so.

// DocumentUse is a document that a mail would bring to one recipient.
type DocumentUse struct {
	Key mail.DocumentKey
	// KeysOf gives the keys that the document has for other recipients.
	KeysOf func([]mail.Recipient) []mail.DocumentKey
}

// Each key is looked up by itself, whatever the planner believes: of a table that has just grown it would rather read all.
const beforePostgres = `SELECT v.i, m.id, m.status, m.created_at, coalesce(m.sent_at, 0), m.recipients FROM unnest($2::int[], $3::bytea[]) AS v (i, key)
	CROSS JOIN LATERAL (SELECT message_id FROM document_keys WHERE tenant_id = $1 AND key = v.key AND NOT superseded OFFSET 0) d
	CROSS JOIN LATERAL (SELECT * FROM messages WHERE tenant_id = $1 AND id = d.message_id OFFSET 0) m ORDER BY v.i`

// DocumentsBefore says which of the uses ClaimDocuments would refuse. Message of a Duplicate is the index of its use.
func (s *Store) DocumentsBefore(ctx context.Context, tenantID string, uses []DocumentUse) ([]Duplicate, error) {
	var found []Duplicate
	var d Duplicate
	var accepted, sent int64
	keep := func(i int) error {
		u, d := &uses[i], d // a copy
		d.Message, d.Key, d.AcceptedAt, d.SentAt = i, u.Key, fromMicros(accepted), fromMicros(sent)
		if err := d.lookFor(u.Key, u.KeysOf); err != nil || d.void() {
			return err
		}
		found = append(found, d)
		return nil
	}
	row := []any{&d.EarlierID, &d.Status, &accepted, &sent, &d.recipients}
	var err error
	switch {
	case len(uses) == 0:
	case s.pg != nil:
		index, keys := make([]int32, len(uses)), make([][]byte, len(uses))
		for i := range uses {
			index[i], keys[i] = int32(i), uses[i].Key[:] //nolint:gosec // at most a million
		}
		var rows pgx.Rows
		if rows, err = s.pg.Query(ctx, beforePostgres, tenantID, index, keys); err == nil {
			var i int
			_, err = pgx.ForEachRow(rows, append([]any{&i}, row...), func() error { return keep(i) })
		}
	default:
		err = s.eachSQLite(ctx, standingSQLite, len(uses), func(i int) []any { return []any{tenantID, uses[i].Key[:]} }, row, keep)
	}
	return found, failed("documents before", err)
}

// FileEnds is how a stored file begins and ends.
type FileEnds struct{ Head, Tail []byte }

const (
	endsOf = ` FROM blobs b JOIN blob_chunks f ON f.blob_id = b.blob_id AND f.n = 0
	JOIN blob_chunks l ON l.blob_id = b.blob_id AND l.n = (SELECT max(n) FROM blob_chunks WHERE blob_id = b.blob_id) WHERE b.tenant_id = $1 AND b.sha256 = `
	endsPostgres = `SELECT b.sha256, b.size, substr(f.data, 1, $3), substr(l.data, greatest(length(l.data) - $3 + 1, 1))` + endsOf + `ANY($2)`
	endsSQLite   = `SELECT b.sha256, b.size, substr(f.data, 1, $3), substr(l.data, -$3)` + endsOf + `$2`
)

// FileEnds gives the first and the last n bytes of the tenant's files with these SHA-256, by it, without reading the rest. A
// shorter file is both. Those that are not there, or are empty, are not in it.
func (s *Store) FileEnds(ctx context.Context, tenantID string, sha256s []string, n int) (map[string]FileEnds, error) {
	found := make(map[string]FileEnds, len(sha256s))
	short := map[string]int64{} // files whose last chunk has less, and their sizes
	var sum string
	var size int64
	var e FileEnds
	keep := func() error {
		if int64(len(e.Tail)) < min(int64(n), size) {
			short[sum] = size
		}
		found[sum] = e
		e = FileEnds{}
		return nil
	}
	var err error
	switch {
	case len(sha256s) == 0:
	case s.pg != nil:
		var rows pgx.Rows
		if rows, err = s.pg.Query(ctx, endsPostgres, tenantID, sha256s, n); err == nil {
			_, err = pgx.ForEachRow(rows, []any{&sum, &size, &e.Head, &e.Tail}, keep)
		}
	default:
		err = s.eachSQLite(ctx, endsSQLite, len(sha256s), func(i int) []any { return []any{tenantID, sha256s[i], n} },
			[]any{&sum, &size, &e.Head, &e.Tail}, func(int) error { return keep() })
	}
	if err != nil {
		return nil, failed("ends of files", err)
	}
	for sum, size := range short {
		e := found[sum]
		if e.Tail, err = s.fileTail(ctx, tenantID, sum, size, n); err != nil {
			return nil, err
		}
		found[sum] = e
	}
	return found, nil
}

// eachSQLite runs a query of one row for each of n, and calls fn for those that have one.
func (s *Store) eachSQLite(ctx context.Context, query string, n int, args func(i int) []any, dest []any, fn func(i int) error) error {
	stmt, err := s.liteRead.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for i := range n {
		err := stmt.QueryRowContext(ctx, args(i)...).Scan(dest...)
		if noRows(err) {
			continue
		}
		if err == nil {
			err = fn(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fileTail reads a file to its end.
func (s *Store) fileTail(ctx context.Context, tenantID, sha256 string, size int64, n int) ([]byte, error) {
	r, err := s.OpenAttachment(ctx, tenantID, sha256)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, max(size-int64(n), 0)); err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// Backlog is what goes out of a profile before a mail that is accepted now.
type Backlog struct {
	Waiting int         // mails that wait for their turn
	Open    int         // mails on their way that a limit counts
	Used    mail.Usage  // what its limits count
	Sent    []time.Time // when the latest mails of it were sent, at most recentMails, newest first; not those of more than a day ago
}

// recentMails bounds what is read to find out how fast a profile has been.
const recentMails = 2000

const (
	waitingSQL = `SELECT count(*) FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') AND not_before <= $2`
	// Of the tenant's latest messages: they are in the order of their ids.
	sentSQL = `SELECT sent_at FROM (SELECT id, profile_id, sent_at FROM messages WHERE tenant_id = ? ORDER BY id DESC LIMIT ?) m
	WHERE profile_id = ? AND sent_at > ? ORDER BY sent_at DESC`
	backlogUsed     = `SELECT used, `
	backlogPostgres = backlogUsed + `(SELECT coalesce(sum(cardinality(messages)), 0) FROM claims WHERE limited = $1) FROM profile_usage WHERE profile_id = $1`
	backlogSQLite   = backlogUsed + `(SELECT coalesce(sum(json_array_length(messages)), 0) FROM claims WHERE limited = $1) FROM profile_usage WHERE profile_id = $1`
)

// Backlog reads what is before a mail that is to be sent at due.
func (s *Store) Backlog(ctx context.Context, tenantID, profileID string, due time.Time) (*Backlog, error) {
	b := &Backlog{}
	if err := s.row(ctx, waitingSQL, []any{profileID, micros(due)}, &b.Waiting); err != nil {
		return nil, failed("backlog", err)
	}
	query := backlogSQLite
	if s.pg != nil {
		query = backlogPostgres
	}
	var doc []byte
	err := s.row(ctx, query, []any{profileID}, &doc, &b.Open)
	if err != nil && !noRows(err) {
		return nil, failed("backlog", err)
	}
	if err == nil {
		if b.Used, err = readUsage(doc); err != nil {
			return nil, fmt.Errorf("store: usage of %s: %w", profileID, err)
		}
	}
	var sent []int64
	since := micros(Now().Add(-24 * time.Hour))
	if err := s.ro.WithContext(ctx).Raw(sentSQL, tenantID, recentMails, profileID, since).Scan(&sent).Error; err != nil {
		return nil, failed("backlog", err)
	}
	for _, us := range sent {
		b.Sent = append(b.Sent, fromMicros(us))
	}
	return b, nil
}
