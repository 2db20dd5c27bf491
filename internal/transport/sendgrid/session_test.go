package sendgrid_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// zoeDomain is b@zoë.example as the envelope has it.
var zoeDomain, _ = mail.EnvelopeForm("b@zoë.example")

// files are attachments' contents by id.
type files map[string][]byte

func (f files) Open(_ context.Context, a mail.Attachment) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(f[a.ID])), nil
}

// attach adds a file to a mail.
func (f files) attach(c *mail.Content, a mail.Attachment, data []byte) {
	sum := sha256.Sum256(data)
	a.ID, a.Size, a.SHA256 = fmt.Sprintf("att_%d", len(f)), int64(len(data)), hex.EncodeToString(sum[:])
	f[a.ID] = data
	c.Attachments = append(c.Attachments, a)
}

func render(t testing.TB, c *mail.Content, p *mail.Profile, f files, to ...string) *mail.Rendered {
	t.Helper()
	m, err := mail.Render(context.Background(), c, p, mail.Envelope{From: p.EnvelopeFrom(), To: to}, f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func full(f files) *mail.Content {
	c := &mail.Content{
		Format: 1, MessageIDHeader: "<01kaw7zq4x@etudes.example>", Date: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC), Language: "fr",
		From: profile().From, ReplyTo: []mail.Address{{Name: "Compta", Address: "compta@etudes.example"}, {Address: "chef@etudes.example"}},
		To: []mail.Address{{Name: `Zoë "Z" <x>`, Address: "a@zoe.example"}, {Address: "A@ZOE.example"}}, CC: []mail.Address{{Address: "b@zoë.example"}, {Address: "a@zoe.example"}},
		InReplyTo: "<01a@etudes.example>", References: []string{"<01b@etudes.example>", "<01a@etudes.example>"}, Automatic: true,
		Headers:    []mail.Header{{Name: "X-Dossier", Value: "Numéro 7"}, {Name: "X-Plain", Value: "7"}},
		Categories: []string{"november", "vat", "november", "", "été", "3", "4", "5", "6", "7", "8", "9", "10", "11"},
		Subject:    "Facture 2026/0042 – novembre", Text: "Bonjour,\n\nVoici.\n", HTML: `<p>Bonjour <img src="cid:logo@etudes.example"></p>`,
	}
	f.attach(c, mail.Attachment{Filename: "Facture été.pdf", MediaType: "application/pdf", Kind: "invoice_pdf"}, bytes.Repeat([]byte("%PDF-1.7 "), 20_000))
	f.attach(c, mail.Attachment{Filename: "logo.png", MediaType: "image/png", Kind: "other", ContentID: "logo@etudes.example"}, []byte("\x89PNG"))
	f.attach(c, mail.Attachment{Filename: "ubl.xml", MediaType: "text/xml; charset=utf-8", Kind: "ubl"}, []byte("<Invoice/>"))
	f.attach(c, mail.Attachment{Filename: "grand.bin", MediaType: "application/octet-stream", Kind: "other"}, bytes.Repeat([]byte{0, 1, 2, 3, 4}, 500_000)) // too large to be held
	return c
}

// All of a mail arrives as it was composed, and nothing of anybody stands where SendGrid keeps it for its own reports.
func TestTheMailArrivesAsComposed(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{Domains: []string{"etudes.example"}})
	f := files{}
	c := full(f)
	v := attempt(t, newTransport(t, s), s, profile(), render(t, c, profile(), f, "a@zoe.example", "A@zoe.example", zoeDomain, "archive@etudes.example"))
	if v.Outcome != mail.OutcomeSent {
		t.Fatalf("%+v", v)
	}
	m := s.Mails()[0]
	if id, ok := sendgrid.ParseEvidence(v.Evidence); !ok || id != m.ID {
		t.Errorf("evidence %q, X-Message-Id %q", v.Evidence, m.ID)
	}
	address := func(list []tt.SendGridAddress) string { return fmt.Sprint(list) }
	for what, pair := range map[string][2]string{
		"from":     {address([]tt.SendGridAddress{m.From}), "[{factures@etudes.example Études & Conseils}]"},
		"reply-to": {address(m.ReplyTo), "[{compta@etudes.example Compta} {chef@etudes.example }]"},
		"to":       {address(m.To), `[{a@zoe.example Zoë "Z" <x>}]`}, // SendGrid refuses an address that is there twice
		"cc":       {address(m.CC), "[{" + zoeDomain + " }]"},
		"bcc":      {address(m.BCC), "[{archive@etudes.example }]"},
		"subject":  {m.Subject, c.Subject}, "text": {m.Text, c.Text}, "html": {m.HTML, c.HTML},
		"args": {fmt.Sprint(m.CustomArgs), "map[facteur_message:msg_01kaw7zq4x facteur_tenant:ten_1]"},
		"headers": {fmt.Sprint(m.Headers), "map[Auto-Submitted:auto-generated In-Reply-To:<01a@etudes.example> Message-ID:<01kaw7zq4x@etudes.example> " +
			"References:<01b@etudes.example> <01a@etudes.example> X-Dossier:=?utf-8?q?Num=C3=A9ro_7?= X-Plain:7]"},
		"tracking": {fmt.Sprint(m.ClickTracking, m.OpenTracking, m.Categories), "false false [november vat 3 4 5 6 7 8 9 10]"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, want %s", what, pair[0], pair[1])
		}
	}
	if len(m.Attachments) != len(c.Attachments) {
		t.Fatalf("%d files", len(m.Attachments))
	}
	for i, want := range []string{
		"Facture été.pdf application/pdf attachment ", "logo.png image/png inline logo@etudes.example", "ubl.xml application/xml attachment ", "grand.bin application/octet-stream attachment ",
	} {
		a := m.Attachments[i]
		if got := strings.Join([]string{a.Filename, a.Type, a.Disposition, a.ContentID}, " "); got != want || !bytes.Equal(a.Data, f[c.Attachments[i].ID]) {
			t.Errorf("file %d: %q with %d bytes", i, got, len(a.Data))
		}
	}
	// The hidden recipient is in no header that anybody sees.
	if strings.Contains(fmt.Sprint(m.To, m.CC, m.Headers, m.Text, m.HTML), "archive@") {
		t.Error("the hidden recipient shows")
	}

	tracked := profile()
	tracked.SendGrid.Tracking = true
	attempt(t, newTransport(t, s), s, tracked, tt.Message(t, tracked, "a@zoe.example"))
	if m := s.Mails()[1]; !m.ClickTracking || !m.OpenTracking {
		t.Error("tracking was asked for")
	}
}

