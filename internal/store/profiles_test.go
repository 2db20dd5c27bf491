package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

// TestProfileKeepsEveryField fails when a field is added to the domain and forgotten in the row.
func TestProfileKeepsEveryField(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := &mail.Profile{
			TenantID: newTenant(t, s), Level: mail.LevelUser, OwnerRef: "jdupont", Name: "Moi", Default: true,
			From:    mail.Address{Name: "Zoë", Address: "zoe@x.example"},
			ReplyTo: []mail.Address{{Address: "r@x.example"}}, AlwaysCC: []mail.Address{{Address: "cc@x.example"}}, AlwaysBCC: []mail.Address{{Address: "bcc@x.example"}},
			Signatures:  map[string]mail.Signature{"fr": {Text: "Cordialement", HTML: "<p>Cordialement</p>"}},
			Attachments: []mail.ProfileAttachment{{AttachmentID: "att_1", Languages: []string{"fr"}}},
			Transport:   "smtp", MaxConnections: 3, Limits: mail.Limits{PerMinute: 1, PerHour: 2, PerDay: 3}, ResendUncertain: true,
			SMTP: &mail.SMTPSettings{
				Host: "h", Port: 25, Security: mail.SecurityNone, Auth: mail.AuthPlain, Username: "u", Password: "p", AllowPlaintextLogin: true,
				HELO: "helo", TLSServerName: "name", CACertificates: "pem", DSN: true, EnvelopeFrom: "bounce@x.example",
			},
			Gmail:    &mail.GmailSettings{Client: "key-2", Aliases: []string{"me@gmail.example"}, Reconcile: true},
			SendGrid: &mail.SendGridSettings{Careful: true, Tracking: true},
			BounceMailbox: &mail.BounceMailbox{
				Host: "h", Port: 993, Security: mail.SecurityTLS, Username: "u", Password: "p", Folder: "INBOX", MoveTo: "Done", VERP: true, VERPKey: "k",
			},
		}
		for _, v := range []reflect.Value{reflect.ValueOf(*p.SMTP), reflect.ValueOf(*p.Gmail), reflect.ValueOf(*p.SendGrid), reflect.ValueOf(*p.BounceMailbox), reflect.ValueOf(*p)} {
			for i := range v.NumField() {
				switch name := v.Type().Field(i).Name; name {
				case "ID", "Version", "Hold", "PausedUntil", "Pause", "PauseCount", "SecretsUnreadable", "LimitedUntil", "LimitedBy", "CreatedAt", "UpdatedAt": // the store's
				default:
					if v.Field(i).IsZero() {
						t.Errorf("this test leaves out %s", name)
					}
				}
			}
		}
		if err := s.CreateProfile(ctx, p, nil); err != nil {
			t.Fatal(err)
		}
		for _, get := range []func() (*mail.Profile, error){
			func() (*mail.Profile, error) { return s.Profile(ctx, p.TenantID, p.ID) },
			func() (*mail.Profile, error) { return s.ProfileByID(ctx, p.ID) },
			func() (*mail.Profile, error) { return s.DefaultProfile(ctx, p.TenantID, p.Level, p.OwnerRef) },
		} {
			if got, err := get(); err != nil || !reflect.DeepEqual(got, p) {
				t.Errorf("got %+v, %v", got, err)
			}
		}
	})
}

func TestUpdateProfile(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		trouble := mail.ProfileTrouble{Code: "smtp_login_refused", Reply: mail.Reply{Code: 535}, Since: store.Now()}
		if err := s.HoldProfile(ctx, p, trouble); err != nil {
			t.Fatal(err)
		}
		if err := s.PauseProfile(ctx, p, trouble, time.Hour); err != nil {
			t.Fatal(err)
		}
		held, err := s.Profile(ctx, p.TenantID, p.ID)
		if err != nil || !reflect.DeepEqual(held.Hold, &trouble) || !reflect.DeepEqual(held.Pause, &trouble) || held.PauseCount != 1 || held.Version != 1 {
			t.Fatalf("held: %+v, %v", held, err)
		}
		edited := *held
		edited.Name, edited.MaxConnections, edited.SMTP = "Autre", 6, &mail.SMTPSettings{Host: "new.example", Port: 25}
		if err := s.UpdateProfile(ctx, &edited, 2); !errors.Is(err, store.ErrVersion) {
			t.Fatalf("another version: %v", err)
		}
		if err := s.UpdateProfile(ctx, &edited, 1); err != nil {
			t.Fatal(err)
		}
		got, err := s.Profile(ctx, p.TenantID, p.ID)
		if err != nil || !reflect.DeepEqual(got, &edited) || got.Version != 2 || got.Hold != nil || got.Pause != nil || got.PauseCount != 0 || !got.CreatedAt.Equal(p.CreatedAt) {
			t.Errorf("edited: %+v, %v", got, err)
		}
		if n := count(t, s, "SELECT count(*) FROM lanes"); n != 6 {
			t.Errorf("%d lanes", n)
		}
		if n := count(t, s, "SELECT count(*) FROM sender_profiles WHERE sealed_secrets IS NOT NULL"); n != 0 {
			t.Error("a password that was taken away is still there")
		}
		if err := s.HoldProfile(ctx, held, trouble); err != nil { // by a worker with the old settings
			t.Fatal(err)
		}
		if got, err := s.Profile(ctx, p.TenantID, p.ID); err != nil || got.Hold != nil {
			t.Errorf("held for settings that were edited since: %+v, %v", got, err)
		}
	})
}

