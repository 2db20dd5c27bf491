package mailbox_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/bounce/mailbox"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
)

const zoe = "zoe@client.example"

func TestReports(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityTLS)
		p := h.profile(s, mail.SecurityTLS, nil)
		reply, err := os.ReadFile("../testdata/plain.eml")
		if err != nil {
			t.Fatal(err)
		}
		s.put("INBOX", string(reply))
		h.read(p)
		gone, full, late, there := h.send(p, mail.StatusSent, zoe), h.send(p, mail.StatusSent, "full@client.example"),
			h.send(p, mail.StatusSent, "late@client.example"), h.send(p, mail.StatusSent, "there@client.example")
		s.put("INBOX", report(t, gone, strings.ToUpper(zoe), "failed", "5.1.1"))
		s.put("INBOX", report(t, full, "full@client.example", "failed", "5.2.2"))
		s.put("INBOX", report(t, late, "late@client.example", "delayed", "4.4.1"))
		s.put("INBOX", report(t, there, "there@client.example", "relayed", "2.1.9"))
		h.read(p)
		h.is(gone, "bounced "+zoe)
		h.is(full, "bounced "+zoe)
		h.is(late, "unknown "+zoe)
		h.is(there, "delivered "+zoe)
		if st := h.state(p); st.Problem != nil || st.ReadAt.IsZero() {
			t.Errorf("state %+v", st)
		}
		known, err := h.store.Deliveries(t.Context(), h.tenant, gone)
		if err != nil || !strings.HasPrefix(known[zoe].Evidence, "550 5.1.1 ") || !strings.HasSuffix(known[zoe].Evidence, "(mx.client.example)") {
			t.Errorf("evidence %+v, %v", known, err)
		}
		read := `[$facteur \seen]`
		if got, want := s.flags("INBOX"), []string{"[]", read, read, read, read}; !slices.Equal(got, want) {
			t.Errorf("flags %q, want %q", got, want)
		}

		// A lifted suppression stays lifted, whatever is read again: a copy, or everything, once the server has numbered it anew.
		l, err := h.store.ListSuppressions(t.Context(), h.tenant, store.SuppressionFilter{}, store.Page{})
		if err != nil || len(l.Items) != 1 || l.Items[0].Reason != mail.SuppressedBounce || l.Items[0].MessageID != gone {
			t.Fatalf("%+v, %v", l, err)
		}
		if err := h.store.LiftSuppression(t.Context(), h.tenant, l.Items[0].ID, "key_test"); err != nil {
			t.Fatal(err)
		}
		same := report(t, gone, zoe, "failed", "5.1.1")
		s.put("INBOX", same)
		h.read(p)
		h.is(gone, "bounced "+zoe) // another report may suppress again
		if err := h.store.LiftSuppression(t.Context(), h.tenant, h.suppression(zoe), "key_test"); err != nil {
			t.Fatal(err)
		}
		s.put("INBOX", same)
		h.read(p)
		h.is(gone, "bounced")
		for range 2 { // the memory server may give the first one's number again
			if err := s.user.Delete("INBOX"); err != nil {
				t.Fatal(err)
			}
			if err := s.user.Create("INBOX", nil); err != nil {
				t.Fatal(err)
			}
		}
		s.put("INBOX", same)
		fresh := h.send(p, mail.StatusSent, "fresh@client.example")
		s.put("INBOX", report(t, fresh, "fresh@client.example", "failed", "5.1.1"))
		h.read(p)
		h.is(gone, "bounced fresh@client.example")
		h.is(fresh, "bounced fresh@client.example")
	})
}

// A report counts although the profile sends in another way by now.
func TestReportAfterAChangeOfTransport(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityTLS)
		p := h.profile(s, mail.SecurityTLS, nil)
		id := h.send(p, mail.StatusSent, zoe)
		h.sql("UPDATE sender_profiles SET transport = 'gmail'")
		p.Transport = "gmail"
		s.put("INBOX", report(t, id, zoe, "failed", "5.1.1"))
		h.read(p)
		h.is(id, "bounced "+zoe)
	})
}

func (h *house) suppression(address string) string {
	h.t.Helper()
	l, err := h.store.ListSuppressions(h.t.Context(), h.tenant, store.SuppressionFilter{Address: address}, store.Page{})
	if err != nil || len(l.Items) != 1 {
		h.t.Fatalf("%+v, %v", l, err)
	}
	return l.Items[0].ID
}

