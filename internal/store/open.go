package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Config says which database to open.
type Config struct {
	// URL is "postgres://…", "sqlite:path" or a path. Empty: facteur.db in the working directory.
	URL string
	// Keyset seals credentials. Without one everything works but profiles that have a secret.
	Keyset *Keyset
	// MaxConns is the size of the PostgreSQL pool; 0: 4 for each CPU and at least 16.
	MaxConns int
	Logger   *slog.Logger // nil: slog.Default()
}

const liteReaders = 4

// Open connects to the database. It does not look at the schema: see Migrate and MigrationsPending.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{keyset: c.Keyset, log: c.Logger}
	if s.log == nil {
		s.log = slog.Default()
	}
	open := s.openSQLite
	if isPostgres(c.URL) {
		open = s.openPostgres
	}
	if err := open(ctx, c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := errors.Join(parseRows(s.db), parseRows(s.ro)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// parseRows has gorm read every row type before goroutines share it: its cache of them is filled without a lock.
func parseRows(db *gorm.DB) error {
	rows := []any{&tenantRow{}, &keyRow{}, &profileRow{}, &laneRow{}, &templateRow{}, &templateVersionRow{}, &attachmentRow{},
		&idempotencyRow{}, &auditRow{}, &readRow{}, &attemptRow{}, &jobReadRow{}, &draftRow{},
		&grantRow{}, &consentRow{}, &gmailClientRow{},
		&eventRow{}, &endpointRow{}, &webhookDeliveryRow{}, &noticeSettingsRow{}, &noticeRow{}, &suppressionRow{}, &deliveryRow{},
		&addOnRow{}, &addOnPeriodRow{}, &identityRow{}, &bounceMailboxRow{}}
	for _, row := range rows {
		if err := (&gorm.Statement{DB: db}).Parse(row); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

func isPostgres(u string) bool {
	return strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://")
}

// gormConfig keeps the values of queries out of logs, and leaves the caching of statements to pgx.
func gormConfig() *gorm.Config {
	return &gorm.Config{Logger: logger.Discard, TranslateError: true, SkipDefaultTransaction: true, DisableAutomaticPing: true}
}

func (s *Store) openPostgres(ctx context.Context, c Config) error {
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		// The cause quotes the URL, which holds a password.
		return errors.New("store: the PostgreSQL URL cannot be parsed")
	}
	pc.MaxConns = int32(max(16, 4*runtime.NumCPU()))
	if c.MaxConns > 0 {
		pc.MaxConns = int32(min(c.MaxConns, 10_000))
	}
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "facteur"
	}
	pc.AfterConnect = durable
	pc.ConnConfig.StatementCacheCapacity = 128 // of each connection; the program has fewer statements
	if s.pg, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return fmt.Errorf("store: open PostgreSQL: %w", err)
	}
	if err := s.pg.Ping(ctx); err != nil {
		return fmt.Errorf("store: reach PostgreSQL: %w", err)
	}
	s.db, err = gorm.Open(postgres.New(postgres.Config{Conn: stdlib.OpenDBFromPool(s.pg)}), gormConfig())
	if err != nil {
		return fmt.Errorf("store: open PostgreSQL: %w", err)
	}
	s.ro = s.db
	return nil
}

// durable makes a commit mean "on disk" where a server or role was set up otherwise (stronger settings stay), and has every
// statement use its index. Statements are planned once for each connection, often while the tables are still small, and a
// plan that reads a small table whole would be kept when it has grown.
func durable(ctx context.Context, conn *pgx.Conn) error {
	const byIndex = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan"
	if _, err := conn.Exec(ctx, byIndex); err != nil {
		return err
	}
	var level string
	if err := conn.QueryRow(ctx, "SHOW synchronous_commit").Scan(&level); err != nil {
		return err
	}
	if level != "off" {
		return nil
	}
	_, err := conn.Exec(ctx, "SET synchronous_commit = on")
	return err
}

func (s *Store) openSQLite(ctx context.Context, c Config) error {
	write, read := liteDSN(c.URL)
	var err error
	if s.lite, err = sql.Open("sqlite", write); err != nil {
		return fmt.Errorf("store: open SQLite: %w", err)
	}
	s.lite.SetMaxOpenConns(1)
	s.lite.SetMaxIdleConns(1)
	if err := s.makeFile(ctx); err != nil {
		return fmt.Errorf("store: open SQLite: %w", err)
	}
	if s.liteRead, err = sql.Open("sqlite", read); err != nil {
		return fmt.Errorf("store: open SQLite: %w", err)
	}
	s.liteRead.SetMaxOpenConns(liteReaders)
	s.liteRead.SetMaxIdleConns(liteReaders)
	if s.db, err = gorm.Open(sqliteDialector{s.lite}, gormConfig()); err != nil {
		return fmt.Errorf("store: open SQLite: %w", err)
	}
	if s.ro, err = gorm.Open(sqliteDialector{s.liteRead}, gormConfig()); err != nil {
		return fmt.Errorf("store: open SQLite: %w", err)
	}
	return nil
}

// makeFile connects to the database file and so makes it, which readers cannot. Processes that make the same file at once
// meet a lock for which SQLite does not wait: while it is turned to WAL.
func (s *Store) makeFile(ctx context.Context) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := s.lite.PingContext(ctx)
		var e *sqlite.Error
		if err == nil || !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// liteDSN gives the DSN of the write connection and of the readers.
func liteDSN(u string) (write, read string) {
	file := litePath(u)
	name := (&url.URL{Path: filepath.ToSlash(file)}).EscapedPath()
	if filepath.IsAbs(file) && !strings.HasPrefix(name, "/") { // C:\dir\file
		name = "/" + name
	}
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}, "_txlock": {"immediate"}}
	write = "file:" + name + "?" + q.Encode()
	// A reader's cache of pages is an eighth of what SQLite takes by itself: there are several, and most of what they read are files.
	q = url.Values{"_pragma": {"busy_timeout(10000)", "query_only(1)", "cache_size(-250)"}}
	return write, "file:" + name + "?" + q.Encode()
}

