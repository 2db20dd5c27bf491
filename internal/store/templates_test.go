package store_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func TestTemplateVersions(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		first := newTemplate(t, s, newTenant(t, s), "")
		tenant, id := first.TenantID, first.ID
		dutch := mail.Translation{Subject: "Factuur NUMFACT", Text: "Dag NOMCLIENT"}
		second, err := s.PutTranslation(ctx, tenant, id, "nl", dutch, 1)
		if err != nil || second.Version != 2 || second.Translations["nl"] != dutch || len(second.Translations) != 2 {
			t.Fatalf("second: %+v, %v", second, err)
		}
		if _, err := s.PutTranslation(ctx, tenant, id, "en", dutch, 1); !errors.Is(err, store.ErrVersion) {
			t.Errorf("an old version: %v", err)
		}
		if _, err := s.DeleteTranslation(ctx, tenant, id, "fr", 0); !errors.Is(err, store.ErrConflict) {
			t.Errorf("the default language: %v", err)
		}
		if _, err := s.DeleteTranslation(ctx, tenant, id, "de", 0); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a language it has not: %v", err)
		}
		third, err := s.DeleteTranslation(ctx, tenant, id, "nl", 2)
		if err != nil || third.Version != 3 || len(third.Translations) != 1 {
			t.Fatalf("third: %+v, %v", third, err)
		}
		fourth := *third
		fourth.Name, fourth.DefaultLanguage, fourth.Tokens = "Autre", "nl", nil
		fourth.Translations = map[string]mail.Translation{"nl": dutch}
		if err := s.UpdateTemplate(ctx, &fourth, 3); err != nil || fourth.Version != 4 {
			t.Fatalf("fourth: %+v, %v", fourth, err)
		}
		if got, err := s.Template(ctx, tenant, id); err != nil || !reflect.DeepEqual(got, &fourth) {
			t.Errorf("now: %+v, %v", got, err)
		}
		if err := s.DeleteTemplate(ctx, tenant, id, 1); !errors.Is(err, store.ErrVersion) {
			t.Errorf("delete an old version: %v", err)
		}
		if err := s.DeleteTemplate(ctx, tenant, id, 4); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Template(ctx, tenant, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		for version, want := range map[int64]map[string]mail.Translation{1: first.Translations, 2: second.Translations, 3: third.Translations, 4: fourth.Translations} {
			got, err := s.TemplateVersion(ctx, tenant, id, version)
			if err != nil || got.Version != version || !reflect.DeepEqual(got.Translations, want) {
				t.Errorf("version %d: %+v, %v", version, got, err)
			}
		}
		if _, err := s.TemplateVersion(ctx, tenant, id, 5); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a version that never was: %v", err)
		}
	})
}

func TestFindTemplate(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		wide := newTemplate(t, s, newTenant(t, s), "")
		tenant := wide.TenantID
		company := newTemplate(t, s, tenant, "C1")
		find := func(company, documentType string) string {
			t.Helper()
			got, err := s.FindTemplate(ctx, tenant, company, documentType)
			if errors.Is(err, store.ErrNotFound) {
				return ""
			}
			if err != nil {
				t.Fatal(err)
			}
			return got.ID
		}
		for _, c := range []struct{ company, document, want string }{
			{"C1", "invoice", company.ID}, {"C2", "invoice", wide.ID}, {"", "invoice", wide.ID}, {"C1", "reminder", ""},
		} {
			if got := find(c.company, c.document); got != c.want {
				t.Errorf("%s for %q: %s, want %s", c.document, c.company, got, c.want)
			}
		}
		next := newTemplate(t, s, tenant, "C1")
		if got := find("C1", "invoice"); got != next.ID {
			t.Errorf("the new default is %s, want %s", got, next.ID)
		}
		demoted, err := s.Template(ctx, tenant, company.ID)
		if err != nil || demoted.Default || demoted.Version != 2 || !reflect.DeepEqual(demoted.Translations, company.Translations) {
			t.Errorf("the old default: %+v, %v", demoted, err)
		}
		if n, err := size(s.ListTemplates(ctx, tenant, store.TemplateFilter{DocumentType: "invoice", CompanyRef: "C1"}, store.Page{})); n != 2 || err != nil {
			t.Errorf("list: %d, %v", n, err)
		}
	})
}