// Reports that anybody can write change nothing, or as little as their writer could know.
func TestForgedReports(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecuritySTARTTLS)
		p := h.profile(s, mail.SecuritySTARTTLS, func(p *mail.Profile) { p.AlwaysBCC = []mail.Address{{Address: "archive@dupont.example"}} })
		verp := h.profile(s, mail.SecuritySTARTTLS, func(p *mail.Profile) { p.BounceMailbox.VERP = true })
		other := h.profile(s, mail.SecuritySTARTTLS, func(p *mail.Profile) { p.TenantID = h.newTenant() })
		one, two := h.send(p, mail.StatusSent, zoe), h.send(p, mail.StatusSent, zoe, "yan@client.example")
		failed, foreign := h.send(p, mail.StatusFailed, "refused@client.example"), h.send(other, mail.StatusSent, zoe)
		own, next := h.send(verp, mail.StatusSent, zoe, "yan@client.example"), h.send(verp, mail.StatusSent, "wim@client.example")
		path := h.far.returnPath(own)
		if want := "factures+" + strings.TrimPrefix(own, "msg_") + "-"; !strings.HasPrefix(path, want) || !strings.HasSuffix(path, "@dupont.example") {
			t.Fatalf("return path %q", path)
		}
		if got := h.far.returnPath(one); got != "factures@dupont.example" {
			t.Errorf("return path %q without VERP", got)
		}
		to := func(path, mail string) string { return strings.ReplaceAll(mail, "factures@dupont.example", path) }
		last := path[:strings.IndexByte(path, '@')]
		bad := last[:len(last)-1] + map[bool]string{true: "b", false: "a"}[strings.HasSuffix(last, "a")] + "@dupont.example"
		for name, c := range map[string]struct{ mail, id, want string }{
			"no such message":             {report(t, "msg_01kbvf8q3d9x5t2m7n4c6w1e0z", zoe, "failed", "5.1.1"), one, "unknown"},
			"of another tenant":           {report(t, foreign, zoe, "failed", "5.1.1"), one, "unknown"},
			"not a recipient":             {report(t, one, "ceo@client.example", "failed", "5.1.1"), one, "unknown"},
			"never sent":                  {report(t, failed, "refused@client.example", "failed", "5.1.1"), failed, "unknown"},
			"bad return path":             {to(bad, report(t, own, zoe, "failed", "5.1.1")), own, "unknown"},
			"no return path of its":       {to(strings.Replace(path, own[4:], one[4:], 1), report(t, one, zoe, "failed", "5.1.1")), one, "unknown"},
			"path and message differ":     {to(path, report(t, next, "wim@client.example", "failed", "5.1.1")), next, "unknown"},
			"unknown action":              {report(t, one, zoe, "exploded", "5.1.1"), one, "unknown"},
			"several, by Message-ID only": {report(t, two, zoe, "failed", "5.1.1"), two, "bounced"},
		} {
			s.put("INBOX", c.mail)
			h.readAll(3)
			if got := h.known(c.id); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		// What is believed: one recipient besides the firm's own, and several by VERP, whatever a server made of its letters.
		s.put("INBOX", report(t, one, zoe, "failed", "5.1.1"))
		s.put("INBOX", to(strings.ToUpper(path), report(t, own, "yan@client.example", "failed", "5.1.10")))
		h.readAll(3)
		h.is(one, "bounced yan@client.example "+zoe)
		h.is(own, "bounced yan@client.example "+zoe)
		seen := 0
		for _, flags := range s.flags("INBOX") {
			if flags != "[]" {
				seen++
			}
		}
		// One by Message-ID, the last two, and that of the other tenant, whose own profile reads the same mailbox here.
		if seen != 4 {
			t.Errorf("%d mails marked: %q", seen, s.flags("INBOX"))
		}
	})
}

// readAll reads all mailboxes of all tenants.
func (h *house) readAll(want int) {
	h.t.Helper()
	h.sql("UPDATE bounce_mailboxes SET due_at = 0 WHERE token IS NULL")
	if n, err := h.reader.ReadDue(h.t.Context()); err != nil || n != want {
		h.t.Fatalf("%d mailboxes read, %v", n, err)
	}
}

