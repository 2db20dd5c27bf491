package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/winprest/facteur/internal/demo"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
)

type demoCmd struct {
	Gmail    bool `help:"Send through a stand-in for Gmail, which the profiles are connected to first." xor:"far"`
	SendGrid bool `name:"sendgrid" help:"Send through a stand-in for SendGrid, with the add-on, a verified sender, and what it reports afterwards." xor:"far"`
	Keep     bool `help:"Leave the service and the mail server running afterwards, to try things by hand."`
	Count    int  `help:"How many invoices to send." default:"200"`
}

// flags are those that choose this demo.
func (c demoCmd) flags() string {
	switch {
	case c.Gmail:
		return "--gmail "
	case c.SendGrid:
		return "--sendgrid "
	}
	return ""
}

const maxDemo = 9999 // four digits in an invoice's number

func (c demoCmd) Run(a *app) (err error) {
	if c.Count < 1 || c.Count > maxDemo {
		return fmt.Errorf("--count must be between 1 and %d", maxDemo)
	}
	dir, err := os.MkdirTemp("", "facteur-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	there, err := c.farEnd()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, there.close()) }()

	// The demo stands apart: nothing of the environment but where to listen, and nothing is left behind.
	own := *a
	own.stdout = io.Discard
	own.config.Env = development
	own.config.DatabaseURL = mail.Secret(filepath.Join(dir, "facteur.db"))
	own.config.Keyset, own.config.keysetFile = "", ""
	own.config.AllowNetworks = dial.Loopback()
	own.config.googleClients, own.config.PublicURL, own.config.ReturnURLs, own.config.GoogleURL = there.clients, "", nil, there.googleURL
	own.config.sendGrid, own.config.sendGridWebhookKeys = there.sendGridKeys, there.sendGridWebhookKeys
	own.config.LogLevel = max(own.config.LogLevel, slog.LevelWarn)
	listen := "127.0.0.1:0"
	if c.Keep {
		listen = a.config.Listen
	}
	s, err := own.start(options{listen: listen, workers: true, lookAgain: time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	_, operatorKey, err := s.store.CreateKey(a.ctx, "", "demo", []store.Scope{store.ScopeOperator})
	if err != nil {
		return err
	}

	fmt.Fprintf(a.stdout, "Facteur sends a letter and %d invoices, each with its own PDF and UBL file, %s.\n\n", c.Count, there.way)
	fmt.Fprintf(a.stdout, "  service       %s (a fresh SQLite file in %s)\n", s.url(), dir)
	fmt.Fprintf(a.stdout, "  %-13s %s (a part of this demo)\n\n", there.name, there.addr)
	began := time.Now()
	result, err := demo.Run(a.ctx, demo.Config{
		URL: s.url(), OperatorKey: operatorKey, MailServer: there.addr, Inbox: there.inbox, Consent: there.consent, SendGrid: there.sendGrid, Count: c.Count,
		Out: a.stdout, Terminal: isTerminal(a.stdout),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nAll of it took %s.\n", time.Since(began).Round(10*time.Millisecond))
	if !c.Keep {
		fmt.Fprintf(a.stdout, "\nfacteur demo %s--keep leaves it running and prints the values for these lines:\n\n", c.flags())
		demo.PrintCurl(a.stdout, "", result)
		return nil
	}
	fmt.Fprintf(a.stdout, "\nIt goes on running until Ctrl+C; the documentation is at %s/docs. In another terminal:\n\n", s.url())
	demo.PrintCurl(a.stdout, s.url(), result)
	select {
	case <-a.ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// isTerminal says whether somebody watches.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
