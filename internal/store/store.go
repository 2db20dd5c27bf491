// Package store keeps everything that must outlive a process, in SQLite or PostgreSQL.
//
// It is the only package with gorm, which serves the resources (tenants, keys, profiles, templates, attachments, and
// everything that is read over the API). The delivery path (accepting, claiming, journaling) is SQL by hand in the files
// named after its steps, because it moves hundreds of rows in one statement.
//
// Promises: a nil error of a write means that it is on disk (PostgreSQL synchronous_commit=on; SQLite WAL with
// synchronous=FULL). Every query of a tenant's rows names the tenant; a row of another tenant is ErrNotFound, like one that
// never was. Credentials are sealed before they reach the database and appear in no error.
package store

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"
)

var (
	// ErrNotFound: no such row for this tenant.
	ErrNotFound = errors.New("store: not found")
	// ErrVersion: the row was edited since the caller read it (If-Match).
	ErrVersion = errors.New("store: version is not the current one")
	// ErrConflict: a unique rule of the resource is broken, such as a second default.
	ErrConflict = errors.New("store: conflict")
	// ErrKeyUsed: an idempotency record for this key exists; read it and answer from it.
	ErrKeyUsed = errors.New("store: idempotency key used")
	// ErrInUse: the profile cannot go while messages of it are waiting, are on their way, or are uncertain.
	ErrInUse = errors.New("store: in use")
	// ErrTooLarge: an upload went over its limit.
	ErrTooLarge = errors.New("store: too large")
	// ErrUnauthenticated: the API key is not one. It does not say why.
	ErrUnauthenticated = errors.New("store: not authenticated")
	// ErrCursor: the page cursor is none that this service gave.
	ErrCursor = errors.New("store: bad cursor")
	// ErrSealed: a sealed secret cannot be opened: no keyset, another keyset, or not the row it was sealed for.
	ErrSealed = errors.New("store: sealed secret cannot be opened")
)

// Store is a handle on one database. It is safe for concurrent use.
type Store struct {
	db *gorm.DB // reads and writes of resources

	pg *pgxpool.Pool // nil on SQLite

	// SQLite has one writer. lite is its only connection, so that writers queue fairly in Go instead of polling a lock;
	// readers have connections of their own, which WAL lets go on beside the writer.
	lite, liteRead *sql.DB
	ro             *gorm.DB // reads; the same as db on PostgreSQL
	prepared       prepared

	keyset      *Keyset
	log         *slog.Logger
	keys        keyCache
	suppressing suppressing
	uploads     uploadQueue
	audience    audienceCache
	shared      sharedTexts
}

// Tx is one write transaction of the delivery path. Exactly one field is set; both are exported because River inserts its
// wake-ups in the same transaction.
type Tx struct {
	PG  pgx.Tx
	SQL *sql.Tx
}

// NewID makes an id such as "msg_01jd…": a prefix and a ULID in lower case, so that ids sort by time of making, those of one process
// also within a millisecond: the messages of a job are in the order in which they were asked for.
func NewID(prefix string) string {
	return prefix + "_" + strings.ToLower(ulid.MustNew(ulid.Now(), ids).String())
}

var ids = &ulid.LockedMonotonicReader{MonotonicReader: ulid.Monotonic(rand.Reader, 0)}

// Now is the time as the database keeps it: UTC, in whole microseconds.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// fill gives a new row its id and its time where the caller did not.
func fill(prefix string, id *string, created *time.Time) {
	if *id == "" {
		*id = NewID(prefix)
	}
	if created.IsZero() {
		*created = Now()
	}
	*created = created.UTC().Truncate(time.Microsecond)
}

// micros is how the database keeps a time: microseconds since 1970 UTC, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the reverse of micros, in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// fromOptional is fromMicros for a nullable column.
func fromOptional(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return fromMicros(*us)
}