func TestLoginTrouble(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityTLS)
		p := h.profile(s, mail.SecurityTLS, func(p *mail.Profile) { p.BounceMailbox.Password = "wrong" })
		id := h.send(p, mail.StatusSent, zoe)
		s.put("INBOX", report(t, id, zoe, "failed", "5.1.1"))
		h.read(p)
		if st := h.state(p); st.Problem == nil || st.Problem.Code != mailbox.CodeLoginRefused || !st.ReadAt.IsZero() {
			t.Fatalf("state %+v", st)
		}
		if n, err := h.reader.ReadDue(t.Context()); n != 0 || err != nil {
			t.Errorf("tried again at once: %d, %v", n, err)
		}
		h.send(p, mail.StatusSent, "other@client.example") // sending goes on
		s.set(func() { s.refuses = "LOGIN wrong is not right" })
		h.read(p)
		if st := h.state(p); st.Problem.Reply.Text != "" {
			t.Errorf("the password is quoted: %+v", st.Problem)
		}
		s.set(func() { s.refuses = "" })
		if trouble := h.reader.Check(t.Context(), p); trouble == nil || trouble.Code != mailbox.CodeLoginRefused {
			t.Errorf("check: %+v", trouble)
		}
		p.BounceMailbox.Password = password
		if trouble := h.reader.Check(t.Context(), p); trouble != nil {
			t.Errorf("check: %+v", trouble)
		}
		if err := h.store.UpdateProfile(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		if n, err := h.reader.ReadDue(t.Context()); n != 1 || err != nil {
			t.Errorf("%d read after the edit, %v", n, err)
		}
		h.is(id, "bounced "+zoe)
		if st := h.state(p); st.Problem != nil || st.ReadAt.IsZero() {
			t.Errorf("state %+v", st)
		}
		p.BounceMailbox = nil
		if err := h.store.UpdateProfile(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		if st := h.state(p); !st.ReadAt.IsZero() {
			t.Errorf("still known: %+v", st)
		}
	})
}

// What is wrong is named, and nobody is reached whom the policy forbids.
func TestTroubles(t *testing.T) {
	h := newHouse(t, pgtest.PreparedSQLite(t, "mailbox", migrate))
	s, plain := startIMAP(t, mail.SecurityTLS), startIMAP(t, mail.SecurityNone)
	for name, c := range map[string]struct {
		change func(p *mail.Profile)
		want   string
	}{
		"certificate": {func(p *mail.Profile) { p.SMTP.CACertificates = "" }, mailbox.CodeTLSFailed},
		"no TLS":      {func(p *mail.Profile) { p.BounceMailbox.Port = plain.port }, mailbox.CodeTLSFailed},
		"no STARTTLS": {func(p *mail.Profile) {
			p.BounceMailbox.Port, p.BounceMailbox.Security = plain.port, mail.SecuritySTARTTLS
		}, mailbox.CodeTLSFailed},
		"nobody there":   {func(p *mail.Profile) { p.BounceMailbox.Port = 1 }, mailbox.CodeUnreachable},
		"private":        {func(p *mail.Profile) { p.BounceMailbox.Host = "10.0.0.1" }, dial.CodeAddressNotAllowed},
		"folder":         {func(p *mail.Profile) { p.BounceMailbox.Folder = "Nowhere" }, mailbox.CodeNoFolder},
		"folder to move": {func(p *mail.Profile) { p.BounceMailbox.MoveTo = "Nowhere" }, mailbox.CodeNoFolder},
	} {
		p := h.profile(s, mail.SecurityTLS, c.change)
		got := h.reader.Check(t.Context(), p)
		if got == nil || got.Code != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

// However many processes look at once, one reads.
func TestOneReads(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityNone)
		p := h.profile(s, mail.SecurityNone, func(p *mail.Profile) { p.BounceMailbox.MoveTo = "Done" })
		id := h.send(p, mail.StatusSent, zoe)
		s.put("INBOX", report(t, id, zoe, "failed", "5.1.1"))
		var wg sync.WaitGroup
		var read atomic.Int64
		for range 8 {
			st := h.store
			if st.Dialect() == "postgres" {
				st = h.open()
			}
			r := h.newReader(st)
			wg.Go(func() {
				n, err := r.ReadDue(t.Context())
				if err != nil {
					t.Error(err)
				}
				read.Add(int64(n))
			})
		}
		wg.Wait()
		if read.Load() != 1 || s.logins != 1 {
			t.Errorf("%d readings, %d logins", read.Load(), s.logins)
		}
		h.is(id, "bounced "+zoe)
		if in, done := s.flags("INBOX"), s.flags("Done"); len(in) != 0 || len(done) != 1 {
			t.Errorf("in the inbox %q, moved %q", in, done)
		}
	})
}

