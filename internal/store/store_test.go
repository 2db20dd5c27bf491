package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

// both runs a test on a migrated store of each database.
func both(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	bothURLs(t, func(t *testing.T, url string) { test(t, open(t, url)) })
}

func bothURLs(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	pgtest.BothPrepared(t, "store", migrate, test)
}

func migrate(url string) error { return store.Migrate(context.Background(), url) }

func newTenant(t testing.TB, s *store.Store) string {
	t.Helper()
	tenant := &store.Tenant{Name: "Dupont & fils"}
	if err := s.CreateTenant(context.Background(), tenant, nil); err != nil {
		t.Fatal(err)
	}
	return tenant.ID
}

func testProfile(tenant string) *mail.Profile {
	return &mail.Profile{
		TenantID: tenant, Level: mail.LevelCompany, OwnerRef: "C1", Name: "Factures", Default: true,
		From: mail.Address{Name: "Dupont", Address: "factures@dupont.example"}, Transport: "smtp", MaxConnections: 4,
		SMTP: &mail.SMTPSettings{Host: "mail.dupont.example", Port: 587, Security: mail.SecuritySTARTTLS, Auth: mail.AuthAuto, Username: "dupont", Password: "hunter2-in-clear"},
	}
}

func newProfile(t testing.TB, s *store.Store, tenant string) *mail.Profile {
	t.Helper()
	p := testProfile(tenant)
	if err := s.CreateProfile(context.Background(), p, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func newTemplate(t testing.TB, s *store.Store, tenant string, company string) *mail.Template {
	t.Helper()
	tpl := &mail.Template{
		TenantID: tenant, Name: "Facture", DocumentType: "invoice", CompanyRef: company, Default: true, DefaultLanguage: "fr",
		Translations: map[string]mail.Translation{"fr": {Subject: "Facture NUMFACT", Text: "Bonjour NOMCLIENT"}}, Tokens: []string{"MONTANT"},
	}
	if err := s.CreateTemplate(context.Background(), tpl, nil); err != nil {
		t.Fatal(err)
	}
	return tpl
}

func upload(t testing.TB, s *store.Store, tenant, data string, rec *store.IdempotencyRecord) (*store.Attachment, error) {
	t.Helper()
	u := s.NewUpload(context.Background(), tenant, 1<<30)
	defer u.Abort()
	if _, err := u.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	return u.Commit(context.Background(), store.AttachmentMeta{Filename: "facture.pdf", MediaType: "application/pdf", Kind: "invoice_pdf"}, rec)
}

// submit stores a job of n messages.
func submit(t testing.TB, s *store.Store, p *mail.Profile, n int) (jobID string, ids []string) {
	t.Helper()
	now := store.Now()
	job := store.NewJob{
		ID: store.NewID("job"), TenantID: p.TenantID, ProfileID: p.ID, Purpose: "batch", CreatedBy: "key_x", CreatedAt: now,
		Detail: store.JobDetail{ExternalID: "run-11", SenderLevel: p.Level, SenderReason: "company_default"},
	}
	messages := make([]store.NewMessage, n)
	for i := range messages {
		id := store.NewID("msg")
		ids = append(ids, id)
		to := mail.Address{Name: "Café Zoë", Address: fmt.Sprintf("zoe%d@zoe.example", i)}
		messages[i] = store.NewMessage{
			ID: id, Priority: mail.PriorityBatch, ExpiresAt: now.Add(48 * time.Hour),
			Recipients: []mail.Recipient{{Address: to, Kind: mail.KindTo, Status: mail.RecipientPending}},
			Content:    &mail.Content{Format: 1, From: p.From, To: []mail.Address{to}, Language: "fr", Subject: "Facture", Text: "Bonjour", HTML: "<p>Bonjour</p>"},
			Detail:     store.MessageDetail{ExternalID: fmt.Sprintf("F-%d", i), Document: mail.Document{Type: "invoice", Number: "2026/0042"}, Tags: []string{"november"}},
		}
	}
	insert(t, s, job, messages)
	return job.ID, ids
}

// insert stores a job with its messages.
func insert(t testing.TB, s *store.Store, job store.NewJob, messages []store.NewMessage) {
	t.Helper()
	sub, err := store.NewSubmission(job)
	if err == nil {
		err = sub.Add(messages...)
	}
	if err == nil {
		err = s.Write(context.Background(), func(ctx context.Context, tx *store.Tx) error {
			return s.InsertSubmissions(ctx, tx, []*store.Submission{sub})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sql changes rows behind the store's back, with $1 parameters.
func sql(t testing.TB, s *store.Store, query string, args ...any) {
	t.Helper()
	err := s.Write(context.Background(), func(ctx context.Context, tx *store.Tx) (err error) {
		if tx.PG != nil {
			_, err = tx.PG.Exec(ctx, query, args...)
		} else {
			_, err = tx.SQL.ExecContext(ctx, query, args...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTenantsAreApart calls everything that takes a tenant with another tenant's id: it is as if nothing were there.
func TestTenantsAreApart(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		mine, other := newTenant(t, s), newTenant(t, s)
		p, tpl := newProfile(t, s, mine), newTemplate(t, s, mine, "")
		job, messages := submit(t, s, p, 1)
		a, err := upload(t, s, mine, "pdf", nil)
		if err != nil {
			t.Fatal(err)
		}
		key, _, err := s.CreateKey(ctx, mine, "k", []store.Scope{store.ScopeSend})
		if err != nil {
			t.Fatal(err)
		}
		rec := &store.IdempotencyRecord{TenantID: mine, Key: "k1", RequestHash: "h", Status: 201}
		if _, err := upload(t, s, mine, "pdf", rec); err != nil {
			t.Fatal(err)
		}
		asOther := func(p mail.Profile) *mail.Profile { p.TenantID = other; return &p }
		calls := map[string]func() error{
			"Profile":               func() error { _, err := s.Profile(ctx, other, p.ID); return err },
			"ProfileWithSecrets":    func() error { _, err := s.ProfileWithSecrets(ctx, other, p.ID); return err },
			"DefaultProfile":        func() error { _, err := s.DefaultProfile(ctx, other, p.Level, p.OwnerRef); return err },
			"UpdateProfile":         func() error { return s.UpdateProfile(ctx, asOther(*p), 0) },
			"DeleteProfile":         func() error { return s.DeleteProfile(ctx, other, p.ID, 0) },
			"ClearHold":             func() error { return s.ClearHold(ctx, other, p.ID) },
			"Template":              func() error { _, err := s.Template(ctx, other, tpl.ID); return err },
			"TemplateVersion":       func() error { _, err := s.TemplateVersion(ctx, other, tpl.ID, 1); return err },
			"FindTemplate":          func() error { _, err := s.FindTemplate(ctx, other, "", "invoice"); return err },
			"UpdateTemplate":        func() error { t := *tpl; t.TenantID = other; return s.UpdateTemplate(ctx, &t, 0) },
			"PutTranslation":        func() error { _, err := s.PutTranslation(ctx, other, tpl.ID, "nl", mail.Translation{}, 0); return err },
			"DeleteTranslation":     func() error { _, err := s.DeleteTranslation(ctx, other, tpl.ID, "fr", 0); return err },
			"DeleteTemplate":        func() error { return s.DeleteTemplate(ctx, other, tpl.ID, 0) },
			"Attachment":            func() error { _, err := s.Attachment(ctx, other, a.ID); return err },
			"OpenAttachment":        func() error { _, err := s.OpenAttachment(ctx, other, a.SHA256); return err },
			"Files":                 func() error { _, err := s.Files(other).Open(ctx, a.Attachment); return err },
			"Message":               func() error { _, err := s.Message(ctx, other, messages[0]); return err },
			"MessageContent":        func() error { _, err := s.MessageContent(ctx, other, messages[0]); return err },
			"Attempts":              func() error { _, err := s.Attempts(ctx, other, messages[0]); return err },
			"Job":                   func() error { _, err := s.Job(ctx, other, job); return err },
			"Replay":                func() error { _, err := s.Replay(ctx, other, "k1"); return err },
			"RevokeKey":             func() error { return s.RevokeKey(ctx, other, key.ID) },
			"RevokeKey as operator": func() error { return s.RevokeKey(ctx, "", key.ID) },
			"ChangeMessage": func() error {
				return s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
					return s.ChangeMessage(ctx, tx, other, messages[0], store.Now(), func(*store.MessageState) error { return nil })
				})
			},
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s for another tenant: %v", name, err)
			}
		}
		lists := map[string]func() (int, error){
			"profiles":  func() (int, error) { return size(s.ListProfiles(ctx, other, store.ProfileFilter{}, store.Page{})) },
			"templates": func() (int, error) { return size(s.ListTemplates(ctx, other, store.TemplateFilter{}, store.Page{})) },
			"keys":      func() (int, error) { return size(s.ListKeys(ctx, other, store.Page{})) },
			"messages":  func() (int, error) { return size(s.ListMessages(ctx, other, store.MessageFilter{}, store.Page{})) },
			"messages of": func() (int, error) {
				return size(s.ListMessages(ctx, other, store.MessageFilter{JobID: job, ExternalID: "F-0", ProfileID: p.ID}, store.Page{}))
			},
			"jobs":        func() (int, error) { return size(s.ListJobs(ctx, other, store.JobFilter{}, store.Page{})) },
			"audit":       func() (int, error) { return size(s.ListAudit(ctx, other, store.Page{})) },
			"attachments": func() (int, error) { found, err := s.Attachments(ctx, other, []string{a.ID}); return len(found), err },
		}
		for name, list := range lists {
			if n, err := list(); n != 0 || err != nil {
				t.Errorf("list of %s for another tenant: %d, %v", name, n, err)
			}
		}
		// And nothing of it changed anything.
		if again, err := s.Profile(ctx, mine, p.ID); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("the profile is %+v, %v", again, err)
		}
		if again, err := s.Template(ctx, mine, tpl.ID); err != nil || !reflect.DeepEqual(again, tpl) {
			t.Errorf("the template is %+v, %v", again, err)
		}
	})
}

func size[T any](l *store.List[T], err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(l.Items), nil
}

func TestPaging(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		want := make([]string, 7)
		for i := range want {
			want[i] = newTenant(t, s)
		}
		slices.Sort(want)
		slices.Reverse(want)
		if n, err := s.CountTenants(ctx); err != nil || n != len(want) {
			t.Errorf("count %d, %v", n, err)
		}
		var got []string
		var sizes []int
		for p := (store.Page{Limit: 3}); ; {
			l, err := s.ListTenants(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range l.Items {
				got = append(got, x.ID)
			}
			sizes = append(sizes, len(l.Items))
			if p.Cursor = l.Next; p.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) || !slices.Equal(sizes, []int{3, 3, 1}) {
			t.Errorf("pages of %v: %v, want %v", sizes, got, want)
		}
		for _, bad := range []string{"x", "!", "PA==", strings.Repeat("A", 400)} {
			if _, err := s.ListTenants(ctx, store.Page{Cursor: bad}); !errors.Is(err, store.ErrCursor) {
				t.Errorf("cursor %q: %v", bad, err)
			}
		}
	})
}

func TestIdempotencyRecordIsOneWithWhatItAnswers(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		rec := func(key string) *store.IdempotencyRecord {
			return &store.IdempotencyRecord{
				TenantID: tenant, Key: key, RequestHash: "h", Status: 201, Headers: map[string]string{"Location": "/v1/x"}, Body: []byte(`{"id":1}`), CreatedAt: store.Now(),
			}
		}
		creates := map[string]func(*store.IdempotencyRecord) error{
			"tenant":  func(r *store.IdempotencyRecord) error { return s.CreateTenant(ctx, &store.Tenant{Name: "x"}, r) },
			"profile": func(r *store.IdempotencyRecord) error { return s.CreateProfile(ctx, testProfile(tenant), r) },
			"template": func(r *store.IdempotencyRecord) error {
				return s.CreateTemplate(ctx, &mail.Template{TenantID: tenant}, r)
			},
			"attachment": func(r *store.IdempotencyRecord) error { _, err := upload(t, s, tenant, "small", r); return err },
			"large attachment": func(r *store.IdempotencyRecord) error {
				_, err := upload(t, s, tenant, strings.Repeat("large", 100_000), r)
				return err
			},
		}
		for name, create := range creates {
			r := rec(name)
			if err := create(r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := s.Replay(ctx, tenant, name)
			if err != nil || !reflect.DeepEqual(got, r) {
				t.Errorf("%s: replay %+v, %v", name, got, err)
			}
			before := rows(t, s)
			if err := create(rec(name)); !errors.Is(err, store.ErrKeyUsed) {
				t.Errorf("%s again: %v", name, err)
			}
			if after := rows(t, s); !maps.Equal(before, after) {
				t.Errorf("%s again left something: %v, then %v", name, before, after)
			}
		}
		var taken []int
		err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			taken, err = s.SaveIdempotency(ctx, tx, []*store.IdempotencyRecord{rec("new"), nil, rec("profile"), rec("new"), rec("another")})
			return err
		})
		if err != nil || !slices.Equal(taken, []int{2, 3}) {
			t.Errorf("taken %v, %v", taken, err)
		}
		if n, err := s.SweepIdempotency(ctx, time.Hour); n != 0 || err != nil {
			t.Errorf("swept %d young records, %v", n, err)
		}
		if n, err := s.SweepIdempotency(ctx, -time.Hour); n != len(creates)+2 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		if _, err := s.Replay(ctx, tenant, "new"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("replay of a forgotten key: %v", err)
		}
	})
}

// rows counts the rows of what Create functions write.
func rows(t testing.TB, s *store.Store) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for _, table := range []string{"tenants", "sender_profiles", "lanes", "templates", "template_versions", "blobs", "attachments", "idempotency_records"} {
		counts[table] = count(t, s, "SELECT count(*) FROM "+table)
	}
	return counts
}

