package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/winprest/facteur/internal/store"
)

// withStore runs a command on the database.
func (a *app) withStore(fn func(*store.Store) error) error {
	st, err := a.openStore(a.config.logger(a.stderr), false)
	if err != nil {
		return err
	}
	return errors.Join(fn(st), st.Close())
}

type tenantCreateCmd struct {
	Name string `arg:"" help:"The firm's name."`
}

func (c tenantCreateCmd) Run(a *app) error {
	const maxName = 200 // as over HTTP
	if strings.TrimSpace(c.Name) == "" || len(c.Name) > maxName || strings.ContainsFunc(c.Name, unicode.IsControl) {
		return fmt.Errorf("a tenant needs a name: one line of at most %d bytes", maxName)
	}
	return a.withStore(func(st *store.Store) error {
		t := &store.Tenant{Name: c.Name}
		if err := st.CreateTenant(a.ctx, t, nil); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, t.ID)
		fmt.Fprintf(a.stderr, "Made the tenant %q. Now make a key for it: facteur key create %s\n", t.Name, t.ID)
		return nil
	})
}

type tenantListCmd struct{}

func (tenantListCmd) Run(a *app) error {
	return a.withStore(func(st *store.Store) error {
		w := columns(a.stdout, "ID", "CREATED", "NAME")
		err := eachPage(func(p store.Page) (string, error) {
			l, err := st.ListTenants(a.ctx, p)
			if err != nil {
				return "", err
			}
			for _, t := range l.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\n", t.ID, day(t.CreatedAt), t.Name)
			}
			return l.Next, nil
		})
		return errors.Join(err, w.Flush())
	})
}

type keyCreateCmd struct {
	Tenant   string        `arg:"" optional:"" help:"The tenant's id (tnt_...)."`
	Operator bool          `help:"Make an operator's key: it administers tenants and their keys, and sends nothing."`
	Name     string        `help:"What the key is for." default:"command line"`
	Scopes   []store.Scope `help:"What a tenant's key may do: send, read, manage." default:"send,read,manage"`
}

func (c keyCreateCmd) Run(a *app) error {
	if c.Operator == (c.Tenant != "") {
		return errors.New("name a tenant (facteur tenant list shows them), or say --operator")
	}
	if c.Operator {
		c.Scopes = []store.Scope{store.ScopeOperator}
	}
	return a.withStore(func(st *store.Store) error {
		if !c.Operator {
			if err := a.knownTenant(st, c.Tenant); err != nil {
				return err
			}
		}
		_, secret, err := st.CreateKey(a.ctx, c.Tenant, c.Name, c.Scopes)
		if errors.Is(err, store.ErrScope) {
			return errors.New("--scopes takes some of send, read and manage")
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, secret)
		fmt.Fprintln(a.stderr, "This is the only time the key is shown.")
		return nil
	})
}

func (a *app) knownTenant(st *store.Store, id string) error {
	_, err := st.Tenant(a.ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("there is no tenant %s; facteur tenant list shows them", id)
	}
	return err
}

type keyRevokeCmd struct {
	ID string `arg:"" help:"The key's id (key_...)."`
}

func (c keyRevokeCmd) Run(a *app) error {
	return a.withStore(func(st *store.Store) error {
		k, err := st.KeyByID(a.ctx, c.ID)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no key %s", c.ID)
		}
		if err != nil {
			return err
		}
		if err := st.RevokeKey(a.ctx, k.TenantID, k.ID); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "Revoked %s (%s).\n", k.ID, k.Name)
		return nil
	})
}

type keyListCmd struct {
	Tenant string `arg:"" optional:"" help:"The tenant's id; without it the operator's keys."`
}

func (c keyListCmd) Run(a *app) error {
	return a.withStore(func(st *store.Store) error {
		if err := a.knownTenant(st, c.Tenant); c.Tenant != "" && err != nil {
			return err
		}
		w := columns(a.stdout, "ID", "CREATED", "LAST USED", "REVOKED", "SCOPES", "NAME")
		err := eachPage(func(p store.Page) (string, error) {
			l, err := st.ListKeys(a.ctx, c.Tenant, p)
			if err != nil {
				return "", err
			}
			for _, k := range l.Items {
				scopes := strings.Trim(fmt.Sprint(k.Scopes), "[]")
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, day(k.CreatedAt), day(k.LastUsedAt), day(k.RevokedAt), scopes, k.Name)
			}
			return l.Next, nil
		})
		return errors.Join(err, w.Flush())
	})
}

// eachPage reads a list to its end.
func eachPage(read func(store.Page) (next string, err error)) error {
	for p := (store.Page{Limit: store.MaxPage}); ; {
		next, err := read(p)
		if err != nil || next == "" {
			return err
		}
		p.Cursor = next
	}
}

func columns(w io.Writer, names ...string) *tabwriter.Writer {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(names, "\t"))
	return tw
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04")
}

// welcome tells an operator with an empty database what to do first.
func (a *app) welcome(st *store.Store, log *slog.Logger) {
	n, err := st.CountTenants(a.ctx)
	if err != nil {
		log.Warn("cannot count the tenants", "error", err)
		return
	}
	if n > 0 {
		return
	}
	fmt.Fprint(a.stdout, `
No tenant yet. In another terminal, with the same environment and folder:

  facteur tenant create "My firm"        prints the tenant's id, tnt_...
  facteur key create tnt_...             prints an API key, once
  facteur key create --operator          prints a key for administration over HTTP, if you want one

`)
}