// litePath is the database file of a SQLite URL.
func litePath(u string) string {
	u = strings.TrimPrefix(u, "sqlite:")
	if rest, ok := strings.CutPrefix(u, "//"); ok { // sqlite:///abs/path
		u = rest
	}
	if u == "" {
		u = "facteur.db"
	}
	return u
}

// Close ends the database's connections. Nothing of the store may be in use.
func (s *Store) Close() error {
	s.uploads.stop()
	s.flushKeyUse()
	var errs []error
	if s.pg != nil {
		if s.db != nil {
			if conns, err := s.db.DB(); err == nil {
				errs = append(errs, conns.Close())
			}
		}
		s.pg.Close()
	}
	for _, db := range []*sql.DB{s.liteRead, s.lite} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Ping proves that the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if s.pg != nil {
		return s.pg.Ping(ctx)
	}
	return s.liteRead.PingContext(ctx)
}

// Dialect is "postgres" or "sqlite".
func (s *Store) Dialect() string {
	if s.pg != nil {
		return "postgres"
	}
	return "sqlite"
}

// Postgres is the pool, nil on SQLite.
func (s *Store) Postgres() *pgxpool.Pool { return s.pg }

// SQLite is the write connection, nil on PostgreSQL.
func (s *Store) SQLite() *sql.DB { return s.lite }

// Write runs fn in one transaction of the delivery path, and again from its start when the database broke it off to end a
// deadlock: fn must not add to what an earlier run left in its variables. An error of fn rolls it back. A nil error means that the commit is
// on disk; after an error of the commit itself it may be, too.
func (s *Store) Write(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	if s.pg != nil {
		return again(ctx, func() error {
			return pgx.BeginFunc(ctx, s.pg, func(tx pgx.Tx) error { return fn(ctx, &Tx{PG: tx}) })
		})
	}
	if err := s.prepareDelivery(ctx); err != nil {
		return err
	}
	return s.writeLite(ctx, fn)
}

// again runs write up to five times while PostgreSQL breaks it off as the victim of a deadlock. Nothing was written then.
func again(ctx context.Context, write func() error) error {
	const deadlock = "40P01"
	for try := 1; ; try++ {
		err := write()
		var pe *pgconn.PgError
		if try == 5 || !errors.As(err, &pe) || pe.Code != deadlock || ctx.Err() != nil {
			return err
		}
	}
}

// transaction is Write for the resources: fn too runs again after a deadlock.
func (s *Store) transaction(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return again(ctx, func() error { return s.db.WithContext(ctx).Transaction(fn) })
}

func (s *Store) writeLite(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	tx, err := s.lite.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	defer tx.Rollback()
	// A statement that can be canceled costs a goroutine. The transaction still ends with ctx.
	if err := fn(context.WithoutCancel(ctx), &Tx{SQL: tx}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}
