package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
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
	cmd   *exec.Cmd
	url   string
	lines chan string // of both outputs
	said  []string    // those that were read
	ended chan error
}

// launch starts the binary on dir's SQLite file and waits until it says that it listens.
func launch(t *testing.T, dir string, environ []string, args ...string) *process {
	t.Helper()
	p := &process{lines: make(chan string, 10_000), ended: make(chan error, 1)}
	r, w := io.Pipe()
	p.cmd = exec.Command(binary(t), args...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"FACTEUR_LISTEN=127.0.0.1:0", "FACTEUR_ALLOW_NETWORKS=loopback"}, environ...)
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			p.lines <- lines.Text()
		}
		close(p.lines)
	}()
	go func() {
		err := p.cmd.Wait()
		w.Close()
		p.ended <- err
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
		case l, ok := <-p.lines:
			if !ok {
				t.Fatalf("the process ended before it said %q:\n%s", text, strings.Join(p.said, "\n"))
			}
			p.said = append(p.said, l)
			if strings.Contains(l, text) {
				return l
			}
		case <-timeout:
			t.Fatalf("the process does not say %q:\n%s", text, strings.Join(p.said, "\n"))
		}
	}
}

// rest is all that it said, once it has ended.
func (p *process) rest() string {
	for l := range p.lines {
		p.said = append(p.said, l)
	}
	return strings.Join(p.said, "\n")
}

// exit waits for the end and gives the exit code, -1 for a signal.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the process does not end")
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
		t.Errorf("exit code %d after SIGTERM:\n%s", code, p.rest())
	}

	again := launch(t, dir, nil, "serve")
	again.signal(t, os.Interrupt)
	if code := again.exit(t); code != 0 {
		t.Errorf("exit code %d after SIGINT:\n%s", code, again.rest())
	}
	if said := again.rest(); strings.Contains(said, "tenant create") {
		t.Errorf("the second start tells it again:\n%s", said)
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

// A stop waits for the hand-over in flight; a second signal does not.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	connected := make(chan net.Conn, 1)
	go func() {
		if c, err := silent.Accept(); err == nil {
			connected <- c
		}
	}()
	dir := t.TempDir()
	p := launch(t, dir, []string{"FACTEUR_STOP_TIMEOUT=10m"}, "serve")
	key := must(t, dir, "key", "create", must(t, dir, "tenant", "create", "My firm"))
	c, err := client.New(p.url, key)
	if err != nil {
		t.Fatal(err)
	}
	addr := silent.Addr().(*net.TCPAddr)
	profile, err := c.CreateSenderProfile(t.Context(), api.SenderProfileRequest{
		Level: "user", OwnerRef: "u", Name: "u", From: api.Address{Address: "u@firm.example"}, Transport: "smtp",
		SMTP: &api.SMTPSettingsRequest{Host: addr.IP.String(), Port: addr.Port, Security: "none", Auth: "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), api.MessageRequest{SenderProfileID: profile.ID, Mail: api.Mail{
		To: []api.Address{{Address: "zoe@zoe.example"}}, Subject: "Hello", Text: "Hello",
	}}); err != nil {
		t.Fatal(err)
	}
	select {
	case conn := <-connected:
		defer conn.Close()
	case <-time.After(patience):
		t.Fatal("it does not connect to the mail server")
	}
	p.signal(t, syscall.SIGTERM)
	p.line(t, "stopping")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code == 0 {
		t.Errorf("exit code 0 after the second signal:\n%s", p.rest())
	}
}

// The demo proves itself: it ends with 0 only when every mail arrived as it was sent.
func TestDemo(t *testing.T) {
	checkDemo(t)
}

func TestDemoGmail(t *testing.T) {
	checkDemo(t, "--gmail")
}

func TestDemoSendGrid(t *testing.T) {
	checkDemo(t, "--sendgrid")
}

func checkDemo(t *testing.T, args ...string) {
	t.Helper()
	stdout, stderr, code := facteur(t, t.TempDir(), nil, append([]string{"demo", "--count", "12"}, args...)...)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s%s", code, stdout, stderr)
	}
	wants := []string{
		"13 of 13 mails arrived", "24 of 24 attachments are byte for byte", "Subject: Votre facture 2026/0001", "[attached] 2026-0001.xml", "curl ",
	}
	switch {
	case slices.Contains(args, "--gmail"):
		wants = append(wants, "facturation@dupont.example agreed in a browser", "3 mails were taken without an answer")
	case slices.Contains(args, "--sendgrid"):
		wants = append(wants, "add_on_required", "IN CNAME", "verified at SendGrid", "2 mails were taken without an answer", "delivered: 10, bounced: 2",
			"facturen@desmet.example is suppressed: bounce", "failed, recipient_suppressed", "14 messages, 13 sent, 1 failed")
	}
	for _, want := range wants {
		if !strings.Contains(stdout, want) {
			t.Errorf("the demo does not say %q:\n%s", want, stdout)
		}
	}
	for line := range strings.Lines(stdout) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
}
