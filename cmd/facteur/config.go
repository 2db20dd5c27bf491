package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/winprest/facteur/internal/mail"
)

// config is everything that the environment says, and the only place where it is read. The zero environment works: SQLite
// beside the process, on loopback. A field of type mail.Secret may also come from a file named by NAME_FILE, as container
// and systemd secrets do.
type config struct {
	Env           string         `env:"FACTEUR_ENV" envDefault:"development" doc:"production refuses to start without a keyset"`
	DatabaseURL   mail.Secret    `env:"FACTEUR_DATABASE_URL" envDefault:"facteur.db" doc:"a path for SQLite, or postgres://user:password@host/name"`
	Keyset        mail.Secret    `env:"FACTEUR_KEYSET" doc:"Tink AEAD keyset (JSON) that seals stored credentials; SQLite makes one beside its file"`
	Listen        string         `env:"FACTEUR_LISTEN" envDefault:"127.0.0.1:8025" doc:"address and port of the HTTP API"`
	HELO          string         `env:"FACTEUR_HELO" doc:"name given to SMTP servers; default: the host's name"`
	AllowNetworks []netip.Prefix `env:"FACTEUR_ALLOW_NETWORKS" doc:"private networks that profiles may connect to, such as 10.0.0.0/8,::1/128"`
	LogLevel      slog.Level     `env:"FACTEUR_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`
	LogFormat     string         `env:"FACTEUR_LOG_FORMAT" envDefault:"text" doc:"text or json"`
	StopTimeout   time.Duration  `env:"FACTEUR_STOP_TIMEOUT" envDefault:"30s" doc:"how long a stop waits for hand-overs in flight"`
}

const fileSuffix = "_FILE"

// readConfig reads the configuration from environ, a list of NAME=value. Every mistake is in the error, and no secret.
func readConfig(environ []string) (config, error) {
	vars := env.ToMap(environ)
	var errs []error
	for _, f := range configFields() {
		if !f.secret || vars[f.name+fileSuffix] == "" {
			continue
		}
		if vars[f.name] != "" {
			errs = append(errs, fmt.Errorf("%s and %s%s are both set; keep one", f.name, f.name, fileSuffix))
			continue
		}
		b, err := os.ReadFile(vars[f.name+fileSuffix])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", f.name, fileSuffix, err))
			continue
		}
		vars[f.name] = strings.TrimSpace(string(b))
	}
	var c config
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		errs = append(errs, err)
	}
	if c.Env != "development" && c.Env != "production" {
		errs = append(errs, fmt.Errorf("FACTEUR_ENV is %q: it must be development or production", c.Env))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("FACTEUR_LOG_FORMAT is %q: it must be text or json", c.LogFormat))
	}
	if strings.Contains(string(c.DatabaseURL), "://") && !c.postgres() {
		errs = append(errs, errors.New("FACTEUR_DATABASE_URL must be a path or start with postgres://"))
	}
	return c, errors.Join(errs...)
}

// postgres says that the database is PostgreSQL; otherwise DatabaseURL is the path of an SQLite file.
func (c config) postgres() bool {
	u := string(c.DatabaseURL)
	return strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://")
}

func (c config) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

type configField struct {
	index          int
	name, def, doc string
	secret         bool
}

func configFields() []configField {
	t := reflect.TypeFor[config]()
	fields := make([]configField, t.NumField())
	for i := range fields {
		f := t.Field(i)
		fields[i] = configField{
			index: i, name: f.Tag.Get("env"), def: f.Tag.Get("envDefault"), doc: f.Tag.Get("doc"),
			secret: f.Type == reflect.TypeFor[mail.Secret](),
		}
	}
	return fields
}

// writeTable writes the configuration as it is in force, secrets redacted.
func (c config) writeTable(w io.Writer) {
	v := reflect.ValueOf(c)
	for _, f := range configFields() {
		fmt.Fprintf(w, "%-24s %-26v %s\n", f.name, v.Field(f.index).Interface(), f.doc)
	}
}

// configMarkdown is the table of the README.
func configMarkdown() string {
	var b strings.Builder
	b.WriteString("| variable | default | what it does |\n|---|---|---|\n")
	for _, f := range configFields() {
		name, def := "`"+f.name+"`", ""
		if f.secret {
			name += " or `" + f.name + fileSuffix + "`"
		}
		if f.def != "" {
			def = "`" + f.def + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, def, f.doc)
	}
	return b.String()
}
