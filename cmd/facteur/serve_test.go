package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

var program struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if program.dir != "" {
		os.RemoveAll(program.dir)
	}
	os.Exit(code)
}

// binary is the program as it is shipped, built once.
func binary(t *testing.T) string {
	t.Helper()
	name := "facteur"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "facteur-test-"); program.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(program.dir, name), ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		program.out, program.err = cmd.CombinedOutput()
	})
	if program.err != nil {
		t.Fatalf("go build: %v\n%s", program.err, program.out)
	}
	return filepath.Join(program.dir, name)
}

// process is the real binary at work.
type process struct {
	cmd    *exec.Cmd
	url    string
	stdout chan string // its lines
	stderr *bytes.Buffer
	ended  chan error
}

// launch starts the binary on dir's SQLite file and waits until it says that it listens.
func launch(t *testing.T, dir string, environ []string, args ...string) *process {
	t.Helper()
	p := &process{stdout: make(chan string, 100), stderr: &bytes.Buffer{}, ended: make(chan error, 1)}
	p.cmd = exec.Command(binary(t), args...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"FACTEUR_LISTEN=127.0.0.1:0", "FACTEUR_ALLOW_NETWORKS=loopback", "FACTEUR_LOG_LEVEL=warn"}, environ...)
	p.cmd.Stderr = p.stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			p.stdout <- lines.Text()
		}
		close(p.stdout)
		p.ended <- p.cmd.Wait()
	}()
	p.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(p.line(t, "listens on"))
	return p
}

// line waits for a line that has text in it.
func (p *process) line(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case l, ok := <-p.stdout:
			if !ok {
				t.Fatalf("the process ended before it said %q:\n%s", text, p.stderr)
			}
			if strings.Contains(l, text) {
				return l
			}
		case <-timeout:
			t.Fatalf("the process does not say %q:\n%s", text, p.stderr)
		}
	}
}

// exit waits for the end and gives the exit code, -1 for a signal.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("the process does not end:\n%s", p.stderr)
		return 0
	}
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// The first start tells how to make a tenant and a key; doing so while it runs works, and the next start is silent.
func TestFirstStart(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, dir, nil, "serve")
	p.line(t, "facteur tenant create")
	p.line(t, "facteur key create")
	for _, path := range []string{"/healthz", "/readyz", "/docs", "/openapi.yaml"} {
		if code, body := get(t, p.url+path, ""); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	tenant := must(t, dir, "tenant", "create", "My firm")
	key := must(t, dir, "key", "create", tenant)
	if code, body := get(t, p.url+"/v1/messages", key); code != http.StatusOK {
		t.Errorf("with the new key: %d %s", code, body)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, p.stderr)
	}

	again := launch(t, dir, nil, "serve")
	again.signal(t, os.Interrupt)
	if code := again.exit(t); code != 0 {
		t.Errorf("exit code %d after SIGINT:\n%s", code, again.stderr)
	}
	for l := range again.stdout {
		if strings.Contains(l, "tenant create") {
			t.Errorf("the second start says %q", l)
		}
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, stderr, code := facteur(t, t.TempDir(), []string{"FACTEUR_LISTEN=" + l.Addr().String()}, "serve")
	if code != 1 || !strings.Contains(stderr, l.Addr().String()) {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

// The whole program is a function: it ends when its context does.
func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		environ := []string{"FACTEUR_LISTEN=127.0.0.1:0", "FACTEUR_DATABASE_URL=" + filepath.Join(t.TempDir(), "facteur.db")}
		code <- run(ctx, []string{"serve"}, strings.NewReader(""), w, io.Discard, environ)
		w.Close()
	}()
	if !bufio.NewScanner(r).Scan() {
		t.Fatal("it says nothing")
	}
	go io.Copy(io.Discard, r)
	cancel()
	select {
	case got := <-code:
		if got != 0 {
			t.Errorf("exit code %d", got)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}
