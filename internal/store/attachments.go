package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Attachment is a stored file. Files with the same bytes share them within a tenant.
type Attachment struct {
	mail.Attachment // ContentID is empty: it is of a mail, not of the file
	TenantID        string
	CreatedAt       time.Time
}

type attachmentRow struct {
	ID, TenantID, SHA256, Filename, MediaType, Kind string
	Size                                            int64
	CreatedAt                                       int64 `gorm:"autoCreateTime:false"`
}

func (attachmentRow) TableName() string { return "attachments" }

func (r *attachmentRow) attachment() *Attachment {
	return &Attachment{
		Attachment: mail.Attachment{ID: r.ID, SHA256: r.SHA256, Filename: r.Filename, MediaType: r.MediaType, Kind: r.Kind, Size: r.Size},
		TenantID:   r.TenantID, CreatedAt: fromMicros(r.CreatedAt),
	}
}

// Attachment gives one attachment.
func (s *Store) Attachment(ctx context.Context, tenantID, id string) (*Attachment, error) {
	found, err := s.Attachments(ctx, tenantID, []string{id})
	if err != nil {
		return nil, err
	}
	if a := found[id]; a != nil {
		return a, nil
	}
	return nil, ErrNotFound
}

// attachmentsPerQuery stays under the databases' limits on parameters.
const attachmentsPerQuery = 1000

// Attachments gives those of ids that the tenant has, by id.
func (s *Store) Attachments(ctx context.Context, tenantID string, ids []string) (map[string]*Attachment, error) {
	found := make(map[string]*Attachment, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), attachmentsPerQuery)
		var rows []attachmentRow
		if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND id IN ?", tenantID, ids[:n]).Find(&rows).Error; err != nil {
			return nil, failed("attachments", err)
		}
		for i := range rows {
			found[rows[i].ID] = rows[i].attachment()
		}
		ids = ids[n:]
	}
	return found, nil
}

const (
	openBlob = `SELECT b.blob_id, b.size, c.data FROM blobs b LEFT JOIN blob_chunks c ON c.blob_id = b.blob_id AND c.n = 0
	WHERE b.tenant_id = $1 AND b.sha256 = $2`
	readChunk = `SELECT data FROM blob_chunks WHERE blob_id = $1 AND n = $2`
)

// OpenAttachment reads the tenant's bytes with this SHA-256 (hex, lower case), chunk by chunk: a file of one chunk is one
// query, a bigger one holds one chunk at a time and no connection between reads. ctx is for the whole reading.
func (s *Store) OpenAttachment(ctx context.Context, tenantID, sha256 string) (io.ReadCloser, error) {
	r := &blobReader{s: s, ctx: ctx, next: 1}
	var first []byte
	if err := s.row(ctx, openBlob, []any{tenantID, sha256}, &r.blobID, &r.left, &first); err != nil {
		return nil, failed("open attachment", err)
	}
	r.chunk = *bytes.NewReader(first)
	return r, nil
}

// row runs a query of one row on the readers of either database.
func (s *Store) row(ctx context.Context, query string, args []any, dest ...any) error {
	if s.pg != nil {
		return s.pg.QueryRow(ctx, query, args...).Scan(dest...)
	}
	return s.liteRead.QueryRowContext(ctx, query, args...).Scan(dest...)
}

type blobReader struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // io.Reader has none
	blobID string
	left   int64 // not read yet, chunk included
	chunk  bytes.Reader
	next   int // number of the chunk after this one
}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if r.chunk.Len() == 0 {
		var data []byte
		if err := r.s.row(r.ctx, readChunk, []any{r.blobID, r.next}, &data); err != nil {
			return 0, r.broken(err)
		}
		r.chunk, r.next = *bytes.NewReader(data), r.next+1
	}
	n, err := r.chunk.Read(p)
	r.left -= int64(n)
	if err != nil && r.left > 0 { // an empty chunk before the end
		return n, r.broken(err)
	}
	return n, nil
}

// broken never is io.EOF: half a file must not look like a whole one.
func (r *blobReader) broken(err error) error {
	return fmt.Errorf("store: read attachment: chunk %d: %w", r.next, errors.Join(io.ErrUnexpectedEOF, failed("read chunk", err)))
}

// Close makes further reads fail.
func (r *blobReader) Close() error {
	r.left = 0
	return nil
}

// Files opens a tenant's attachments by their SHA-256.
func (s *Store) Files(tenantID string) mail.Files { return files{s, tenantID} }

type files struct {
	s        *Store
	tenantID string
}

func (f files) Open(ctx context.Context, a mail.Attachment) (io.ReadCloser, error) {
	return f.s.OpenAttachment(ctx, f.tenantID, a.SHA256)
}

const sweepChunks = `DELETE FROM blob_chunks WHERE created_at < ? AND blob_id NOT IN (SELECT blob_id FROM blobs)`

// SweepUploads removes the chunks of uploads that began more than age ago and were never committed, and says how many. age
// must be longer than any upload can take.
func (s *Store) SweepUploads(ctx context.Context, age time.Duration) (int, error) {
	done := s.db.WithContext(ctx).Exec(sweepChunks, micros(time.Now().Add(-age)))
	return int(done.RowsAffected), failed("sweep uploads", done.Error)
}
