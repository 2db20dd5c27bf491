package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/winprest/facteur/internal/bounce/mailbox"
	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/notify"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/senders"
	"github.com/winprest/facteur/internal/server"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/sendgrid"
)

type serveCmd struct {
	NoWorkers bool `help:"Only accept mail; other processes on the same database send it."`
	Migrate   bool `help:"Bring a PostgreSQL schema up to date first. SQLite's always is."`
}

func (c serveCmd) Run(a *app) error {
	keepHeapFloor()
	s, err := a.start(options{listen: a.config.Listen, workers: !c.NoWorkers, migrate: c.Migrate})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Facteur listens on %s (documentation: %s/docs)\n", s.url(), s.url())
	a.welcome(s.store, s.log)
	return s.runUntil(a.ctx)
}

type workerCmd struct {
	Migrate bool `help:"Bring the schema up to date first."`
}

func (c workerCmd) Run(a *app) error {
	keepHeapFloor()
	s, err := a.start(options{workers: true, migrate: c.Migrate})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "Facteur works.")
	return s.runUntil(a.ctx)
}

// options are what a process does.
type options struct {
	listen           string // empty: no API
	workers, migrate bool
	lookAgain        time.Duration // how soon SendGrid is asked again about a sender; 0: as usual
}

// service is a running process: the database, the engine, and the API unless it is a worker only.
type service struct {
	log         *slog.Logger
	store       *store.Store
	outbox      *outbox.Outbox
	consent     *consent.Service
	stopChecks  func() // nil: grants are not checked
	senders     *senders.Service
	stopSenders func() // nil: senders are not verified
	notify      *notify.Engine
	bounces     *mailbox.Reader
	listener    net.Listener
	api         *server.Server
	http        *http.Server
	failed      chan error // the API cannot go on
	stopTimeout time.Duration
}

// start puts a process together from the configuration. On an error nothing is left running.
func (a *app) start(o options) (_ *service, err error) {
	s := &service{log: a.config.logger(a.stderr), failed: make(chan error, 1), stopTimeout: a.config.StopTimeout}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	// The port comes first: a second copy started by mistake ends here, before it touches the queue.
	if o.listen != "" {
		if s.listener, err = new(net.ListenConfig).Listen(a.ctx, "tcp", o.listen); err != nil {
			return nil, fmt.Errorf("%w (FACTEUR_LISTEN sets the address)", err)
		}
	}
	if s.store, err = a.openStore(s.log, o.migrate); err != nil {
		return nil, err
	}
	// No reason to stay down: what needs no password goes on, and the rest waits.
	if err := s.store.CheckKeyset(a.ctx); errors.Is(err, store.ErrSealed) {
		s.log.Error("this is not the keyset that sealed the stored passwords: mail of the profiles that have one waits until the right keyset is back")
	} else if err != nil {
		return nil, err
	}
	if s.consent, err = a.openConsent(s); err != nil {
		return nil, err
	}
	transports, err := a.transports(s.consent, senders.Accounts{Store: s.store})
	if err != nil {
		return nil, err
	}
	if s.outbox, err = outbox.New(s.store, transports, outbox.Config{
		Logger: s.log, Workers: a.config.Workers, MaxWait: a.config.MaxWait, Lease: a.config.Lease, Unreleased: a.config.Unreleased,
	}); err != nil {
		return nil, err
	}
	s.bounces = mailbox.New(mailbox.Config{Store: s.store, Outbox: s.outbox, Dialer: dial.New(dial.Policy{Allow: a.config.AllowNetworks}), Logger: s.log})
	if o.workers {
		if err = s.outbox.Start(a.ctx); err != nil {
			return nil, err
		}
		s.checkGrants()
		s.notify = notify.New(notify.Config{Store: s.store, Outbox: s.outbox, Policy: dial.Policy{Allow: a.config.AllowNetworks}, Logger: s.log})
		s.notify.Start()
		s.bounces.Start()
	}
	bySendGrid, _ := transports[sendgrid.Name].(*sendgrid.Transport)
	s.senders = senders.New(senders.Config{Store: s.store, SendGrid: bySendGrid, Logger: s.log, Wake: s.outbox.Wake, Old: o.lookAgain})
	if o.workers && bySendGrid != nil {
		s.verifySenders()
	}
	if o.listen != "" {
		s.api = server.New(server.Config{
			Store: s.store, Outbox: s.outbox, Transports: transports, Consent: s.consent, Senders: s.senders, Logger: s.log, Production: a.config.Env == production,
			PlainWebhooks: len(a.config.AllowNetworks) > 0,
			CheckBounces:  s.bounces.Check,
			SendGridKeys:  a.config.sendGridWebhookKeys,
			Resolver:      net.DefaultResolver,
			Limits: server.Limits{
				SendBody: a.config.MaxSendBody, Attachment: a.config.MaxAttachment, Buffered: a.config.MaxBuffered, Watchers: a.config.MaxWatchers,
			},
		})
		s.http = &http.Server{
			Handler:           s.api,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
		s.http.RegisterOnShutdown(s.api.Stop)
		go func() {
			if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- err
			}
		}()
	}
	return s, nil
}

// openConsent puts together what connects profiles to Gmail.
func (a *app) openConsent(s *service) (*consent.Service, error) {
	public := a.config.PublicURL
	if public == "" && s.listener != nil && isLoopback(s.listener.Addr().String()) {
		public = s.url()
	}
	return consent.New(consent.Config{
		Store: s.store, Clients: a.config.googleClients, PublicURL: public, ReturnURLs: a.config.ReturnURLs, Endpoints: a.config.googleEndpoints(),
		Wake: func(ctx context.Context, profileID string) error { return s.outbox.Wake(ctx, profileID) }, Logger: s.log,
	})
}

// A grant is asked about once a day, whichever process comes to it first; this is how often each looks which are due.
const grantCheckEvery = 10 * time.Minute

// checkGrants looks after the grants until stopChecks.
func (s *service) checkGrants() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.stopChecks = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(grantCheckEvery)
		defer tick.Stop()
		for {
			if err := s.consent.CheckGrants(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("the check of the Gmail connections did not end well; it goes on later", "error", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// verifySenders looks at SendGrid for senders that wait for their proof, until stopSenders.
func (s *service) verifySenders() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.stopSenders = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		s.senders.Run(ctx)
	}()
}

func (s *service) url() string { return "http://" + s.listener.Addr().String() }

// runUntil serves until ctx ends or the API breaks, then stops.
func (s *service) runUntil(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping: the hand-overs in flight end first; a second signal stops at once")
	case err = <-s.failed:
	}
	err = errors.Join(err, s.stop())
	if err == nil {
		s.log.Info("stopped")
	}
	return err
}

// stop accepts nothing more, answers the requests in flight, lets the hand-overs in flight end and gives back the rest. It
// also stops what start left half made.
func (s *service) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.stopTimeout)
	defer cancel()
	var errs []error
	switch {
	case s.http != nil:
		errs = append(errs, s.http.Shutdown(ctx))
		s.api.Stop() // it reads nothing any more
	case s.listener != nil:
		errs = append(errs, s.listener.Close())
	}
	if s.stopChecks != nil {
		s.stopChecks()
	}
	if s.bounces != nil {
		s.bounces.Stop()
	}
	if s.stopSenders != nil {
		s.stopSenders()
	}
	if s.notify != nil {
		s.notify.Stop(ctx)
	}
	if s.outbox != nil {
		errs = append(errs, s.outbox.Stop(ctx))
	}
	if s.consent != nil {
		errs = append(errs, s.consent.Wait(ctx))
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