func TestOneDefaultProfile(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		first := newProfile(t, s, newTenant(t, s))
		elsewhere := testProfile(first.TenantID)
		elsewhere.OwnerRef = "C2"
		if err := s.CreateProfile(ctx, elsewhere, nil); err != nil {
			t.Fatal(err)
		}
		second := newProfile(t, s, first.TenantID)
		isDefault := func(want *mail.Profile) {
			t.Helper()
			if got, err := s.DefaultProfile(ctx, first.TenantID, mail.LevelCompany, "C1"); err != nil || got.ID != want.ID {
				t.Fatalf("the default is %+v, %v", got, err)
			}
		}
		isDefault(second)
		demoted, err := s.Profile(ctx, first.TenantID, first.ID)
		if err != nil || demoted.Default || demoted.Version != 2 {
			t.Fatalf("the old default: %+v, %v", demoted, err)
		}
		demoted.Default = true
		if err := s.UpdateProfile(ctx, demoted, 2); err != nil {
			t.Fatal(err)
		}
		isDefault(first)
		if n, err := size(s.ListProfiles(ctx, first.TenantID, store.ProfileFilter{Level: mail.LevelCompany, OwnerRef: "C1"}, store.Page{})); n != 2 || err != nil {
			t.Errorf("list: %d, %v", n, err)
		}
		if err := s.DeleteProfile(ctx, first.TenantID, first.ID, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DefaultProfile(ctx, first.TenantID, mail.LevelCompany, "C1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the default was deleted: %v", err)
		}
		if n := count(t, s, "SELECT count(*) FROM sender_profiles WHERE deleted_at IS NOT NULL AND sealed_secrets IS NOT NULL"); n != 0 {
			t.Error("a deleted profile keeps its password")
		}
	})
}

func TestDefaultsSetAtOnce(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := s.CreateProfile(ctx, testProfile(tenant), nil); err != nil && !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := count(t, s, "SELECT count(*) FROM sender_profiles WHERE is_default"); n != 1 {
			t.Errorf("%d defaults", n)
		}
	})
}

func TestDeleteProfileInUse(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		_, ids := submit(t, s, p, 1)
		inUse := func(status mail.Status) {
			t.Helper()
			if err := s.DeleteProfile(ctx, p.TenantID, p.ID, 0); !errors.Is(err, store.ErrInUse) {
				t.Errorf("with a message %s: %v", status, err)
			}
		}
		if claimed, err := s.Claim(ctx, p.ID, "token", time.Minute, 1); err != nil || len(claimed) != 1 {
			t.Fatalf("%v, %v", claimed, err)
		}
		inUse(mail.StatusSending)
		for _, status := range []mail.Status{mail.StatusQueued, mail.StatusDeferred, mail.StatusUncertain} {
			sql(t, s, "UPDATE messages SET status = $1 WHERE id = $2", string(status), ids[0])
			inUse(status)
		}
		sql(t, s, "UPDATE messages SET status = 'sent' WHERE id = $1", ids[0])
		if err := s.DeleteProfile(ctx, p.TenantID, p.ID, 7); !errors.Is(err, store.ErrVersion) {
			t.Errorf("another version: %v", err)
		}
		if err := s.DeleteProfile(ctx, p.TenantID, p.ID, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Profile(ctx, p.TenantID, p.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after the end: %v", err)
		}
		if m, err := s.Message(ctx, p.TenantID, ids[0]); err != nil || m.ProfileID != p.ID {
			t.Errorf("what it sent: %+v, %v", m, err)
		}
	})
}

const password = "hunter2-in-clear"

