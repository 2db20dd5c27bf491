package smtp

import (
	"bufio"
	"net"
	"testing"

	"github.com/wneessen/go-mail/smtp"

	"github.com/winprest/facteur/internal/mail"
)

// A server that leaves out SCRAM's proof, asks for too little or too much work, or turns the order round does not get a login.
func TestSCRAMOrder(t *testing.T) {
	for name, challenges := range map[string][]string{
		"too few rounds":   {"", "r=NONCE1,s=c2FsdHNhbHQ=,i=1"},
		"too many rounds":  {"", "r=NONCE1,s=c2FsdHNhbHQ=,i=2000000000"},
		"no rounds":        {"", "r=NONCE1,s=c2FsdHNhbHQ="},
		"negative rounds":  {"", "r=NONCE1,s=c2FsdHNhbHQ=,i=-5"},
		"proof first":      {"", "v=AAAA"},
		"challenge first":  {"r=NONCE1,s=c2FsdHNhbHQ=,i=4096"},
		"begins again":     {"", ""},
		"another's nonce":  {"", "r=other,s=c2FsdHNhbHQ=,i=4096"},
		"an error message": {"", "e=unknown-user"},
	} {
		a := &scram{Auth: smtp.ScramSHA256Auth("user", "secret")}
		var err error
		for _, c := range challenges {
			if _, err = a.Next([]byte(c), true); err != nil {
				break
			}
		}
		if err == nil || a.verified() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A plain 235 is no proof.
func TestSCRAMWithoutProof(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		in := bufio.NewReader(server)
		in.ReadString('\n')                     //nolint:errcheck // the client sees
		server.Write([]byte("235 welcome\r\n")) //nolint:errcheck // the client sees
	}()
	s := &session{t: New(Config{}), c: newConn(client), settings: &mail.SMTPSettings{Host: "h", Auth: mail.AuthAuto, Username: "user", Password: "secret"}}
	s.ext.auth = []string{"SCRAM-SHA-256"}
	if oe := s.login(); oe == nil || oe.Verdict.Code != CodeLoginFailed || oe.Verdict.Scope != mail.ScopeProfile {
		t.Errorf("%+v", oe)
	}
}