// What is sent is what SendGrid's own description wants.
func TestRequestsAreAsDescribed(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../transporttest/testdata/sendgrid_mail_v3.json")
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	s := tt.StartSendGrid(t, tt.SendGridConfig{Domains: []string{"etudes.example"}})
	f := files{}
	tr := newTransport(t, s)
	attempt(t, tr, s, profile(), tt.Message(t, profile(), "a@zoe.example"))
	attempt(t, tr, s, careful(), render(t, full(f), careful(), f, "a@zoe.example", "A@zoe.example", zoeDomain, "archive@etudes.example"))
	mails := s.Mails()
	if len(mails) != 2 {
		t.Fatal(len(mails))
	}
	for _, m := range mails {
		if m.Headers["Idempotency-Key"] != "" || !json.Valid(m.Body) {
			t.Error("not a good request")
		}
		req := httptest.NewRequest(http.MethodPost, "https://api.sendgrid.com/v3/mail/send", bytes.NewReader(m.Body))
		req.Header.Set("Content-Type", "application/json")
		route, params, err := router.FindRoute(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := openapi3filter.ValidateRequest(t.Context(), &openapi3filter.RequestValidationInput{
			Request: req, Route: route, PathParams: params, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		}); err != nil {
			t.Errorf("%.2000v", err)
		}
	}
}

// What SendGrid cannot take is refused before any request.
func TestRefusedBeforeAnyRequest(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true})
	plain := func(change func(*mail.Content, files)) func(*testing.T) *mail.Rendered {
		return func(t *testing.T) *mail.Rendered {
			c, f := full(files{}), files{}
			c.To, c.CC, c.Attachments = []mail.Address{{Address: "a@zoe.example"}}, nil, nil
			change(c, f)
			return render(t, c, profile(), f, "a@zoe.example")
		}
	}
	for name, test := range map[string]struct {
		mail func(*testing.T) *mail.Rendered
		code string
	}{
		"30.1 MB": {plain(func(c *mail.Content, f files) {
			f.attach(c, mail.Attachment{Filename: "a.bin", MediaType: "application/octet-stream"}, make([]byte, 30_100_000*3/4))
		}), "message_too_large"},
		"empty file": {plain(func(c *mail.Content, f files) {
			f.attach(c, mail.Attachment{Filename: "a.bin", MediaType: "application/octet-stream"}, nil)
		}), sendgrid.CodeMessageInvalid},
		"somebody has it": {plain(func(c *mail.Content, f files) { c.CC = []mail.Address{{Address: "had@zoe.example"}} }), sendgrid.CodePartlySent},
		"not ASCII":       {func(t *testing.T) *mail.Rendered { return tt.Message(t, profile(), "zoë@zoe.example") }, sendgrid.CodeAddressNotASCII},
		"1001 recipients": {func(t *testing.T) *mail.Rendered {
			var to []string
			for i := range 1001 {
				to = append(to, fmt.Sprintf("a%d@zoe.example", i))
			}
			return tt.Message(t, profile(), to...)
		}, sendgrid.CodeTooManyRecipients},
	} {
		t.Run(name, func(t *testing.T) {
			v := attempt(t, newTransport(t, s), s, profile(), test.mail(t))
			if v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeMessage || v.Code != test.code {
				t.Errorf("%+v", v)
			}
		})
	}
	if s.Calls("upload")+s.Calls("batch") != 0 {
		t.Error("there was a request")
	}
}

