package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	maxBatchFiles = 64
	maxBatchBytes = 1 << 20
	uploadTimeout = 30 * time.Second
	// pgFlushers is how many batches are on their way at once: the server works on one while we send the next.
	pgFlushers = 2
)

// uploadQueue lets small uploads that arrive together share a commit. Nobody waits for company: a batch leaves when a
// flusher is free, with whoever is there.
type uploadQueue struct {
	mu       sync.Mutex
	waiting  []*queuedFile
	flushers int
	running  sync.WaitGroup
}

type queuedFile struct {
	*file
	done chan error
}

// commit stores a file of one chunk and returns when it is on disk. It does not end early: the batch holds the file's bytes.
func (q *uploadQueue) commit(s *Store, f *file) error {
	w := &queuedFile{f, make(chan error, 1)}
	most := 1
	if s.pg != nil {
		most = pgFlushers
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	if q.flushers < most {
		q.flushers++
		q.running.Go(func() { q.flush(s) })
	}
	q.mu.Unlock()
	return <-w.done
}

func (q *uploadQueue) stop() { q.running.Wait() }

func (q *uploadQueue) flush(s *Store) {
	for {
		batch := q.take()
		if len(batch) == 0 {
			return
		}
		s.saveBatch(batch)
	}
}

// take gives the next batch; when it is empty the flusher has signed off.
func (q *uploadQueue) take() []*queuedFile {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && n < maxBatchFiles && (n == 0 || size+len(q.waiting[n].data) <= maxBatchBytes) {
		size += len(q.waiting[n].data)
		n++
	}
	if n == 0 {
		q.flushers--
		return nil
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return batch
}

// saveBatch stores a batch in one transaction. When the database refuses it, each file gets a transaction of its own, so
// that one bad file fails alone. When the line broke nothing is known, and nothing is tried again.
func (s *Store) saveBatch(batch []*queuedFile) {
	// In one order for everybody, or two batches that share two files wait for each other for ever.
	slices.SortStableFunc(batch, func(a, b *queuedFile) int {
		return cmp.Or(cmp.Compare(a.row.TenantID, b.row.TenantID), cmp.Compare(a.row.SHA256, b.row.SHA256))
	})
	ctx, cancel := context.WithTimeout(context.Background(), uploadTimeout)
	defer cancel()
	save := s.saveFilesSQLite
	if s.pg != nil {
		save = s.saveFilesPostgres
	}
	results, err := save(ctx, batch)
	if refused := (*pgconn.PgError)(nil); err != nil && len(batch) > 1 && (s.pg == nil || errors.As(err, &refused)) {
		for i := range batch {
			s.saveBatch(batch[i : i+1])
		}
		return
	}
	for i, w := range batch {
		if err != nil {
			w.done <- err
		} else {
			w.done <- results[i]
		}
	}
}

// One statement stores one file: the key if there is one, the blob and its bytes unless the tenant has them, the attachment.
// It inserts no attachment when the key is taken.
const (
	saveFile = `WITH b AS (INSERT INTO blobs (tenant_id, sha256, blob_id, size, created_at) VALUES ($1, $2, $9, $7, $8) ON CONFLICT DO NOTHING RETURNING blob_id),
c AS (INSERT INTO blob_chunks (blob_id, n, created_at, data) SELECT blob_id, 0, $8, $10 FROM b)
INSERT INTO attachments (tenant_id, sha256, id, filename, media_type, kind, size, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	saveFileWithKey = `WITH k AS (INSERT INTO idempotency_records (tenant_id, key, request_hash, status, headers, body, created_at)
	VALUES ($11, $12, $13, $14, $15, $16, $17) ON CONFLICT DO NOTHING RETURNING 1),
b AS (INSERT INTO blobs (tenant_id, sha256, blob_id, size, created_at) SELECT $1, $2, $9, $7, $8 FROM k ON CONFLICT DO NOTHING RETURNING blob_id),
c AS (INSERT INTO blob_chunks (blob_id, n, created_at, data) SELECT blob_id, 0, $8, $10 FROM b)
INSERT INTO attachments (tenant_id, sha256, id, filename, media_type, kind, size, created_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM k`
)

func (s *Store) saveFilesPostgres(ctx context.Context, batch []*queuedFile) ([]error, error) {
	results := make([]error, len(batch))
	var b pgx.Batch // without a BEGIN it is one implicit transaction and one round trip
	for i, w := range batch {
		r := &w.row
		args := []any{r.TenantID, r.SHA256, r.ID, r.Filename, r.MediaType, r.Kind, r.Size, r.CreatedAt, w.blobID, w.data}
		query := saveFile
		if w.rec != nil {
			k, err := w.rec.row()
			if err != nil {
				return nil, err
			}
			query = saveFileWithKey
			args = append(args, k.TenantID, k.Key, k.RequestHash, k.Status, k.Headers, k.Body, k.CreatedAt)
		}
		b.Queue(query, args...).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 {
				results[i] = ErrKeyUsed
			}
			return nil
		})
	}
	return results, s.pg.SendBatch(ctx, &b).Close()
}

func (s *Store) saveFilesSQLite(ctx context.Context, batch []*queuedFile) ([]error, error) {
	results := make([]error, len(batch))
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		for i, w := range batch {
			if results[i] = s.claimKey(ctx, tx, w.rec); results[i] != nil {
				if errors.Is(results[i], ErrKeyUsed) {
					continue
				}
				return results[i]
			}
			r := &w.row
			res, err := tx.SQL.StmtContext(ctx, s.prepared.stmts[insertBlob]).ExecContext(ctx, r.TenantID, r.SHA256, w.blobID, r.Size, r.CreatedAt)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n > 0 {
				if err := s.exec(ctx, tx, insertChunk, w.blobID, 0, r.CreatedAt, w.data); err != nil {
					return err
				}
			}
			if err := s.exec(ctx, tx, insertAttachment, r.TenantID, r.SHA256, r.ID, r.Filename, r.MediaType, r.Kind, r.Size, r.CreatedAt); err != nil {
				return err
			}
		}
		return nil
	})
	return results, err
}
