package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// chunkSize is how the bytes of a file are cut. What is stored was cut so: a change applies to new files only.
const chunkSize = 256 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// AttachmentMeta is what the caller says of an upload.
type AttachmentMeta struct {
	ID                        string // empty: a new one
	Filename, MediaType, Kind string
	CreatedAt                 time.Time // zero: now
}

// Upload takes a file of unknown length and holds at most 256 KiB of it. It ends with Commit or Abort, and is used by one
// goroutine.
type Upload struct {
	s        *Store
	ctx      context.Context //nolint:containedctx // io.Writer has none
	tenantID string
	limit    int64

	blobID string
	hash   hash.Hash
	size   int64
	stored int // chunks that are in the database
	chunk  *[chunkSize]byte
	filled int
	err    error
}

var errUploadOver = errors.New("store: the upload is over")

// NewUpload begins an upload of at most limit bytes. ctx is for all its Writes.
func (s *Store) NewUpload(ctx context.Context, tenantID string, limit int64) *Upload {
	return &Upload{
		s: s, ctx: ctx, tenantID: tenantID, limit: limit, blobID: NewID("blb"), hash: sha256.New(),
		chunk: chunks.Get().(*[chunkSize]byte),
	}
}

// Write adds bytes. The error is ErrTooLarge when they go over the limit; the upload then cannot be committed.
func (u *Upload) Write(p []byte) (n int, err error) {
	if u.err == nil && u.size+int64(len(p)) > u.limit {
		u.err = ErrTooLarge
	}
	for u.err == nil && n < len(p) {
		if u.filled == chunkSize {
			if u.err = u.s.saveChunk(u.ctx, u.blobID, u.stored, u.chunk[:]); u.err != nil {
				break
			}
			u.stored, u.filled = u.stored+1, 0
		}
		c := copy(u.chunk[u.filled:], p[n:])
		u.hash.Write(p[n : n+c])
		u.filled, u.size, n = u.filled+c, u.size+int64(c), n+c
	}
	return n, u.err
}

// Size is the number of bytes so far.
func (u *Upload) Size() int64 { return u.size }

// SHA256 is the hash of the bytes so far, in lower-case hex.
func (u *Upload) SHA256() string { return hex.EncodeToString(u.hash.Sum(nil)) }

// Commit makes the file an attachment and stores rec with it in one transaction; a nil rec is none. Bytes that the tenant
// has already are not kept twice. See CreateTenant for rec.
func (u *Upload) Commit(ctx context.Context, meta AttachmentMeta, rec *IdempotencyRecord) (*Attachment, error) {
	if u.err != nil {
		return nil, u.err
	}
	defer u.end()
	fill("att", &meta.ID, &meta.CreatedAt)
	f := &file{
		blobID: u.blobID, data: u.chunk[:u.filled], rec: rec,
		row: attachmentRow{
			ID: meta.ID, TenantID: u.tenantID, SHA256: u.SHA256(), Filename: meta.Filename, MediaType: meta.MediaType, Kind: meta.Kind,
			Size: u.size, CreatedAt: micros(meta.CreatedAt),
		},
	}
	var err error
	if u.stored == 0 {
		err = u.s.uploads.commit(u.s, f)
	} else {
		err = u.s.Write(ctx, func(ctx context.Context, tx *Tx) error { return u.s.saveLarge(ctx, tx, f, u.stored) })
	}
	if err != nil {
		return nil, failed("upload", err)
	}
	return f.row.attachment(), nil
}

// Abort gives the upload up. Chunks that were stored are left to SweepUploads. After Commit it does nothing.
func (u *Upload) Abort() {
	if u.chunk != nil {
		u.end()
	}
}

func (u *Upload) end() {
	chunks.Put(u.chunk)
	u.chunk, u.err = nil, errUploadOver
}

// file is an upload that is complete but for its last chunk.
type file struct {
	row    attachmentRow
	blobID string
	data   []byte // the last chunk
	rec    *IdempotencyRecord
}

const (
	insertBlob       = `INSERT INTO blobs (tenant_id, sha256, blob_id, size, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`
	insertChunk      = `INSERT INTO blob_chunks (blob_id, n, created_at, data) VALUES ($1, $2, $3, $4)`
	insertAttachment = `INSERT INTO attachments (tenant_id, sha256, id, filename, media_type, kind, size, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	dropChunks       = `DELETE FROM blob_chunks WHERE blob_id = $1`
	countChunks      = `SELECT count(*) FROM blob_chunks WHERE blob_id = $1`
)

// saveChunk stores a chunk of an upload that may never be committed. On PostgreSQL it does not wait for the disk: the
// commit of the upload does, and the log is written in order.
func (s *Store) saveChunk(ctx context.Context, blobID string, n int, data []byte) error {
	if s.pg != nil {
		var b pgx.Batch // without a BEGIN it is one implicit transaction
		b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
		b.Queue(insertChunk, blobID, n, micros(time.Now()), data)
		return failed("upload chunk", s.pg.SendBatch(ctx, &b).Close())
	}
	return failed("upload chunk", s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		return s.exec(ctx, tx, insertChunk, blobID, n, micros(time.Now()), data)
	}))
}

// saveLarge ends an upload of which stored chunks are in the database.
func (s *Store) saveLarge(ctx context.Context, tx *Tx, f *file, stored int) error {
	if err := s.claimKey(ctx, tx, f.rec); err != nil {
		return err
	}
	r := &f.row
	isNew, err := tx.one(ctx, insertBlob, insertBlob, r.TenantID, r.SHA256, f.blobID, r.Size, r.CreatedAt)
	if err != nil {
		return err
	}
	if isNew {
		if _, err := tx.affect(ctx, insertChunk, insertChunk, f.blobID, stored, r.CreatedAt, f.data); err != nil {
			return err
		}
		n, err := column[int](ctx, tx, countChunks, countChunks, f.blobID)
		if err != nil {
			return err
		}
		if n[0] != stored+1 {
			return fmt.Errorf("%d of %d chunks are left: it took too long", n[0], stored+1)
		}
	} else if _, err := tx.affect(ctx, dropChunks, dropChunks, f.blobID); err != nil {
		return err
	}
	_, err = tx.affect(ctx, insertAttachment, insertAttachment, r.TenantID, r.SHA256, r.ID, r.Filename, r.MediaType, r.Kind, r.Size, r.CreatedAt)
	return err
}

func (s *Store) claimKey(ctx context.Context, tx *Tx, rec *IdempotencyRecord) error {
	if rec == nil {
		return nil
	}
	taken, err := s.SaveIdempotency(ctx, tx, []*IdempotencyRecord{rec})
	if err == nil && len(taken) > 0 {
		err = ErrKeyUsed
	}
	return err
}

var _ mail.Files = files{}