// 4,000 mails by 40 sessions at once: each is there exactly once.
func TestEachMailOnce(t *testing.T) {
	const sessions, each = 40, 100
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true, DiscardData: true})
	tr := newTransport(t, s)
	var wg sync.WaitGroup
	for range sessions {
		session, err := tr.Open(t.Context(), profile())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer session.Close()
			for range each {
				m := tt.Message(t, profile(), "a@zoe.example")
				v := session.Send(t.Context(), m, func(context.Context) error { return nil })
				if v.Outcome != mail.OutcomeSent {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	wg.Wait()
	ids := s.ByMessageID()
	if s.Accepted() != sessions*each || len(ids) != sessions*each || s.Duplicates() != 0 || s.Calls("upload") != sessions*each {
		t.Errorf("%d accepted, %d different, %d twice, %d POSTs", s.Accepted(), len(ids), s.Duplicates(), s.Calls("upload"))
	}
}

// After the whole mail nothing is ever posted a second time, on a fresh connection as on a kept one.
func TestNeverASecondPost(t *testing.T) {
	for name, action := range map[string]tt.SendGridAction{
		"drop after accept": {Accept: true, Drop: true}, "500 after accept": {Accept: true, Status: 500}, "503": {Status: 503}, "drop": {Drop: true},
		"redirect": {Status: 307, Header: map[string]string{"Location": "/v3/mail/send"}, Body: "x"}, "sandbox's answer": {Status: 200, Body: "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true})
			tr := newTransport(t, s)
			for range 2 { // the second goes over the connection that the first has kept
				if v := attempt(t, tr, s, profile(), tt.Message(t, profile(), "a@zoe.example")); v.Outcome != mail.OutcomeSent {
					t.Fatalf("%+v", v)
				}
				s.SetHook(at("send", action))
				before := s.Calls("upload")
				v := attempt(t, tr, s, profile(), tt.Message(t, profile(), "a@zoe.example"))
				if v.Outcome != mail.OutcomeUncertain || v.Evidence == "" || s.Calls("upload") != before+1 || s.Duplicates() != 0 {
					t.Errorf("%d POSTs, %+v", s.Calls("upload")-before, v)
				}
				s.SetHook(nil)
			}
		})
	}
}

// SendGrid's refusal of a From that the profile had once is about that mail, and does not stop the profile.
func TestRefusedFromOfAnEarlierProfile(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{Domains: []string{"etudes.example"}})
	tr := newTransport(t, s)
	then := profile()
	then.From.Address = "factures@etudes-old.example"
	v := attempt(t, tr, s, profile(), tt.Message(t, then, "a@zoe.example"))
	if v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeMessage || v.Code != sendgrid.CodeFromUnverified {
		t.Errorf("%+v", v)
	}
	if v := attempt(t, tr, s, then, tt.Message(t, then, "a@zoe.example")); v.Scope != mail.ScopeProfile || v.Code != sendgrid.CodeSenderUnverified {
		t.Errorf("%+v", v)
	}
}

