// Package pgtest gives tests real databases: a fresh SQLite file, and a fresh database of a real PostgreSQL.
//
// The PostgreSQL is FACTEUR_TEST_POSTGRES when that is set (a URL of a role that may create databases); else a cluster of
// the test process's own, started on first use in a temporary folder with the durability of production, and gone with the
// process. Where no PostgreSQL is installed Debian's is, and where that cannot be the test fails: it is never skipped.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Env names the variable that points at a PostgreSQL to use instead of an own one.
const Env = "FACTEUR_TEST_POSTGRES"

var server struct {
	once    sync.Once
	url     string // of the maintenance database
	cluster *cluster
	err     error

	mu        sync.Mutex
	templates map[string]string // prepared databases by name
}

var files struct {
	mu        sync.Mutex
	templates map[string][]byte // prepared SQLite files by name
}

func start() (string, error) {
	server.once.Do(func() {
		if server.url = os.Getenv(Env); server.url != "" {
			return
		}
		if server.cluster, server.err = newCluster(); server.err == nil {
			server.url = server.cluster.url("postgres")
		}
	})
	return server.url, server.err
}

// New gives the URL of a fresh, empty PostgreSQL database, dropped when the test ends.
func New(t testing.TB) string {
	t.Helper()
	return fresh(t, "template0")
}

// Database is New for a program that is no test. pid is the server's process id, 0 when the server is not ours. The database
// stays until the server ends.
func Database() (url string, pid int, err error) {
	base, err := start()
	if err != nil {
		return "", 0, err
	}
	name := randomName()
	if err := run(base, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", 0, err
	}
	if server.cluster != nil {
		pid = server.cluster.pid()
	}
	return database(base, name), pid, nil
}

// Prepared is New for tests that all begin with the same schema: prepare is run once per process and name, and each
// database is a copy of its result. On a server that is not ours prepare is run for each, so that nothing stays behind.
func Prepared(t testing.TB, name string, prepare func(url string) error) string {
	t.Helper()
	base := mustStart(t)
	if server.cluster == nil {
		url := New(t)
		if err := prepare(url); err != nil {
			t.Fatalf("pgtest: prepare %s: %v", name, err)
		}
		return url
	}
	server.mu.Lock()
	template, ok := server.templates[name]
	if !ok {
		template = randomName()
		err := run(base, "CREATE DATABASE "+template+" TEMPLATE template0")
		if err == nil {
			err = prepare(database(base, template))
		}
		if err != nil {
			server.mu.Unlock()
			t.Fatalf("pgtest: prepare %s: %v", name, err)
		}
		if server.templates == nil {
			server.templates = make(map[string]string)
		}
		server.templates[name] = template
	}
	server.mu.Unlock()
	return fresh(t, template)
}

// Both runs a test on a fresh SQLite file and on a fresh PostgreSQL database, as the subtests "sqlite" and "postgres".
func Both(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, New(t)) })
}

// BothPrepared is Both for tests that all begin with the same schema, on either database: see Prepared.
func BothPrepared(t *testing.T, name string, prepare func(url string) error, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, PreparedSQLite(t, name, prepare)) })
	t.Run("postgres", func(t *testing.T) { test(t, Prepared(t, name, prepare)) })
}

// PreparedSQLite gives the URL of a copy of the database file that prepare made: it is run once per process and name.
func PreparedSQLite(t testing.TB, name string, prepare func(url string) error) string {
	t.Helper()
	files.mu.Lock()
	defer files.mu.Unlock()
	url := SQLite(t)
	path := strings.TrimPrefix(url, "sqlite:")
	if file, ok := files.templates[name]; ok {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatalf("pgtest: %v", err)
		}
		return url
	}
	err := prepare(url)
	var file []byte
	if err == nil {
		file, err = os.ReadFile(path) //nolint:gosec // our own file
	}
	if err != nil {
		t.Fatalf("pgtest: prepare %s: %v", name, err)
	}
	if files.templates == nil {
		files.templates = make(map[string][]byte)
	}
	files.templates[name] = file
	return url
}

// SQLite gives the URL of a database file that is not there yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "facteur.db")
}

// Restart stops the process's own cluster as a power cut would (no shutdown checkpoint) and starts it again on the same
// port. It fails the test when FACTEUR_TEST_POSTGRES is in use, because that server is not ours.
func Restart(t testing.TB) {
	t.Helper()
	mustStart(t)
	if server.cluster == nil {
		t.Fatalf("pgtest: Restart needs a cluster of its own, without %s", Env)
	}
	if err := server.cluster.restart(); err != nil {
		t.Fatalf("pgtest: restart: %v", err)
	}
}

// Bin is the path of one of PostgreSQL's programs, such as pg_dump.
func Bin(t testing.TB, name string) string {
	t.Helper()
	dir, err := findBin()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return filepath.Join(dir, name)
}

func mustStart(t testing.TB) string {
	t.Helper()
	base, err := start()
	if err != nil {
		t.Fatalf("pgtest: no PostgreSQL to test on: %v", err)
	}
	return base
}

func fresh(t testing.TB, template string) string {
	t.Helper()
	base := mustStart(t)
	name := randomName()
	if err := run(base, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := run(base, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Logf("pgtest: %v", err)
		}
	})
	return database(base, name)
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return "facteur_test_" + hex.EncodeToString(b[:])
}

func run(base, query string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, query)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	return nil
}

// database is base with another database's name.
func database(base, name string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.Path = "/" + name
	return u.String()
}
