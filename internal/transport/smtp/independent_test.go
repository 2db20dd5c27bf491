package smtp_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/winprest/facteur/internal/mail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// independent is a server that others wrote.
type independent struct {
	mu   sync.Mutex
	from string
	to   []string
	data []byte
	opts *gosmtp.MailOptions
}

func (i *independent) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	return &independentSession{i}, nil
}

type independentSession struct{ *independent }

func (s *independentSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *independentSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, secret string) error {
		if name != user || secret != password {
			return gosmtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *independentSession) Mail(from string, opts *gosmtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.opts, s.to = from, opts, nil
	return nil
}

func (s *independentSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(to, "gone@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "gone"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *independentSession) Data(r io.Reader) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, err = io.ReadAll(r)
	return err
}

func (s *independentSession) Reset()        {}
func (s *independentSession) Logout() error { return nil }

func TestAgainstAnIndependentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	backend := &independent{}
	server := gosmtp.NewServer(backend)
	server.AllowInsecureAuth, server.EnableSMTPUTF8, server.EnableDSN, server.Domain = true, true, true, "independent.example"
	go server.Serve(l) //nolint:errcheck // ends with Close
	defer server.Close()

	p := &mail.Profile{From: mail.Address{Address: user}, SMTP: &mail.SMTPSettings{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: mail.SecurityNone, Auth: mail.AuthAuto, AllowPlaintextLogin: true,
		Username: user, Password: password, DSN: true,
	}}
	for _, step := range newTransport().Check(t.Context(), p) {
		if !step.OK {
			t.Errorf("check %+v", step)
		}
	}
	session := open(t, p)
	for range 3 {
		m := tt.Message(t, p, "zoë@zoe.example", "gone@zoe.example")
		v := session.Send(t.Context(), m, commit)
		if v.Outcome != mail.OutcomeSent || len(v.Recipients) != 1 || v.Recipients[0].Reply.Enhanced != "5.1.1" {
			t.Fatalf("verdict %+v", v)
		}
		var want strings.Builder
		if _, err := m.WriteTo(&want); err != nil {
			t.Fatal(err)
		}
		backend.mu.Lock()
		if string(backend.data) != want.String() || backend.from != user || len(backend.to) != 1 || backend.to[0] != "zoë@zoe.example" {
			t.Errorf("from %q to %q: %q", backend.from, backend.to, backend.data)
		}
		if o := backend.opts; o.Size != m.Size() || !o.UTF8 || o.EnvelopeID != strings.Trim(m.Content.MessageIDHeader, "<>") {
			t.Errorf("options %+v", o)
		}
		backend.mu.Unlock()
	}
}