// The limit of one subuser is no other's.
func TestRateLimitOfASubuser(t *testing.T) {
	reset := time.Now().Add(time.Hour).Unix()
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true, Subusers: []string{"one", "two"}, Hook: func(step tt.SendGridStep) tt.SendGridAction {
		if step.Subuser == "one" {
			return tt.SendGridAction{Status: 429, Message: "too many requests", Header: map[string]string{"X-RateLimit-Reset": fmt.Sprint(reset), "X-RateLimit-Remaining": "0"}}
		}
		return tt.SendGridAction{}
	}})
	tr := newTransport(t, s, func(c *sendgrid.Config) { c.Accounts = byTenant{"ten_1": {Subuser: "one"}, "ten_2": {Subuser: "two"}} })
	v := attempt(t, tr, s, profile(), tt.Message(t, profile(), "a@zoe.example"))
	if v.Outcome != mail.OutcomeTemporary || v.Scope != mail.ScopeProfile || v.Code != sendgrid.CodeRateLimited || v.RetryAfter < 59*time.Minute || v.RetryAfter > time.Hour {
		t.Errorf("%+v", v)
	}
	other := profile()
	other.TenantID = "ten_2"
	if v := attempt(t, tr, s, other, tt.Message(t, other, "a@zoe.example")); v.Outcome != mail.OutcomeSent || s.Mails()[0].Subuser != "two" {
		t.Errorf("%+v", v)
	}
}

type byTenant map[string]sendgrid.Account

func (b byTenant) Account(_ context.Context, p *mail.Profile) (sendgrid.Account, error) {
	return b[p.TenantID], nil
}

// Keys are found by name, and what is wrong with them is said without them.
func TestKeys(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true, Keys: []tt.SendGridKey{{Key: "SG.one"}, {Key: "SG.two"}}})
	tr := newTransport(t, s, func(c *sendgrid.Config) {
		c.Keys = map[string]sendgrid.Key{"one": {Secret: "SG.one", BaseURL: s.URL()}, "two": {Secret: "SG.two", BaseURL: s.URL() + "/"}}
		c.Default = "two"
		c.Accounts = byTenant{"ten_1": {Key: "one"}, "ten_3": {Key: "three"}}
	})
	for tenant, key := range map[string]string{"ten_1": "SG.one", "ten_2": "SG.two"} {
		p := profile()
		p.TenantID = tenant
		attempt(t, tr, s, p, tt.Message(t, p, "a@zoe.example"))
		if mails := s.Mails(); mails[len(mails)-1].Key != key {
			t.Errorf("%s sends with %s", tenant, mails[len(mails)-1].Key)
		}
	}
	p := profile()
	p.TenantID = "ten_3"
	if _, err := tr.Open(t.Context(), p); err == nil || !strings.Contains(err.Error(), sendgrid.CodeKeyMissing) {
		t.Errorf("open: %v", err)
	}
	for name, cfg := range map[string]sendgrid.Config{
		"no default":  {Keys: map[string]sendgrid.Key{"a": {Secret: "hunter2"}, "b": {Secret: "hunter2"}}},
		"line break":  {Keys: map[string]sendgrid.Key{"a": {Secret: "hunter2\r\nX: y"}}},
		"no URL":      {Keys: map[string]sendgrid.Key{"a": {Secret: "hunter2", BaseURL: "api.sendgrid.com"}}},
		"a login":     {Keys: map[string]sendgrid.Key{"a": {Secret: "x", BaseURL: "https://me:hunter2@api.sendgrid.com"}}},
		"unknown one": {Keys: map[string]sendgrid.Key{"a": {Secret: "hunter2"}}, Default: "b"},
	} {
		if _, err := sendgrid.New(cfg); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sendgrid.New(sendgrid.Config{}); err != nil {
		t.Error(err) // without a key every session is refused, and the service runs
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  tt.SendGridConfig
		step string
		code string
	}{
		"verified sender":     {tt.SendGridConfig{Senders: []string{"Factures@etudes.example"}}, "", ""},
		"authenticated":       {tt.SendGridConfig{Domains: []string{"etudes.example"}}, "", ""},
		"a key that may send": {tt.SendGridConfig{Domains: []string{"etudes.example"}, Keys: []tt.SendGridKey{{Key: tt.SendGridTestKey, Scopes: []string{"mail.send"}}}}, "", ""},
		"another domain":      {tt.SendGridConfig{Domains: []string{"x.etudes.example", "other.example"}}, "sender", sendgrid.CodeSenderUnverified},
		"wrong key":           {tt.SendGridConfig{Keys: []tt.SendGridKey{{Key: "SG.other"}}}, "login", sendgrid.CodeKeyRefused},
		"may not send":        {tt.SendGridConfig{Keys: []tt.SendGridKey{{Key: tt.SendGridTestKey, Scopes: []string{"stats.read"}}}}, "login", sendgrid.CodeKeyRefused},
		"SendGrid is ill":     {tt.SendGridConfig{Domains: []string{"etudes.example"}, Hook: at("send", tt.SendGridAction{Status: 503})}, "sender", sendgrid.CodeServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.StartSendGrid(t, test.cfg)
			steps := newTransport(t, s).Check(t.Context(), profile())
			last := steps[len(steps)-1]
			if last.OK != (test.code == "") || last.Code != test.code || test.step != "" && last.Name != test.step {
				t.Errorf("%+v", steps)
			}
			if s.Accepted() != 0 {
				t.Error("a check sent a mail")
			}
		})
	}
}

