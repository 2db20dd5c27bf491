package gmail_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/gmail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

func commit(context.Context) error { return nil }

// world is a Google, a driver and an open session.
type world struct {
	*tt.Google
	tokens *tokens
	tr     *gmail.Transport
	s      transport.Session
}

func newWorld(t *testing.T, cfg tt.GoogleConfig) *world {
	t.Helper()
	g := tt.StartGoogle(t, cfg)
	k := &tokens{google: g, scopes: sendScopes}
	w := &world{Google: g, tokens: k, tr: newTransport(t, g, k)}
	var err error
	if w.s, err = w.tr.Open(t.Context(), profile()); err != nil {
		t.Fatal(err)
	}
	return w
}

// content is a mail that answers nothing.
func content(id string) *mail.Content {
	return &mail.Content{
		Format: 1, MessageIDHeader: id, Date: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), From: mail.Address{Address: from},
		To: []mail.Address{{Address: "compta@zoe.example"}}, Language: "fr", Subject: "Facture 2026/0042", Text: "Bonjour",
	}
}

func render(t testing.TB, c *mail.Content, files mail.Files, to ...string) *mail.Rendered {
	t.Helper()
	m, err := mail.Render(context.Background(), c, nil, mail.Envelope{From: from, To: to}, files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestInfo(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	if i := w.tr.Info(); i.Name != "gmail" || i.MaxBytes != 35_000_000 || i.MaxRecipients != 500 || !i.KeepsSentCopy {
		t.Errorf("%+v", i)
	}
	for _, u := range []string{"gmail.googleapis.com", "ftp://x/", "http://%zz/"} {
		if _, err := gmail.New(gmail.Config{Tokens: w.tokens, BaseURL: u}); err == nil {
			t.Errorf("%s is a URL", u)
		}
	}
}

// The bytes that Google gets are the mail, in one POST, whole.
func TestWhatGoogleGets(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	c := content("<1@facteur.example>")
	files := blob(bytes.Repeat([]byte("0123456789"), 300_000))
	c.Attachments = []mail.Attachment{files.attachment()}
	m := render(t, c, files, "compta@zoe.example")
	var want bytes.Buffer
	if _, err := m.WriteTo(&want); err != nil {
		t.Fatal(err)
	}
	v := w.s.Send(t.Context(), m, commit)
	got := w.Mails()
	if v.Outcome != mail.OutcomeSent || len(got) != 1 || !bytes.Equal(got[0].Data, want.Bytes()) || w.Calls("upload") != 1 {
		t.Fatalf("verdict %+v, %d mails in %d POSTs", v, len(got), w.Calls("upload"))
	}
	if id, thread, ok := gmail.ParseEvidence(v.Evidence); !ok || id != got[0].ID || thread != got[0].ThreadID {
		t.Errorf("evidence %q for %+v", v.Evidence, got[0])
	}
}

// Those in Bcc get the mail, and nothing else of it changes.
func TestBccIsNamedToGoogle(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	m := render(t, content("<1@facteur.example>"), nil, "compta@zoe.example", "archive@etudes.example")
	var shown bytes.Buffer
	m.WriteTo(&shown) //nolint:errcheck // a buffer
	if v := w.s.Send(t.Context(), m, commit); v.Outcome != mail.OutcomeSent {
		t.Fatalf("verdict %+v", v)
	}
	got := w.Mails()[0]
	if !slices.Equal(got.To, []string{"compta@zoe.example", "archive@etudes.example"}) || string(got.Data) != "Bcc: archive@etudes.example\r\n"+shown.String() {
		t.Errorf("%v\n%s", got.To, got.Data)
	}
}

func TestRefusedBeforeAnyRequest(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	many := make([]string, 501)
	c := content("<1@facteur.example>")
	for i := range many {
		many[i] = strings.Repeat("a", 1+i%50) + strings.Repeat("b", 1+i/50) + "@zoe.example"
	}
	many = append(many, "compta@zoe.example")
	large := content("<2@facteur.example>")
	files := blob(make([]byte, 26_000_000))
	large.Attachments = []mail.Attachment{files.attachment()}
	two := content("<3@facteur.example>")
	two.CC = []mail.Address{{Address: "chef@zoe.example"}}
	for name, test := range map[string]struct {
		m    *mail.Rendered
		code string
	}{
		"too large":        {render(t, large, files, "compta@zoe.example"), gmail.CodeMessageTooLarge},
		"too many":         {render(t, c, nil, many...), gmail.CodeTooManyRecipients},
		"partly sent":      {render(t, two, nil, "chef@zoe.example"), gmail.CodePartlySent},
		"nobody to settle": {render(t, c, nil), gmail.CodeEnvelopeInvalid},
	} {
		v := w.s.Send(t.Context(), test.m, func(context.Context) error {
			t.Errorf("%s: commit was called", name)
			return nil
		})
		if v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeMessage || v.Code != test.code || v.Reply.Text == "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if n := w.Calls("upload"); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// A token that is over is renewed once within the attempt; a mail goes out once.
func TestTokenIsRenewedOnce(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	commits := 0
	count := func(context.Context) error { commits++; return nil }
	w.ExpireAccessTokens()
	if v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), count); v.Outcome != mail.OutcomeSent || commits != 1 || w.tokens.renewed != 2 || w.Accepted() != 1 {
		t.Fatalf("verdict %+v, %d commits, %d tokens, %d mails", v, commits, w.tokens.renewed, w.Accepted())
	}

	// Google refuses whatever it is given.
	w.SetHook(func(s tt.GoogleStep) tt.GoogleAction {
		if s.Endpoint == "upload" {
			return tt.GoogleAction{Status: 401, Reason: "authError"}
		}
		return tt.GoogleAction{}
	})
	before := w.Calls("upload")
	v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), count)
	if v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeProfile || v.Code != gmail.CodeReauthorizationRequired || commits != 2 || w.Calls("upload")-before != 2 {
		t.Errorf("verdict %+v, %d commits, %d POSTs", v, commits, w.Calls("upload")-before)
	}

	// The renewal itself finds the grant dead.
	dead := mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeProfile, Code: gmail.CodeReauthorizationRequired, Step: "login"}
	w.SetHook(func(s tt.GoogleStep) tt.GoogleAction {
		if s.Endpoint == "upload" {
			w.tokens.mu.Lock()
			defer w.tokens.mu.Unlock()
			w.tokens.err = &transport.Error{Verdict: dead, Err: errors.New("invalid_grant")}
			return tt.GoogleAction{Status: 401, Reason: "authError"}
		}
		return tt.GoogleAction{}
	})
	if v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), count); v.Step != "login" || v.Code != dead.Code || commits != 3 {
		t.Errorf("verdict %+v, %d commits", v, commits)
	}
	if w.Accepted() != 1 {
		t.Errorf("accepted %d", w.Accepted())
	}
}

