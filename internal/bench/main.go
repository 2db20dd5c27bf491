// Command bench measures Facteur against references in the same run: the real binary on a database of its own, mail servers
// in processes of their own, everything on loopback.
//
//	go run ./internal/bench                      # everything, PostgreSQL and SQLite
//	go run ./internal/bench -db sqlite -only small,accept
//
// Absolute figures say little on a noisy machine; the ratio to the reference beside them is what counts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "sink" {
		latency, err := time.ParseDuration(os.Args[2])
		if err == nil {
			err = runSink(latency)
		}
		exit(err)
	}
	if len(os.Args) == 3 && os.Args[1] == "google" {
		delay, err := time.ParseDuration(os.Args[2])
		if err == nil {
			err = runGoogle(delay)
		}
		exit(err)
	}
	if len(os.Args) == 3 && os.Args[1] == "sendgrid" {
		delay, err := time.ParseDuration(os.Args[2])
		if err == nil {
			err = runSendGrid(delay)
		}
		exit(err)
	}
	if len(os.Args) == 3 && os.Args[1] == "insert" {
		exit(runBareHandler(os.Args[2]))
	}
	db := flag.String("db", "both", "postgres, sqlite or both")
	only := flag.String("only", "", "comma-separated: small, pdf, far, accept, idle, backlog, watchers, receivers, draft, gmail, sendgrid, events; empty: all")
	bin := flag.String("bin", "", "a facteur binary; empty: built from this source")
	flag.Parse()
	exit(run(*db, *only, *bin))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one measurement on one database.
type bench struct {
	name             string
	run              func(ctx context.Context, b *bed) error
	google, sendgrid bool            // the service needs one
	env              func() []string // of the service; nil: nothing more
}

var benches = []bench{
	{name: "small", run: small}, {name: "pdf", run: pdf}, {name: "far", run: far}, {name: "accept", run: accept}, {name: "idle", run: idle},
	{name: "backlog", run: backlog}, {name: "watchers", run: watchers}, {name: "receivers", run: receivers}, {name: "draft", run: draft}, {name: "gmail", run: byGmail, google: true},
	{name: "sendgrid", run: bySendGrid, sendgrid: true},
	{name: "events", run: takeEvents, env: eventsEnv},
}

// bed is what a measurement works with: a fresh database and a fresh service.
type bed struct {
	database string // "postgres" or "sqlite"
	postgres int    // process id of the PostgreSQL server, 0 on SQLite
	url      string
	google   *google // nil: none
	sendgrid *sink   // likewise
	*service
}

func (b *bed) row(what string, figure string, reference string, ratio float64, aim string) {
	fmt.Printf("%-9s %-44s %14s   %-38s %6.2f   %s\n", b.database, what, figure, reference, ratio, aim)
}

func run(db, only, bin string) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "facteur-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	if bin == "" {
		bin = filepath.Join(dir, "facteur")
		// As it is deployed.
		build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", bin, "github.com/winprest/facteur/cmd/facteur") //nolint:gosec // constant
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	names := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	fmt.Printf("%-9s %-44s %14s   %-38s %6s   %s\n", "database", "measurement", "figure", "reference (same run)", "ratio", "aim")
	for _, database := range []string{"postgres", "sqlite"} {
		if db != "both" && db != database {
			continue
		}
		for i, bm := range benches {
			if len(names) > 0 && !slices.Contains(names, bm.name) {
				continue
			}
			if err := one(ctx, bm, database, bin, filepath.Join(dir, fmt.Sprint(database, i))); err != nil {
				return fmt.Errorf("%s on %s: %w", bm.name, database, err)
			}
		}
	}
	return nil
}

// recycleWAL gives PostgreSQL a past: a server that has run for a while writes its log over old segments, where a new one has to
// fill each with zeros first. That would be measured in place of the service.
func recycleWAL(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was for this alone
	_, err = conn.Exec(ctx, "SELECT pg_logical_emit_message(false, 'bench', repeat('x', 8000000)) FROM generate_series(1, 32)")
	if err == nil {
		_, err = conn.Exec(ctx, "CHECKPOINT")
	}
	return err
}

func one(ctx context.Context, bm bench, database, bin, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	b := &bed{database: database, url: "sqlite:" + filepath.Join(dir, "bench.db")}
	if database == "postgres" {
		var err error
		if b.url, b.postgres, err = pgtest.Database(); err != nil {
			return err
		}
		if err := recycleWAL(ctx, b.url); err != nil {
			return err
		}
	}
	var err error
	var env []string
	if bm.google {
		if b.google, err = startGoogle(); err != nil {
			return err
		}
		defer b.google.stop()
		env = b.google.env()
	}
	if bm.sendgrid {
		if b.sendgrid, err = startSendGrid(); err != nil {
			return err
		}
		defer b.sendgrid.stop()
		env = []string{fmt.Sprintf(`FACTEUR_SENDGRID_KEYS=[{"name":"bench","key":%q,"url":"http://%s"}]`, transporttest.SendGridTestKey, b.sendgrid.addr)}
	}
	if bm.env != nil {
		env = append(env, bm.env()...)
	}
	if b.service, err = startService(ctx, bin, dir, b.url, env); err != nil {
		return err
	}
	defer b.stop()
	return bm.run(ctx, b)
}
