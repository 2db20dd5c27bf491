package mailbox_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/winprest/facteur/internal/bounce/mailbox"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
)

const username, password = "factures@dupont.example", "pässword \"1\""

// imapServer is a real IMAP server in memory.
type imapServer struct {
	t    *testing.T
	user *imapmemserver.User
	port int
	root string // PEM
	tls  *tls.Config

	mu      sync.Mutex
	limit   int // bytes that it sends on a connection before the line is cut; 0: all
	sent    int // on the last connection
	logins  int
	refuses string // what it answers to a login; empty: it is decided by the password
}

type imapSession struct {
	*imapmemserver.UserSession
	s *imapServer
}

func (i *imapSession) Login(name, pw string) error {
	i.s.mu.Lock()
	i.s.logins++
	refuses := i.s.refuses
	i.s.mu.Unlock()
	if refuses != "" {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeAuthenticationFailed, Text: refuses}
	}
	return i.s.user.Login(name, pw)
}

func startIMAP(t *testing.T, security mail.Security) *imapServer {
	t.Helper()
	s := &imapServer{t: t, user: imapmemserver.NewUser(username, password)}
	web := httptest.NewUnstartedServer(nil) // it makes a certificate for 127.0.0.1
	web.StartTLS()
	s.tls = &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	s.root = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	web.Close()
	for _, folder := range []string{"INBOX", "Done"} {
		if err := s.user.Create(folder, nil); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	o := &imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &imapSession{imapmemserver.NewUserSession(s.user), s}, nil, nil
		},
		Caps:   imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapMove: {}, imap.CapUIDPlus: {}},
		Logger: log.New(io.Discard, "", 0), InsecureAuth: security == mail.SecurityNone,
	}
	if security == mail.SecuritySTARTTLS {
		o.TLSConfig = s.tls
	}
	l = cutListener{l, s}
	if security == mail.SecurityTLS {
		l = tls.NewListener(l, s.tls)
	}
	server := imapserver.New(o)
	go server.Serve(l) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { server.Close() })
	return s
}

// cutListener makes connections whose line is cut after so many bytes.
type cutListener struct {
	net.Listener
	s *imapServer
}

func (l cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.sent = 0
	return &cutConn{c, l.s, l.s.limit}, nil
}

type cutConn struct {
	net.Conn
	s    *imapServer
	left int
}

func (c *cutConn) Write(b []byte) (int, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	cut := c.left > 0 && len(b) >= c.left
	if cut {
		b = b[:c.left]
	}
	n, err := c.Conn.Write(b)
	c.s.sent += n
	if c.left > 0 {
		c.left -= n
	}
	if cut {
		c.Conn.Close()
		return n, io.ErrClosedPipe
	}
	return n, err
}

func (s *imapServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *imapServer) put(folder, mail string) {
	s.t.Helper()
	if _, err := s.user.Append(folder, literal{bytes.NewReader([]byte(mail))}, &imap.AppendOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

type literal struct{ *bytes.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

// flags lists the flags of the mails in a folder.
func (s *imapServer) flags(folder string) (list []string) {
	s.t.Helper()
	a, b := net.Pipe()
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return imapmemserver.NewUserSession(s.user), &imapserver.GreetingData{PreAuth: true}, nil
		},
		InsecureAuth: true,
	})
	go server.Serve(&oneListener{conn: a}) //nolint:errcheck // it ends with the connection
	c := imapclient.New(b, nil)
	defer c.Close()
	box, err := c.Select(folder, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		s.t.Fatal(err)
	}
	if box.NumMessages == 0 {
		return nil
	}
	mails, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Flags: true}).Collect()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range mails {
		slices.Sort(m.Flags)
		list = append(list, strings.ToLower(fmt.Sprint(m.Flags)))
	}
	return list
}

// oneListener gives one connection.
type oneListener struct {
	conn net.Conn
	once sync.Once
}

func (l *oneListener) Accept() (conn net.Conn, err error) {
	err = net.ErrClosed
	l.once.Do(func() { conn, err = l.conn, nil })
	return conn, err
}
func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return l.conn.LocalAddr() }

// house is a service with its database, its engine and one tenant.
type house struct {
	t      *testing.T
	url    string
	keys   *store.Keyset
	store  *store.Store
	outbox *outbox.Outbox
	reader *mailbox.Reader
	tenant string
	far    *farEnd
}

// both runs a test on a migrated database of either kind.
func both(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	pgtest.BothPrepared(t, "mailbox", migrate, test)
}