func TestTokensFail(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	w.tokens.err = errors.New("the store is away")
	v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), func(context.Context) error {
		t.Error("commit was called")
		return nil
	})
	if v.Outcome != mail.OutcomeTemporary || v.Scope != mail.ScopeProfile || v.Code != gmail.CodeTokenUnavailable {
		t.Errorf("verdict %+v", v)
	}
	var oe *transport.Error
	if _, err := w.tr.Open(t.Context(), profile()); !errors.As(err, &oe) || oe.Verdict.Code != gmail.CodeTokenUnavailable {
		t.Errorf("open: %v", err)
	}
}

// A reminder joins the thread of the mail that it reminds of; when the thread is gone it is sent all the same, once.
func TestThreads(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	first := w.s.Send(t.Context(), render(t, content("<1@facteur.example>"), nil, "compta@zoe.example"), commit)
	reply := func(id, evidence string) tt.GoogleMail {
		c := content(id)
		c.InReplyTo, c.References, c.Subject = "<1@facteur.example>", []string{"<1@facteur.example>"}, "Re: Facture 2026/0042"
		m := render(t, c, nil, "compta@zoe.example")
		m.ParentEvidence = evidence
		commits := 0
		if v := w.s.Send(t.Context(), m, func(context.Context) error { commits++; return nil }); v.Outcome != mail.OutcomeSent || commits != 1 {
			t.Fatalf("verdict %+v, %d commits", v, commits)
		}
		mails := w.Mails()
		return mails[len(mails)-1]
	}
	root := w.Mails()[0]
	if m := reply("<2@facteur.example>", first.Evidence); m.ThreadID != root.ThreadID {
		t.Errorf("thread %s, want %s", m.ThreadID, root.ThreadID)
	}
	for _, evidence := range []string{"250 2.0.0 queued as 4711", "gmail message=18c2", "gmail message=18c2 thread=dead"} {
		if m := reply("<"+evidence[len(evidence)-4:]+"@facteur.example>", evidence); m.ThreadID == root.ThreadID {
			t.Errorf("%s joined the thread", evidence)
		}
	}
	if w.Duplicates() != 0 || w.Accepted() != 5 {
		t.Errorf("%d mails, %d twice", w.Accepted(), w.Duplicates())
	}
}

// A kept connection that Google has closed meanwhile is found dead, or never used, and no mail is in doubt for it.
func TestStaleConnection(t *testing.T) {
	var dead []net.Conn
	g := tt.StartGoogle(t, tt.GoogleConfig{})
	k := &tokens{google: g, scopes: sendScopes}
	tr, err := gmail.New(gmail.Config{Tokens: k, BaseURL: g.URLs().Gmail, HTTP: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				c = &mortalConn{Conn: c}
				dead = append(dead, c)
			}
			return c, err
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := tr.Open(t.Context(), profile())
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
		t.Fatalf("verdict %+v", v)
	}
	dead[0].(*mortalConn).dead = true
	m := tt.Message(t, profile(), "a@zoe.example")
	if v := s.Send(t.Context(), m, commit); v.Outcome != mail.OutcomeTemporary || v.Code != transport.CodeStale {
		t.Fatalf("verdict %+v", v)
	}
	if v := s.Send(t.Context(), m, commit); v.Outcome != mail.OutcomeSent || len(dead) != 2 || g.Accepted() != 2 || g.Duplicates() != 0 {
		t.Errorf("verdict %+v over %d connections, %d mails, %d twice", v, len(dead), g.Accepted(), g.Duplicates())
	}
}