func TestClientAuthenticatesADomain(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{Subusers: []string{"zoe"}})
	c, err := newTransport(t, s).Client(sendgrid.Account{Subuser: "zoe"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.AuthenticateDomain(t.Context(), "zoe.example")
	if err != nil || d.Valid || len(d.DNS) != 3 || d.DNS["dkim1"].Host != "s1._domainkey.zoe.example" {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := c.AuthenticateDomain(t.Context(), "zoe.example"); err == nil {
		t.Error("twice")
	}
	s.Publish("zoe", "zoe.example", "dkim1", "dkim2")
	v, err := c.ValidateDomain(t.Context(), d.ID)
	if err != nil || v.Valid || !v.Records["dkim1"].Valid || v.Records["mail_cname"].Valid || v.Records["mail_cname"].Reason == "" {
		t.Errorf("%+v, %v", v, err)
	}
	s.Publish("zoe", "zoe.example")
	if v, err = c.ValidateDomain(t.Context(), d.ID); err != nil || !v.Valid {
		t.Errorf("%+v, %v", v, err)
	}
	list, err := c.Domains(t.Context(), "ZOE.example")
	if d, err2 := c.Domain(t.Context(), d.ID); err2 != nil || err != nil || len(list) != 0 && !list[0].Valid || !d.Valid {
		t.Errorf("%+v, %+v, %v, %v", list, d, err, err2)
	}
	made, err := c.CreateVerifiedSender(t.Context(), sendgrid.VerifiedSender{
		Nickname: "ten_1", FromEmail: "zoe@gmail.example", ReplyTo: "zoe@gmail.example", Address: "Rue 1", City: "Liège", Country: "Belgium", Verified: true,
	})
	if err != nil || made.Verified || made.ID == 0 {
		t.Errorf("%+v, %v", made, err)
	}
	for i := range 120 { // more than a page
		s.Verify("zoe", fmt.Sprintf("v%d@zoe.example", i))
	}
	senders, err := c.VerifiedSenders(t.Context())
	if err != nil || len(senders) != 121 || slices.ContainsFunc(senders[1:], func(s sendgrid.VerifiedSender) bool { return !s.Verified }) {
		t.Errorf("%d senders, %v", len(senders), err)
	}
}