func TestSecretsAreSealed(t *testing.T) {
	bothURLs(t, func(t *testing.T, url string) {
		ctx := context.Background()
		keys, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		s := openWith(t, url, keys)
		p := newProfile(t, s, newTenant(t, s))
		dump := dumpOf(t, s, url)
		if !bytes.Contains(dump, []byte("mail.dupont.example")) {
			t.Fatal("this is no dump")
		}
		for _, encoded := range []string{password, "aHVudGVyMi1pbi1jbGVhc", "68756e746572322d696e2d636c656172"} {
			if bytes.Contains(dump, []byte(encoded)) {
				t.Errorf("the password is in the database, as %s", encoded)
			}
		}
		if _, err := openWith(t, url, nil).ProfileWithSecrets(ctx, p.TenantID, p.ID); !errors.Is(err, store.ErrSealed) {
			t.Errorf("without a keyset: %v", err)
		}
		other, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openWith(t, url, other).ProfileWithSecrets(ctx, p.TenantID, p.ID); !errors.Is(err, store.ErrSealed) || strings.Contains(err.Error(), password) {
			t.Errorf("with another keyset: %v", err)
		}
		// A sealed secret opens in no other row.
		thief := newProfile(t, s, p.TenantID)
		sql(t, s, "UPDATE sender_profiles SET sealed_secrets = (SELECT sealed_secrets FROM sender_profiles WHERE id = $1) WHERE id = $2", p.ID, thief.ID)
		if _, err := s.ProfileWithSecrets(ctx, thief.TenantID, thief.ID); !errors.Is(err, store.ErrSealed) {
			t.Errorf("moved to another row: %v", err)
		}
		// What is no secret is there all the same.
		for name, s := range map[string]*store.Store{"without a keyset": openWith(t, url, nil), "with another keyset": openWith(t, url, other)} {
			got, err := s.Profile(ctx, p.TenantID, p.ID)
			if err != nil || got.SMTP == nil || got.SMTP.Host != p.SMTP.Host || got.SMTP.Password != "" {
				t.Errorf("%s: profile %v, %v", name, got, err)
			}
			all, err := s.ListProfiles(ctx, p.TenantID, store.ProfileFilter{}, store.Page{Limit: 10})
			if err != nil || len(all.Items) != 2 {
				t.Errorf("%s: list %v, %v", name, all, err)
			}
		}
	})
}

// dumpOf is everything that is on disk.
func dumpOf(t *testing.T, s *store.Store, url string) []byte {
	t.Helper()
	if s.Dialect() == "postgres" {
		out, err := exec.Command(pgtest.Bin(t, "pg_dump"), "--dbname", url).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var all []byte
	files, err := filepath.Glob(strings.TrimPrefix(url, "sqlite:") + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func TestRotateAndRewrap(t *testing.T) {
	bothURLs(t, func(t *testing.T, url string) {
		ctx := context.Background()
		keys, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		s := openWith(t, url, keys)
		tenant := newTenant(t, s)
		old, plain := newProfile(t, s, tenant), testProfile(tenant)
		plain.SMTP.Password, plain.Default = "", false
		if err := s.CreateProfile(ctx, plain, nil); err != nil {
			t.Fatal(err)
		}
		if err := keys.Rotate(); err != nil {
			t.Fatal(err)
		}
		newProfile(t, s, tenant)
		if got, err := s.Profile(ctx, tenant, old.ID); err != nil || got.SMTP.Password != password {
			t.Errorf("sealed with the old key: %v, %v", got, err)
		}
		for _, want := range []int{1, 0} {
			if n, err := s.RewrapAll(ctx); n != want || err != nil {
				t.Errorf("rewrapped %d, %v; want %d", n, err, want)
			}
		}
		if got, err := s.Profile(ctx, tenant, old.ID); err != nil || got.SMTP.Password != password {
			t.Errorf("after the rewrap: %v, %v", got, err)
		}
		// What cannot be opened is named, and is no reason to leave the rest.
		other, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		lost := newProfile(t, openWith(t, url, other), newTenant(t, s))
		newProfile(t, s, newTenant(t, s))
		if err := keys.Rotate(); err != nil {
			t.Fatal(err)
		}
		if n, err := s.RewrapAll(ctx); n != 3 || !errors.Is(err, store.ErrSealed) || !strings.Contains(err.Error(), lost.ID) || strings.Contains(err.Error(), old.ID) {
			t.Errorf("with a lost one: rewrapped %d, %v", n, err)
		}
	})
}

func TestCheckKeyset(t *testing.T) {
	bothURLs(t, func(t *testing.T, url string) {
		ctx := context.Background()
		keys, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		other, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		s := openWith(t, url, keys)
		if err := openWith(t, url, other).CheckKeyset(ctx); err != nil {
			t.Errorf("without a secret: %v", err)
		}
		newProfile(t, s, newTenant(t, s))
		if err := s.CheckKeyset(ctx); err != nil {
			t.Errorf("the right keyset: %v", err)
		}
		for _, wrong := range []*store.Keyset{other, nil} {
			if err := openWith(t, url, wrong).CheckKeyset(ctx); !errors.Is(err, store.ErrSealed) {
				t.Errorf("another keyset: %v", err)
			}
		}
	})
}
