package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/winprest/facteur/internal/store"
)

const chunk = 256 << 10

func TestAttachmentSizes(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2*chunk + 77} {
			data := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(size)}).Read(data)
			sum := sha256.Sum256(data)
			a, err := upload(t, s, tenant, string(data), nil)
			if err != nil || a.Size != int64(size) || a.SHA256 != hex.EncodeToString(sum[:]) {
				t.Fatalf("%d bytes: %+v, %v", size, a, err)
			}
			if got, err := s.Attachment(ctx, tenant, a.ID); err != nil || *got != *a {
				t.Errorf("%d bytes: got %+v, %v", size, got, err)
			}
			r, err := s.Files(tenant).Open(ctx, a.Attachment)
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(r, data); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestUploadLimit(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		u := s.NewUpload(ctx, tenant, 10)
		defer u.Abort()
		if n, err := u.Write(make([]byte, 10)); n != 10 || err != nil {
			t.Fatalf("the limit itself: %d, %v", n, err)
		}
		if _, err := u.Write([]byte("x")); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("over it: %v", err)
		}
		if _, err := u.Commit(ctx, store.AttachmentMeta{}, nil); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("commit: %v", err)
		}
		if _, err := upload(t, s, "tnt_none", "x", nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a tenant that is not: %v", err)
		}
		if n := count(t, s, "SELECT count(*) FROM attachments"); n != 0 {
			t.Errorf("%d attachments", n)
		}
	})
}

func TestSameBytesAreStoredOnce(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		one, two := newTenant(t, s), newTenant(t, s)
		for _, data := range []string{"small", strings.Repeat("large", chunk/4)} {
			before := count(t, s, "SELECT count(*) FROM blobs")
			chunks := count(t, s, "SELECT count(*) FROM blob_chunks")
			ids := make(map[string]bool)
			for _, tenant := range []string{one, one, two} {
				a, err := upload(t, s, tenant, data, nil)
				if err != nil {
					t.Fatal(err)
				}
				ids[a.ID] = true
			}
			perBlob := (len(data) + chunk - 1) / chunk
			if n := count(t, s, "SELECT count(*) FROM blobs") - before; n != 2 || len(ids) != 3 {
				t.Errorf("%d blobs, %d attachments", n, len(ids))
			}
			if n := count(t, s, "SELECT count(*) FROM blob_chunks") - chunks; n != 2*perBlob {
				t.Errorf("%d chunks", n)
			}
		}
	})
}

func TestSweepUploads(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		kept, err := upload(t, s, tenant, strings.Repeat("k", 2*chunk+1), nil)
		if err != nil {
			t.Fatal(err)
		}
		u := s.NewUpload(ctx, tenant, 1<<30)
		if _, err := u.Write(make([]byte, 3*chunk)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.SweepUploads(ctx, time.Hour); n != 0 || err != nil {
			t.Errorf("swept %d chunks of a young upload, %v", n, err)
		}
		if n, err := s.SweepUploads(ctx, -time.Hour); n != 2 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		// An upload that was swept under its feet is not half a file.
		if _, err := u.Commit(ctx, store.AttachmentMeta{}, nil); err == nil {
			t.Error("a swept upload was committed")
		}
		r, err := s.OpenAttachment(ctx, tenant, kept.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); n != kept.Size || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		sql(t, s, "DELETE FROM blob_chunks WHERE n = 1")
		if r, err = s.OpenAttachment(ctx, tenant, kept.SHA256); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a chunk is gone: %v", err)
		}
	})
}

// TestBigUploadIsStreamed moves 128 MiB through the store and back while little of it is in memory.
func TestBigUploadIsStreamed(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		const size = 128 << 20
		var peak atomic.Uint64
		watch := func(p []byte) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			for old := peak.Load(); m.HeapAlloc > old && !peak.CompareAndSwap(old, m.HeapAlloc); old = peak.Load() {
			}
		}
		source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
		u := s.NewUpload(ctx, newTenant(t, s), size)
		defer u.Abort()
		if _, err := io.CopyBuffer(writer{u, watch}, source(), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		a, err := u.Commit(ctx, store.AttachmentMeta{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.OpenAttachment(ctx, a.TenantID, a.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if n, err := io.CopyBuffer(writer{sum, watch}, struct{ io.Reader }{r}, make([]byte, 1<<20)); n != size || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != a.SHA256 {
			t.Error("other bytes came back")
		}
		if mib := peak.Load() >> 20; mib > 48 {
			t.Errorf("%d MiB of heap", mib)
		}
	})
}

type writer struct {
	io.Writer
	watch func([]byte)
}

func (w writer) Write(p []byte) (int, error) {
	w.watch(p)
	return w.Writer.Write(p)
}

// TestUploadsTogether has many small uploads in the same batches: equal bytes, used keys and a bad tenant among them.
func TestUploadsTogether(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		var all sync.WaitGroup
		var created, taken, refused atomic.Int32
		for client := range 20 {
			all.Go(func() {
				for i := range 20 {
					owner := tenant
					var rec *store.IdempotencyRecord
					switch {
					case i == 7 && client%4 == 0:
						owner = "tnt_none"
					case i%3 == 0: // the same key from every client
						rec = &store.IdempotencyRecord{TenantID: tenant, Key: fmt.Sprint("key ", i), RequestHash: "h", Status: 201}
					}
					u := s.NewUpload(ctx, owner, 1<<20)
					if _, err := fmt.Fprintf(u, "file %d", i%5); err != nil {
						t.Error(err)
					}
					switch _, err := u.Commit(ctx, store.AttachmentMeta{Filename: "f"}, rec); {
					case err == nil:
						created.Add(1)
					case errors.Is(err, store.ErrKeyUsed):
						taken.Add(1)
					case errors.Is(err, store.ErrNotFound) && owner != tenant:
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		const keys = 7 // i = 0, 3, … 18
		if c, k, r := created.Load(), taken.Load(), refused.Load(); k != 20*keys-keys || r != 5 || c+k+r != 400 {
			t.Errorf("%d created, %d keys taken, %d refused", c, k, r)
		}
		if n := count(t, s, "SELECT count(*) FROM attachments"); n != int(created.Load()) {
			t.Errorf("%d attachments for %d", n, created.Load())
		}
		if n := count(t, s, "SELECT count(*) FROM blobs"); n != 5 {
			t.Errorf("%d blobs", n)
		}
	})
}

// BenchmarkUpload is 100 KB files from 20 clients, beside the same from one: the difference is the shared commit.
func BenchmarkUpload(b *testing.B) {
	for _, url := range []string{"sqlite", "postgres"} {
		for _, clients := range []int{1, 20} {
			b.Run(fmt.Sprintf("%s/%d", url, clients), func(b *testing.B) {
				s := benchStore(b, url)
				tenant := newTenant(b, s)
				b.SetBytes(100_000)
				var next atomic.Int64
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						data := bytes.Repeat([]byte("0123456789"), 10_000)
						random := rand.NewChaCha8([32]byte{})
						random.Read(data)
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							copy(data, fmt.Sprintf("%020d", i))
							u := s.NewUpload(context.Background(), tenant, 1<<20)
							u.Write(data)
							if _, err := u.Commit(context.Background(), store.AttachmentMeta{Filename: "f.pdf"}, nil); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
			})
		}
	}
}