func count(t testing.TB, s *store.Store, query string) (n int) {
	t.Helper()
	err := s.Write(context.Background(), func(ctx context.Context, tx *store.Tx) error {
		if tx.PG != nil {
			return tx.PG.QueryRow(ctx, query).Scan(&n)
		}
		return tx.SQL.QueryRowContext(ctx, query).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAudit(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		event := &store.AuditEvent{TenantID: tenant, Actor: "key_1", Action: "message.resolve", Subject: "msg_1", Detail: []byte(`{"as":"sent"}`)}
		rolledBack := errors.New("rolled back")
		for _, fail := range []error{rolledBack, nil} {
			err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
				return errors.Join(s.AppendAudit(ctx, tx, event), fail)
			})
			if !errors.Is(err, fail) {
				t.Fatal(err)
			}
		}
		l, err := s.ListAudit(ctx, tenant, store.Page{})
		if err != nil || len(l.Items) != 1 || !reflect.DeepEqual(l.Items[0], event) {
			t.Errorf("events %+v, %v", l, err)
		}
	})
}

func TestOpenHidesThePassword(t *testing.T) {
	for _, u := range []string{"postgres://facteur:hunter2@127.0.0.1:1/x", "postgres://facteur:hunter2@127.0.0.1:bad port/x"} {
		_, err := store.Open(context.Background(), store.Config{URL: u})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func TestCommitsAreDurable(t *testing.T) {
	base, err := url.Parse(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]string{"off": "on", "on": "on", "remote_apply": "remote_apply"} {
		u := *base
		q := u.Query()
		q.Set("synchronous_commit", set)
		u.RawQuery = q.Encode()
		var got string
		if err := open(t, u.String()).Postgres().QueryRow(context.Background(), "SHOW synchronous_commit").Scan(&got); err != nil || got != want {
			t.Errorf("set up as %s: %s, %v", set, got, err)
		}
	}
	s := open(t, pgtest.SQLite(t))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := s.SQLite().QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v", pragma, got, err)
		}
	}
}

func benchStore(b *testing.B, database string) *store.Store {
	b.Helper()
	url := pgtest.SQLite(b)
	if database == "postgres" {
		url = pgtest.New(b)
	}
	s := open(b, url)
	if err := s.Migrate(context.Background()); err != nil {
		b.Fatal(err)
	}
	return s
}
