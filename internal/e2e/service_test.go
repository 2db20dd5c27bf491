package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// build makes the binary once per test run.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "facteur-e2e-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "facteur")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/winprest/facteur/cmd/facteur") //nolint:gosec // constant
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")                              // as it is shipped, however the tests are built
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(bin)) //nolint:errcheck // a temporary folder
	}
	os.Exit(code)
}

// installation is a database with one tenant and a key of every scope, and the processes that work on it.
type installation struct {
	t      *testing.T
	url    string
	dir    string
	tenant *store.Tenant
	key    string
	env    []string
	store  *store.Store
}

func install(t *testing.T, url string, env ...string) *installation {
	t.Helper()
	in := &installation{t: t, url: url, dir: t.TempDir()}
	in.env = append(os.Environ(),
		"FACTEUR_DATABASE_URL="+url, "FACTEUR_KEYSET_FILE="+filepath.Join(in.dir, "keyset"),
		"FACTEUR_ALLOW_NETWORKS=127.0.0.0/8,::1/128", "FACTEUR_LEASE=2s", "FACTEUR_LOG_LEVEL=warn")
	in.env = append(in.env, env...)
	keyset, err := store.NewKeyset()
	if err == nil {
		err = keyset.Save(filepath.Join(in.dir, "keyset"))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if in.store, err = store.Open(ctx, store.Config{URL: url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.store.Close() })
	in.tenant = &store.Tenant{Name: "Firm"}
	err = errors.Join(in.store.Migrate(ctx), outbox.Migrate(ctx, in.store), in.store.CreateTenant(ctx, in.tenant, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, in.key, err = in.store.CreateKey(ctx, in.tenant.ID, "e2e", []store.Scope{store.ScopeSend, store.ScopeRead, store.ScopeManage}); err != nil {
		t.Fatal(err)
	}
	return in
}

// service is one process.
type service struct {
	in   *installation
	cmd  *exec.Cmd
	base string
	log  *bytes.Buffer
	done chan struct{}
}

// start runs `facteur serve` (or another command) and waits until it is ready.
func (in *installation) start(args ...string) *service {
	in.t.Helper()
	bin, err := build()
	if err != nil {
		in.t.Fatal(err)
	}
	if len(args) == 0 {
		args = []string{"serve"}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		in.t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s := &service{in: in, base: "http://" + addr, log: &bytes.Buffer{}, done: make(chan struct{})}
	s.cmd = exec.Command(bin, args...) //nolint:gosec // our own binary
	s.cmd.Dir = in.dir
	s.cmd.Env = append(in.env, "FACTEUR_LISTEN="+addr)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	go func() {
		s.cmd.Wait() //nolint:errcheck // its state is read where it matters
		close(s.done)
	}()
	in.t.Cleanup(func() {
		s.kill()
		if in.t.Failed() {
			in.t.Logf("log of %v:\n%s", args, tail(s.log.String(), 4000))
		}
	})
	if args[0] == "serve" {
		s.awaitReady()
	}
	return s
}

func (s *service) awaitReady() {
	s.in.t.Helper()
	eventually(s.in.t, 30*time.Second, func() error {
		select {
		case <-s.done:
			s.in.t.Fatalf("the service ended at once:\n%s", s.log)
		default:
		}
		resp, err := http.Get(s.base + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", resp.Status)
		}
		return nil
	})
}

// kill is kill -9: nothing of the process runs after it.
func (s *service) kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it may be gone already
	<-s.done
}

// stop is what systemd does. It gives the exit code.
func (s *service) stop() int {
	s.in.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.in.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(60 * time.Second):
		s.in.t.Fatal("the service does not stop")
	}
	return s.cmd.ProcessState.ExitCode()
}

// call makes a request with the tenant's key and gives the status and the decoded JSON answer. headers are name, value pairs.
func (s *service) call(method, path string, body any, headers ...string) (int, map[string]any, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.base+path, r)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.in.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil && !errors.Is(err, io.EOF) {
		return resp.StatusCode, nil, err
	}
	return resp.StatusCode, answer, nil
}

// must makes a request that has to succeed.
func (s *service) must(method, path string, body any, headers ...string) map[string]any {
	s.in.t.Helper()
	status, answer, err := s.call(method, path, body, headers...)
	if err != nil || status >= 300 {
		s.in.t.Fatalf("%s %s: %d %v %v", method, path, status, answer, err)
	}
	return answer
}

// smtpProfile makes a company profile that sends to a server on loopback.
func (s *service) smtpProfile(addr string, connections int, settings map[string]any) string {
	s.in.t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		s.in.t.Fatal(err)
	}
	var number int
	fmt.Sscan(port, &number) //nolint:errcheck // an address of our own
	smtp := map[string]any{"host": host, "port": number, "security": "none", "auth": "none"}
	maps.Copy(smtp, settings)
	p := s.must("POST", "/v1/sender-profiles", map[string]any{
		"level": "company", "owner_ref": store.NewID("own"), "name": "Billing", "default": true,
		"from": map[string]any{"name": "Firm", "address": "billing@firm.example"}, "transport": "smtp", "smtp": smtp, "max_connections": connections,
	})
	return p["id"].(string)
}

// mails are n small ones.
func mails(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = map[string]any{
			"to":      []any{map[string]any{"address": fmt.Sprintf("client%d@client.example", i)}},
			"subject": fmt.Sprintf("Invoice %d", i), "text": "Please find your invoice.\n",
		}
	}
	return list
}

// batch accepts a job of n small mails and gives its id.
func (s *service) batch(profile string, n int) string {
	s.in.t.Helper()
	return s.must("POST", "/v1/send-jobs", map[string]any{"purpose": "batch", "sender_profile_id": profile, "messages": mails(n)})["id"].(string)
}

// upload stores a file of n bytes and gives its id.
func (s *service) upload(n int) string {
	s.in.t.Helper()
	req, err := http.NewRequest("POST", s.base+"/v1/attachments?filename=invoice.pdf", bytes.NewReader(make([]byte, n)))
	if err != nil {
		s.in.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.in.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.in.t.Fatal(err)
	}
	defer resp.Body.Close()
	var a struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != http.StatusCreated {
		s.in.t.Fatalf("upload: %s %v", resp.Status, err)
	}
	return a.ID
}

// due has the time come that the deferred mails of a job wait for.
func (in *installation) due(job string) {
	in.t.Helper()
	const query = "UPDATE messages SET not_before = 0 WHERE status = 'deferred' AND job_id = $1"
	var err error
	if pool := in.store.Postgres(); pool != nil {
		_, err = pool.Exec(context.Background(), query, job)
	} else {
		_, err = in.store.SQLite().Exec(query, job)
	}
	if err != nil {
		in.t.Fatal(err)
	}
}

func eventually(t *testing.T, patience time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return strings.TrimSpace(s)
}