func migrate(url string) error { return store.Migrate(context.Background(), url, outbox.Migrate) }

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	ctx := t.Context()
	h := &house{t: t, url: url, far: &farEnd{from: map[string]string{}}}
	var err error
	if h.keys, err = store.NewKeyset(); err != nil {
		t.Fatal(err)
	}
	h.store = h.open()
	h.tenant = h.newTenant()
	if h.outbox, err = outbox.New(h.store, transport.NewRegistry(h.far), outbox.Config{Sweep: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if err := h.outbox.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.outbox.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	h.reader = h.newReader(h.store)
	return h
}

func (h *house) open() *store.Store {
	h.t.Helper()
	st, err := store.Open(h.t.Context(), store.Config{URL: h.url, Keyset: h.keys, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { st.Close() })
	return st
}

func (h *house) newReader(st *store.Store) *mailbox.Reader {
	return mailbox.New(mailbox.Config{Store: st, Outbox: h.outbox, Dialer: dial.New(dial.Policy{Allow: dial.Loopback()})})
}

func (h *house) newTenant() string {
	h.t.Helper()
	tenant := &store.Tenant{Name: "Firm"}
	if err := h.store.CreateTenant(h.t.Context(), tenant, nil); err != nil {
		h.t.Fatal(err)
	}
	return tenant.ID
}

// profile makes a profile whose bounces go to the server.
func (h *house) profile(s *imapServer, security mail.Security, change func(*mail.Profile)) *mail.Profile {
	h.t.Helper()
	p := &mail.Profile{
		TenantID: h.tenant, Level: mail.LevelCompany, OwnerRef: store.NewID("own"), Name: "Factures", Default: true,
		From: mail.Address{Name: "Dupont", Address: "factures@dupont.example"}, Transport: "smtp", MaxConnections: 2,
		SMTP: &mail.SMTPSettings{Host: "127.0.0.1", Port: 25, Security: mail.SecurityNone, Auth: mail.AuthNone, AllowPlaintextLogin: true, CACertificates: s.root},
		BounceMailbox: &mail.BounceMailbox{
			Host: "127.0.0.1", Port: s.port, Security: security, Username: username, Password: password, Folder: "INBOX",
		},
	}
	if change != nil {
		change(p)
	}
	if ps := p.Check(); len(ps) > 0 {
		h.t.Fatal(ps)
	}
	if err := h.store.CreateProfile(h.t.Context(), p, nil); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// send sends one mail and waits for its end.
func (h *house) send(p *mail.Profile, want mail.Status, to ...string) string {
	h.t.Helper()
	d := &mail.Draft{Subject: "Facture", Text: "Bonjour"}
	for _, a := range to {
		d.To = append(d.To, mail.Address{Address: a})
	}
	r, err := h.outbox.Submit(h.t.Context(), &outbox.Submission{
		TenantID: p.TenantID, Actor: "key_test", Purpose: outbox.PurposeOneOff, Profile: p, Items: []outbox.Item{{Draft: d}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	id := r.Messages[0].ID
	h.await(p.TenantID, id, want)
	return id
}

func (h *house) await(tenant, id string, want mail.Status) {
	h.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		m, err := h.store.Message(h.t.Context(), tenant, id)
		if err == nil && m.Status == want {
			return
		}
		if err != nil || time.Now().After(deadline) {
			h.t.Fatalf("%s: %+v, %v", id, m, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// read reads the profile's mailbox, which is made due.
func (h *house) read(p *mail.Profile) {
	h.t.Helper()
	if err := h.store.ReadBouncesNow(h.t.Context(), p.TenantID, p.ID); err != nil {
		h.t.Fatal(err)
	}
	if n, err := h.reader.ReadDue(h.t.Context()); err != nil || n != 1 {
		h.t.Fatalf("%d mailboxes read, %v", n, err)
	}
}

func (h *house) state(p *mail.Profile) store.BounceState {
	h.t.Helper()
	states, err := h.store.BounceStates(h.t.Context(), p.TenantID, []string{p.ID})
	if err != nil {
		h.t.Fatal(err)
	}
	return states[p.ID]
}

// known is the delivery state of a message, and the addresses that are suppressed.
func (h *house) known(id string) string {
	h.t.Helper()
	m, err := h.store.Message(h.t.Context(), h.tenant, id)
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := h.store.ListSuppressions(h.t.Context(), h.tenant, store.SuppressionFilter{}, store.Page{})
	if err != nil {
		h.t.Fatal(err)
	}
	list := []string{string(m.Delivery)}
	for _, s := range l.Items {
		list = append(list, s.Address)
	}
	slices.Sort(list[1:])
	return strings.Join(list, " ")
}

func (h *house) is(id, want string) {
	h.t.Helper()
	if got := h.known(id); got != want {
		h.t.Errorf("%s is %q, want %q", id, got, want)
	}
}

// farEnd accepts everything but mail to refused@…, and remembers return paths.
type farEnd struct {
	mu   sync.Mutex
	from map[string]string // by message
	gate chan struct{}     // nil: open
}

func (f *farEnd) Info() transport.Info                                       { return transport.Info{Name: "smtp"} }
func (f *farEnd) Check(context.Context, *mail.Profile) []transport.CheckStep { return nil }
func (f *farEnd) Open(context.Context, *mail.Profile) (transport.Session, error) {
	return farSession{f}, nil
}

func (f *farEnd) returnPath(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.from)[id]
}

type farSession struct{ f *farEnd }

func (farSession) Alive() bool  { return true }
func (farSession) Close() error { return nil }

func (s farSession) Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict {
	s.f.mu.Lock()
	s.f.from[m.Content.ID()] = m.Envelope.From
	gate := s.f.gate
	s.f.mu.Unlock()
	if err := commit(ctx); err != nil {
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeNotCommitted}
	}
	if gate != nil {
		<-gate
	}
	if slices.ContainsFunc(m.Envelope.To, func(to string) bool { return strings.HasPrefix(to, "refused@") }) {
		return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "refused"}
	}
	return mail.Verdict{Outcome: mail.OutcomeSent, Evidence: "queued"}
}

// report is a report of Postfix on a message, for one recipient.
func report(t *testing.T, id, recipient, action, status string) string {
	t.Helper()
	b, err := os.ReadFile("../testdata/postfix.eml")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"01kbvf8q3d9x5t2m7n4c6w1e0z", strings.TrimPrefix(id, "msg_"), "zoe@client.example", recipient,
		"Action: failed", "Action: "+action, "Status: 5.1.1", "Status: "+status, "550 5.1.1", "550 "+status,
		"4F2A91C0D3", store.NewID("q"), // every report is another
	).Replace(string(b))
}

func execute(query string) func(context.Context, *store.Tx) error {
	return func(ctx context.Context, tx *store.Tx) (err error) {
		if tx.PG != nil {
			_, err = tx.PG.Exec(ctx, query)
		} else {
			_, err = tx.SQL.ExecContext(ctx, query)
		}
		return err
	}
}
