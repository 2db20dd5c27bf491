package demo

import (
	"fmt"
	"io"
	"log"
	"net"
	"sync"

	"github.com/emersion/go-smtp"
)

// MailServer is a small SMTP server on loopback that takes every mail and keeps it. It is another implementation of the
// protocol than the one that sends.
type MailServer struct {
	server   *smtp.Server
	listener net.Listener

	mu    sync.Mutex
	mails [][]byte
}

// StartMailServer listens on a free port of 127.0.0.1.
func StartMailServer() (*MailServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo: mail server: %w", err)
	}
	m := &MailServer{listener: l}
	m.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return inbound{m}, nil }))
	m.server.Domain = "mail.demo.example"
	m.server.ErrorLog = log.New(io.Discard, "", 0)
	go m.server.Serve(l) //nolint:errcheck // it ends with Close
	return m, nil
}

// Addr is "host:port".
func (m *MailServer) Addr() string { return m.listener.Addr().String() }

// Inbox gives every mail that was accepted, as it came, oldest first.
func (m *MailServer) Inbox() ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mails[:len(m.mails):len(m.mails)], nil
}

// Close cuts every connection.
func (m *MailServer) Close() error { return m.server.Close() }

// inbound is one connection.
type inbound struct{ m *MailServer }

func (inbound) Mail(string, *smtp.MailOptions) error { return nil }
func (inbound) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (inbound) Reset()                               {}
func (inbound) Logout() error                        { return nil }

func (in inbound) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	in.m.mu.Lock()
	defer in.m.mu.Unlock()
	in.m.mails = append(in.m.mails, raw)
	return nil
}
