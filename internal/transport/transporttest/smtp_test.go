package transporttest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"
)

// The standard library's client finds a good server.
func TestServerWithAnotherClient(t *testing.T) {
	s := StartSMTP(t, SMTPConfig{TLS: true, Users: map[string]string{"user": "secret"}})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CA()))
	client := func() *smtp.Client {
		c, err := smtp.Dial(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.Mail("a@x.example"); err == nil || !strings.HasPrefix(err.Error(), "530") {
			t.Errorf("without login: %v", err)
		}
		if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := client().Auth(smtp.CRAMMD5Auth("user", "wrong")); err == nil || !strings.HasPrefix(err.Error(), "535") {
		t.Errorf("wrong password: %v", err)
	}
	if err := client().Auth(smtp.PlainAuth("", "user", "secret", "127.0.0.1")); err != nil {
		t.Errorf("login: %v", err)
	}
	c := client()
	if err := c.Auth(smtp.CRAMMD5Auth("user", "secret")); err != nil {
		t.Errorf("login: %v", err)
	}
	const text = "Message-ID: <1@x.example>\r\nSubject: dots\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n"
	for range 2 {
		if err := c.Mail("a@x.example"); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"b@x.example", "c@x.example"} {
			if err := c.Rcpt(to); err != nil {
				t.Fatal(err)
			}
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	if !s.Wait(2, time.Second) || s.Wait(3, time.Millisecond) || s.Accepted() != 2 || s.Duplicates() != 2 || s.ByMessageID()["<1@x.example>"] != 2 {
		t.Errorf("accepted %d, duplicates %d, by id %v", s.Accepted(), s.Duplicates(), s.ByMessageID())
	}
	m := s.Mails()[0]
	if string(m.Data) != text || m.From != "a@x.example" || fmt.Sprint(m.To) != "[b@x.example c@x.example]" || m.User != "user" || !m.TLS || m.Size != len(text) {
		t.Errorf("mail %+v: %q", m, m.Data)
	}
}

func TestGreylist(t *testing.T) {
	s := StartSMTP(t, SMTPConfig{Greylist: true})
	for n, want := range []string{"451", "<nil>"} {
		err := smtp.SendMail(s.Addr(), nil, "a@x.example", []string{"b@x.example"}, []byte("Subject: x\r\n\r\nx\r\n"))
		if !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("try %d: %v", n+1, err)
		}
	}
	if s.Accepted() != 1 {
		t.Errorf("accepted %d", s.Accepted())
	}
}

// A line with latency delays each direction once, however much goes over it at a time.
func TestLatency(t *testing.T) {
	const latency = 10 * time.Millisecond
	s := StartSMTP(t, SMTPConfig{Latency: latency})
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	br := bufio.NewReader(nc)
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	const n = 200
	began := time.Now()
	fmt.Fprint(nc, strings.Repeat("NOOP\r\n", n))
	for range n {
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(began); d < 2*latency || d > n*latency {
		t.Errorf("%d commands took %s", n, d)
	}
}
