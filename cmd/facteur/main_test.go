package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

// facteur runs a command line on an SQLite file in dir.
func facteur(t *testing.T, dir string, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	environ = append([]string{"FACTEUR_DATABASE_URL=" + filepath.Join(dir, "facteur.db")}, environ...)
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs, environ)
	return out.String(), errs.String(), code
}

// must is facteur for a command that has to work; it gives what it printed.
func must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	stdout, stderr, code := facteur(t, dir, nil, args...)
	if code != 0 {
		t.Fatalf("facteur %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return strings.TrimSpace(stdout)
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		code int
		says string // in either output
	}{
		{"help", []string{"--help"}, nil, 0, "tenant create"},
		{"version", []string{"version"}, nil, 0, "facteur"},
		{"no command", nil, nil, 2, "--help"},
		{"unknown command", []string{"fly"}, nil, 2, "fly"},
		{"unknown flag", []string{"serve", "--fast"}, nil, 2, "--fast"},
		{"wrong configuration", []string{"version"}, []string{"FACTEUR_ENV=test"}, 1, "FACTEUR_ENV"},
		{"production without a keyset", []string{"serve"}, []string{"FACTEUR_ENV=production"}, 1, "facteur keyset generate"},
		{"keyset that is none", []string{"tenant", "list"}, []string{"FACTEUR_KEYSET=hunter2"}, 1, "FACTEUR_KEYSET"},
		{"tenant without a name", []string{"tenant", "create", " "}, nil, 1, "name"},
		{"key of nobody", []string{"key", "create"}, nil, 1, "--operator"},
		{"key of an unknown tenant", []string{"key", "create", "tnt_0"}, nil, 1, "facteur tenant list"},
		{"unknown key", []string{"key", "revoke", "key_0"}, nil, 1, "key_0"},
		{"database in no folder", []string{"tenant", "list"}, []string{"FACTEUR_DATABASE_URL=/nowhere/at/all.db"}, 1, "/nowhere/at/all.db"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := facteur(t, t.TempDir(), tt.env, tt.args...)
			if code != tt.code || !strings.Contains(stdout+stderr, tt.says) {
				t.Errorf("exit code %d, want %d and %q in:\n%s%s", code, tt.code, tt.says, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("a secret was printed:\n%s%s", stdout, stderr)
			}
		})
	}
}

func TestTenantsAndKeys(t *testing.T) {
	dir := t.TempDir()
	tenant := must(t, dir, "tenant", "create", "Zoë & Fils")
	if !regexp.MustCompile(`^tnt_[0-9a-z]{26}$`).MatchString(tenant) {
		t.Fatalf("tenant create printed %q, not just the id", tenant)
	}
	if list := must(t, dir, "tenant", "list"); !strings.Contains(list, tenant) || !strings.Contains(list, "Zoë & Fils") {
		t.Errorf("tenant list has no such tenant:\n%s", list)
	}
	key := must(t, dir, "key", "create", tenant, "--scopes", "send,read", "--name", "front office")
	operator := must(t, dir, "key", "create", "--operator")

	st, err := store.Open(t.Context(), store.Config{URL: filepath.Join(dir, "facteur.db")})
	if err != nil {
		t.Fatal(err)
	}
	k, err := st.Authenticate(t.Context(), key)
	if err != nil || k.TenantID != tenant || !k.Has(store.ScopeSend) || k.Has(store.ScopeManage) {
		t.Errorf("the key is %+v, %v", k, err)
	}
	if o, err := st.Authenticate(t.Context(), operator); err != nil || o.TenantID != "" || !o.Has(store.ScopeOperator) {
		t.Errorf("the operator's key is %+v, %v", o, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	list := must(t, dir, "key", "list", tenant)
	if !strings.Contains(list, k.ID) || !strings.Contains(list, "front office") || strings.Contains(list, key) {
		t.Errorf("key list:\n%s", list)
	}
	must(t, dir, "key", "revoke", k.ID)
	if st, err = store.Open(t.Context(), store.Config{URL: filepath.Join(dir, "facteur.db")}); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Authenticate(t.Context(), key); err == nil {
		t.Error("a revoked key still works")
	}
}

// A keyset that got lost is not replaced by a new one that opens nothing.
func TestLostKeyset(t *testing.T) {
	dir := t.TempDir()
	must(t, dir, "migrate")
	if err := os.Remove(filepath.Join(dir, "facteur.db.keyset")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := facteur(t, dir, nil, "tenant", "list"); code != 1 || !strings.Contains(stderr, "facteur.db.keyset is missing") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestRotateKeyset(t *testing.T) {
	dir := t.TempDir()
	must(t, dir, "migrate")
	if said := must(t, dir, "keyset", "rotate"); !strings.Contains(said, "2 keys") {
		t.Errorf("rotate says %q", said)
	}
	must(t, dir, "keyset", "rewrap")

	inEnvironment := "FACTEUR_KEYSET=" + must(t, dir, "keyset", "generate")
	stdout, _, code := facteur(t, dir, []string{inEnvironment}, "keyset", "rotate")
	k, err := store.ParseKeyset([]byte(stdout))
	if code != 0 || err != nil || k.Len() != 2 {
		t.Errorf("rotate of a keyset in the environment printed no keyset of 2: %v", err)
	}
}

// On PostgreSQL nothing is migrated unless it is said, because older processes may still be at work.
func TestPostgresIsMigratedOnlyWhenSaid(t *testing.T) {
	url := "FACTEUR_DATABASE_URL=" + pgtest.New(t)
	dir := t.TempDir()
	for _, args := range [][]string{{"tenant", "list"}, {"serve"}, {"worker"}} {
		_, stderr, code := facteur(t, dir, []string{url, "FACTEUR_LISTEN=127.0.0.1:0"}, args...)
		if code != 1 || !strings.Contains(stderr, "facteur migrate") {
			t.Errorf("facteur %v: exit code %d:\n%s", args, code, stderr)
		}
	}
	if _, stderr, code := facteur(t, dir, []string{url}, "migrate"); code != 0 {
		t.Fatalf("migrate: exit code %d:\n%s", code, stderr)
	}
	if _, stderr, code := facteur(t, dir, []string{url}, "tenant", "create", "Zoë"); code != 0 {
		t.Errorf("tenant create: exit code %d:\n%s", code, stderr)
	}
}