// A report about a mail of a profile whose own secrets cannot be opened stops none behind it.
func TestReportOfAnUnreadableProfile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityNone)
		p, sealed := h.profile(s, mail.SecurityNone, nil), h.profile(s, mail.SecurityNone, func(p *mail.Profile) {
			p.BounceMailbox, p.SMTP.Auth, p.SMTP.Username, p.SMTP.Password = nil, mail.AuthPlain, "u", "p"
		})
		mine, theirs := h.send(p, mail.StatusSent, zoe), h.send(sealed, mail.StatusSent, "yan@client.example")
		keys, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := store.Open(t.Context(), store.Config{URL: url, Keyset: keys})
		if err != nil {
			t.Fatal(err)
		}
		defer elsewhere.Close()
		if err := elsewhere.UpdateProfile(t.Context(), sealed, 0); err != nil {
			t.Fatal(err)
		}
		s.put("INBOX", report(t, theirs, "yan@client.example", "failed", "5.1.1"))
		s.put("INBOX", report(t, mine, zoe, "failed", "5.1.1"))
		h.read(p)
		h.is(theirs, "bounced yan@client.example "+zoe) // the tenant's suppressions follow
		h.is(mine, "bounced yan@client.example "+zoe)
		if st := h.state(p); st.Problem != nil {
			t.Errorf("problem %+v", st.Problem)
		}
	})
}

// Wherever the line is cut, nothing is believed that was not read whole, nothing is passed over, and the next reading makes it good.
func TestCutLine(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityNone)
		p := h.profile(s, mail.SecurityNone, nil)
		h.read(p)
		step := 61
		if testing.Short() {
			step = 499
		}
		id := h.send(p, mail.StatusSent, zoe, "yan@client.example")
		mails := report(t, id, "nobody@client.example", "failed", "5.1.1")
		s.put("INBOX", mails)
		s.put("INBOX", report(t, id, zoe, "failed", "5.1.1"))
		cuts := 0
		for limit := 1; ; limit += step {
			s.set(func() { s.limit = limit })
			h.read(p)
			if st := h.state(p); st.Problem == nil {
				break
			} else if st.Problem.Code != mailbox.CodeUnreachable {
				t.Fatalf("cut after %d: %+v", limit, st.Problem)
			}
			if got := h.known(id); got != "unknown" && got != "bounced" {
				t.Fatalf("cut after %d: %s", limit, got)
			}
			cuts++
		}
		if cuts*step < len(mails) {
			t.Errorf("only %d cuts", cuts)
		}
		h.is(id, "bounced")
		if got := fmt.Sprint(s.flags("INBOX")); got != `[[] [$facteur \seen]]` {
			t.Errorf("flags %s", got)
		}
	})
}

// A report that is faster than the answer to the hand-over waits for it, and those behind it with it.
func TestReportBeforeTheOutcome(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityNone)
		p := h.profile(s, mail.SecurityNone, nil)
		before := h.send(p, mail.StatusSent, "before@client.example")
		gate := make(chan struct{})
		h.far.mu.Lock()
		h.far.gate = gate
		h.far.mu.Unlock()
		id := h.send(p, mail.StatusSending, zoe)
		s.put("INBOX", report(t, before, "before@client.example", "failed", "5.2.2"))
		s.put("INBOX", report(t, id, zoe, "failed", "5.1.1"))
		h.read(p)
		h.is(before, "bounced")
		h.is(id, "unknown")
		close(gate)
		h.await(h.tenant, id, mail.StatusSent)
		h.read(p)
		h.is(id, "bounced "+zoe)
	})
}

// A mailbox with more than one session takes is read to its end.
func TestManyMails(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, s := newHouse(t, url), startIMAP(t, mail.SecurityNone)
		p := h.profile(s, mail.SecurityNone, nil)
		id := h.send(p, mail.StatusSent, zoe)
		for range 230 {
			s.put("INBOX", "From: a@b.example\r\nSubject: Hello\r\nContent-Type: text/plain\r\n\r\nHello\r\n")
		}
		s.put("INBOX", report(t, id, zoe, "failed", "5.1.1"))
		for range 3 {
			if n, err := h.reader.ReadDue(t.Context()); n != 1 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
		h.is(id, "bounced "+zoe)
		if n, err := h.reader.ReadDue(t.Context()); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func (h *house) sql(query string) {
	h.t.Helper()
	err := h.store.Write(h.t.Context(), execute(query))
	if err != nil {
		h.t.Fatal(err)
	}
}
