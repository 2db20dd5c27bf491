package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrationLock is the key of PostgreSQL's advisory lock: "facteur" in ASCII.
const migrationLock = 0x66616374657572

// Migrate opens the database at url and brings its schema up to date, then runs more, such as another library's migrations.
func Migrate(ctx context.Context, url string, more ...func(context.Context, *Store) error) error {
	s, err := Open(ctx, Config{URL: url})
	if err != nil {
		return err
	}
	return errors.Join(s.Migrate(ctx, more...), s.Close())
}

// Migrate brings the schema up to date, then runs more, all under a lock that one process at a time can hold: any number
// may call it at once. more must not call Migrate.
func (s *Store) Migrate(ctx context.Context, more ...func(context.Context, *Store) error) error {
	return s.migrationLocked(ctx, func() error {
		p, done, err := s.goose()
		if err != nil {
			return err
		}
		_, err = p.Up(ctx)
		if err = errors.Join(err, done()); err != nil {
			return fmt.Errorf("store: migrate: %w", err)
		}
		for _, step := range more {
			if err := step(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// MigrationsPending says that Migrate has something to do. It changes nothing.
func (s *Store) MigrationsPending(ctx context.Context) (bool, error) {
	exists := "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'"
	if s.pg != nil {
		exists = "SELECT count(*) FROM (SELECT to_regclass('goose_db_version') AS t) x WHERE t IS NOT NULL"
	}
	var n int
	if err := s.ro.WithContext(ctx).Raw(exists).Scan(&n).Error; err != nil {
		return false, fmt.Errorf("store: migrations: %w", err)
	}
	if n == 0 {
		return true, nil
	}
	p, done, err := s.goose()
	if err != nil {
		return false, err
	}
	pending, err := p.HasPending(ctx)
	return pending, errors.Join(err, done())
}

// goose makes the provider on connections of its own; done closes them.
func (s *Store) goose() (p *goose.Provider, done func() error, err error) {
	sub, err := fs.Sub(migrations, "migrations/"+s.Dialect())
	if err != nil {
		return nil, nil, err
	}
	dialect, db := goose.DialectSQLite3, s.lite
	done = func() error { return nil }
	if s.pg != nil {
		dialect, db = goose.DialectPostgres, stdlib.OpenDB(*s.pg.Config().ConnConfig)
		done = db.Close
	}
	p, err = goose.NewProvider(dialect, db, sub, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("store: migrations: %w", err), done())
	}
	return p, done, nil
}

func (s *Store) migrationLocked(ctx context.Context, fn func() error) error {
	if s.pg != nil {
		return s.lockPostgres(ctx, fn)
	}
	return s.lockSQLite(ctx, fn)
}

// lockPostgres holds a session's advisory lock on a connection outside the pool: a dead process frees it.
func (s *Store) lockPostgres(ctx context.Context, fn func() error) error {
	conn, err := pgx.ConnectConfig(ctx, s.pg.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("store: migration lock: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the lock goes with the connection
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return fmt.Errorf("store: migration lock: %w", err)
	}
	return fn()
}

// lockSQLite holds the lock of an empty database beside the real one, because it works the same on every operating system
// and leaves the real one free for what is done under it.
func (s *Store) lockSQLite(ctx context.Context, fn func() error) error {
	var file string
	if err := s.lite.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file); err != nil {
		return fmt.Errorf("store: migration lock: %w", err)
	}
	dsn, _ := liteDSN(file + "-migrate")
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return fmt.Errorf("store: migration lock: %w", err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil) // BEGIN IMMEDIATE; waits for the busy timeout
	if err != nil {
		return fmt.Errorf("store: migration lock: %w", err)
	}
	defer tx.Rollback()
	return fn()
}
