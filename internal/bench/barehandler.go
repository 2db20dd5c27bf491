package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "modernc.org/sqlite"
)

// The bare handler is the reference for accepting: an HTTP server in a process of its own that reads the body and inserts one
// row in a transaction of its own, on the same database server.

type bareHandler struct {
	base   string
	cmd    *exec.Cmd
	in     io.Closer
	client *http.Client
}

func startBareHandler(_ context.Context, url string) (*bareHandler, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &bareHandler{cmd: exec.Command(self, "insert", url), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}} //nolint:gosec // ourselves
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	h.base = "http://" + strings.TrimSpace(line)
	return h, err
}

func (h *bareHandler) post(body []byte) error {
	resp, err := h.client.Post(h.base, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("bare handler: %s", resp.Status)
	}
	return nil
}

func (h *bareHandler) stop() {
	h.in.Close()
	h.cmd.Wait() //nolint:errcheck // it was told to end
}

// runBareHandler is the process.
func runBareHandler(url string) error {
	ctx := context.Background()
	insert, err := bareInsert(ctx, url)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is the signal
		os.Exit(0)
	}()
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a benchmark
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = insert(r.Context(), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"status":"queued"}`) //nolint:errcheck // the client is gone
	}))
}

func bareInsert(ctx context.Context, url string) (func(context.Context, []byte) error, error) {
	const table = `CREATE TABLE IF NOT EXISTS bench_bare (id bigint PRIMARY KEY, body text)`
	var id atomic.Int64
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		// A file of its own: SQLite has one writer for each.
		db, err := sql.Open("sqlite", "file:"+file+".bare?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate")
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(ctx, table); err != nil {
			return nil, err
		}
		return func(ctx context.Context, body []byte) error {
			_, err := db.ExecContext(ctx, `INSERT INTO bench_bare VALUES (?, ?)`, id.Add(1), string(body))
			return err
		}, nil
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, table); err != nil {
		return nil, err
	}
	return func(ctx context.Context, body []byte) error {
		_, err := pool.Exec(ctx, `INSERT INTO bench_bare VALUES ($1, $2)`, id.Add(1), string(body))
		return err
	}, nil
}
