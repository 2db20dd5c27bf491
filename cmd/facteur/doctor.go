package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/store"
)

type doctorCmd struct {
	Offline bool `help:"Ask nobody: neither Google nor the service at its public URL."`
}

// errUnwell is for a set-up that does not work. What is wrong was printed.
var errUnwell = errors.New("something has to be mended")

func (c doctorCmd) Run(a *app) error {
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
