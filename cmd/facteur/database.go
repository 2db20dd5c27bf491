package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

type migrateCmd struct{}

func (migrateCmd) Run(a *app) error {
	st, err := a.openStore(a.config.logger(a.stderr), true)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "The schema is up to date.")
	return st.Close()
}

// openStore opens the database with its keyset and sees to its schema: SQLite is migrated by itself, PostgreSQL only when
// migrate says so, because other processes may still run an older version on it.
func (a *app) openStore(log *slog.Logger, migrate bool) (*store.Store, error) {
	keyset, err := a.openKeyset(log)
	if err != nil {
		return nil, err
	}
	if !a.config.postgres() {
		// SQLite gives its own files the mode of this one: clients' mail is nobody else's business.
		f, err := os.OpenFile(a.config.sqlitePath(), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	st, err := store.Open(a.ctx, store.Config{URL: string(a.config.DatabaseURL), Keyset: keyset, Logger: log})
	if err != nil {
		return nil, err
	}
	if err := ensureSchema(a.ctx, st, migrate || !a.config.postgres()); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

func ensureSchema(ctx context.Context, st *store.Store, migrate bool) error {
	pending, err := st.MigrationsPending(ctx)
	if err != nil {
		return err
	}
	switch {
	case migrate:
		return st.Migrate(ctx, outbox.Migrate)
	case pending:
		return errors.New("the database's schema is not up to date; run: facteur migrate")
	}
	return nil
}

// openKeyset finds the keyset that seals stored credentials. It is nil for a PostgreSQL in development that has none: then
// only what needs a secret is refused.
func (a *app) openKeyset(log *slog.Logger) (*store.Keyset, error) {
	switch {
	case a.config.Keyset != "":
		k, err := store.ParseKeyset([]byte(a.config.Keyset))
		if err != nil {
			return nil, fmt.Errorf("FACTEUR_KEYSET: %w", err)
		}
		return k, nil
	case a.config.Env == production:
		return nil, errors.New(`FACTEUR_ENV=production needs FACTEUR_KEYSET or FACTEUR_KEYSET_FILE; make one with: facteur keyset generate`)
	case a.config.postgres():
		log.Warn("no FACTEUR_KEYSET: profiles with a password will be refused")
		return nil, nil
	}
	return a.embeddedKeyset(log)
}

// embeddedKeyset is the keyset beside the SQLite file. It is made together with the database and never later: a new one for
// an old database would open none of its passwords.
func (a *app) embeddedKeyset(log *slog.Logger) (*store.Keyset, error) {
	path := a.config.embeddedKeysetPath()
	k, err := store.LoadKeyset(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	database := a.config.sqlitePath()
	if info, err := os.Stat(database); err == nil && info.Size() > 0 {
		return nil, fmt.Errorf("%s is missing, and without it the passwords in %s cannot be read; put it back from a backup, or set FACTEUR_KEYSET", path, database)
	}
	if k, err = store.NewKeyset(); err != nil {
		return nil, err
	}
	// Of two processes that start at once on nothing, one makes the file and both use it.
	draft := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := k.Save(draft); err != nil {
		return nil, err
	}
	defer os.Remove(draft) //nolint:errcheck // a leftover harms nothing
	if err := os.Link(draft, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	log.Info("made a keyset for stored passwords; keep a copy of it apart from the database", "file", path)
	return store.LoadKeyset(path)
}

type keysetGenerateCmd struct{}

func (keysetGenerateCmd) Run(a *app) error {
	k, err := store.NewKeyset()
	if err != nil {
		return err
	}
	return printKeyset(a, k)
}

type keysetRotateCmd struct{}

func (keysetRotateCmd) Run(a *app) error {
	path := a.config.keysetFile
	if path == "" && a.config.Keyset == "" && !a.config.postgres() {
		path = a.config.embeddedKeysetPath()
	}
	var k *store.Keyset
	var err error
	switch {
	case path != "":
		k, err = store.LoadKeyset(path)
	case a.config.Keyset != "":
		k, err = store.ParseKeyset([]byte(a.config.Keyset))
	default:
		err = errors.New("there is no keyset to rotate; make one with: facteur keyset generate")
	}
	if err != nil {
		return err
	}
	if err := k.Rotate(); err != nil {
		return err
	}
	if path == "" {
		fmt.Fprintln(a.stderr, "Set FACTEUR_KEYSET to this, start every process again, then run: facteur keyset rewrap")
		return printKeyset(a, k)
	}
	if err := k.Save(path); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s now holds %d keys. Start every process again, then run: facteur keyset rewrap\n", path, k.Len())
	return nil
}

func printKeyset(a *app, k *store.Keyset) error {
	b, err := k.Export()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", b)
	return err
}

type keysetRewrapCmd struct{}

func (keysetRewrapCmd) Run(a *app) error {
	return a.withStore(func(st *store.Store) error {
		n, err := st.RewrapAll(a.ctx)
		if err == nil || errors.Is(err, store.ErrSealed) && n > 0 {
			fmt.Fprintf(a.stdout, "Sealed %d secrets again.\n", n)
		}
		return err
	})
}
