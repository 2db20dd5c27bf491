package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

type doctorCmd struct {
	Offline bool `help:"Ask nobody: neither Google nor the service at its public URL."`
}

// errUnwell is for a set-up that does not work. What is wrong was printed.
var errUnwell = errors.New("something has to be mended")

// withoutTrace lets a look at a place with no SQLite file yet leave none behind: the file is made elsewhere, and goes with done.
func (a *app) withoutTrace() (done func(), err error) {
	if a.config.postgres() {
		return func() {}, nil
	}
	path := a.config.sqlitePath()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "facteur-doctor-")
	if err != nil {
		return nil, err
	}
	a.config.DatabaseURL = mail.Secret(filepath.Join(dir, "facteur.db"))
	fmt.Fprintf(a.stdout, "%-5s there is no database %s yet: facteur serve makes it; FACTEUR_DATABASE_URL names another\n", consent.Warning, path)
	return func() { os.RemoveAll(dir) }, nil //nolint:errcheck // a temporary folder
}

func (c doctorCmd) Run(a *app) error {
	done, err := a.withoutTrace()
	if err != nil {
		return err
	}
	defer done()
	return a.withStore(func(st *store.Store) error {
		public := a.config.PublicURL
		if public == "" && isLoopback(a.config.Listen) {
			public = "http://" + a.config.Listen
		}
		svc, err := consent.New(consent.Config{
			Store: st, Clients: a.config.googleClients, PublicURL: public, ReturnURLs: a.config.ReturnURLs, Endpoints: a.config.googleEndpoints(),
			Logger: a.config.logger(a.stderr),
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(a.ctx, 2*time.Minute)
		defer cancel()
		found, err := svc.Examine(ctx, consent.Examination{Offline: c.Offline, Production: a.config.Env == production})
		unwell := false
		for _, f := range found {
			fmt.Fprintf(a.stdout, "%-5s %s\n", f.Grade, f.Text)
			unwell = unwell || f.Grade == consent.Bad
		}
		if err == nil && unwell {
			err = errUnwell
		}
		return err
	})
}