// mortalConn takes nothing any more once it is dead.
type mortalConn struct {
	net.Conn
	dead bool
}

func (c *mortalConn) Write(p []byte) (int, error) {
	if c.dead {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// An attachment that cannot be read half-way leaves no mail at Google and no goroutine behind.
func TestUnreadableAttachment(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	c := content("<1@facteur.example>")
	files := blob(make([]byte, 3<<20))
	c.Attachments = []mail.Attachment{files.attachment()}
	m := render(t, c, files, "compta@zoe.example")
	files[0] = 1 // its SHA-256 is another now
	v := w.s.Send(t.Context(), m, commit)
	if v.Outcome != mail.OutcomeTemporary || v.Scope != mail.ScopeMessage || v.Code != gmail.CodeContentUnavailable || w.Accepted() != 0 {
		t.Errorf("verdict %+v, %d mails", v, w.Accepted())
	}
	if v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
		t.Errorf("the next mail: %+v", v)
	}
}

// A panic is the caller's to catch: in a goroutine of the driver's it would end the process.
func TestPanicWhileWriting(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	c := content("<1@facteur.example>")
	c.Attachments = []mail.Attachment{blob(make([]byte, 3<<20)).attachment()}
	m := render(t, c, &faulty{}, "compta@zoe.example")
	func() {
		defer func() {
			if p := recover(); p == nil || !strings.Contains(p.(string), "a fault of ours") {
				t.Errorf("recovered %v", p)
			}
		}()
		w.s.Send(t.Context(), m, commit)
	}()
	if w.Accepted() != 0 {
		t.Error("half a mail was accepted")
	}
}

// faulty panics from the second time on.
type faulty struct{ opened int }

func (f *faulty) Open(context.Context, mail.Attachment) (io.ReadCloser, error) {
	if f.opened++; f.opened > 1 {
		panic("a fault of ours")
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// What comes before the mail is whole is no word on the mail, but for a refusal.
func TestAnswerBeforeTheMail(t *testing.T) {
	files := blob(make([]byte, 10<<20)) // more than the buffers between
	c := content("<1@facteur.example>")
	c.Attachments = []mail.Attachment{files.attachment()}
	for name, test := range map[string]struct {
		action  tt.GoogleAction
		outcome mail.Outcome
		codes   []string
	}{
		// Whether the answer is read before the broken line is seen is the line's affair.
		"503": {tt.GoogleAction{Status: 503, Reason: "backendError"}, mail.OutcomeTemporary, []string{gmail.CodeServiceUnavailable, gmail.CodeConnectionLost}},
		"403": {tt.GoogleAction{Status: 403, Reason: "rateLimitExceeded"}, mail.OutcomeTemporary, []string{gmail.CodeRateLimited, gmail.CodeConnectionLost}},
		"200": {tt.GoogleAction{Body: `{"id":"1"}`}, mail.OutcomeTemporary, []string{gmail.CodeProtocolError, gmail.CodeConnectionLost}},
		"cut": {tt.GoogleAction{Drop: true}, mail.OutcomeTemporary, []string{gmail.CodeConnectionLost}},
	} {
		w := newWorld(t, tt.GoogleConfig{})
		w.SetHook(func(s tt.GoogleStep) tt.GoogleAction {
			if s.Endpoint == "upload" {
				return test.action
			}
			return tt.GoogleAction{}
		})
		v := w.s.Send(t.Context(), render(t, c, files, "compta@zoe.example"), commit)
		if v.Outcome != test.outcome || !slices.Contains(test.codes, v.Code) || w.Accepted() != 0 || w.Calls("upload") != 1 {
			t.Errorf("%s: %+v, %d POSTs", name, v, w.Calls("upload"))
		}
	}
}

func TestCertificates(t *testing.T) {
	for name, kind := range map[string]tt.CertificateKind{"expired": tt.CertificateExpired, "another's": tt.CertificateWrongName, "unknown": tt.CertificateUnknown} {
		w := newWorld(t, tt.GoogleConfig{TLS: true, Certificate: kind})
		v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), commit)
		if v.Outcome != mail.OutcomeTemporary || v.Scope != mail.ScopeProfile || v.Code != gmail.CodeTLSFailed || w.Calls("upload") != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	w := newWorld(t, tt.GoogleConfig{TLS: true})
	if v := w.s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
		t.Errorf("good: %+v", v)
	}
}

// blob is the content of the only file.
type blob []byte

func (b blob) Open(context.Context, mail.Attachment) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b)), nil
}
