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

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	"github.com/winprest/facteur/internal/transport/sendgrid/events"
)

// config is everything that the environment says, and the only place where it is read. The zero environment works: SQLite
// beside the process, on loopback. A field of type mail.Secret may also come from a file named by NAME_FILE, as container
// and systemd secrets do.
type config struct {
	Env                 string        `env:"FACTEUR_ENV" envDefault:"development" doc:"production refuses to start without a keyset"`
	DatabaseURL         mail.Secret   `env:"FACTEUR_DATABASE_URL" envDefault:"facteur.db" doc:"a path for SQLite, or postgres://user:password@host/name"`
	Keyset              mail.Secret   `env:"FACTEUR_KEYSET" doc:"Tink AEAD keyset (JSON) that seals stored credentials; SQLite makes one beside its file"`
	Listen              string        `env:"FACTEUR_LISTEN" envDefault:"127.0.0.1:8025" doc:"address and port of the HTTP API"`
	HELO                string        `env:"FACTEUR_HELO" doc:"name given to SMTP servers; default: the host's name"`
	AllowNetworks       networks      `env:"FACTEUR_ALLOW_NETWORKS" doc:"networks besides the public ones that profiles may connect to: private, loopback, or ranges such as 10.0.0.0/8"`
	Workers             int           `env:"FACTEUR_WORKERS" envDefault:"64" doc:"connections to mail servers that this process works at once"`
	MaxWait             time.Duration `env:"FACTEUR_MAX_WAIT" envDefault:"48h" doc:"how long a mail may stay deferred before it fails"`
	Unreleased          time.Duration `env:"FACTEUR_UNRELEASED" envDefault:"720h" doc:"how long a send job that nobody releases is kept after its last change"`
	Lease               time.Duration `env:"FACTEUR_LEASE" envDefault:"60s" doc:"how long the mail of a process that died stays with it before another takes it over"`
	MaxAttachment       int64         `env:"FACTEUR_MAX_ATTACHMENT" envDefault:"26214400" doc:"largest uploaded file, in bytes"`
	MaxSendBody         int64         `env:"FACTEUR_MAX_SEND_BODY" envDefault:"25165824" doc:"largest JSON body of a message or a send job, in bytes"`
	MaxBuffered         int64         `env:"FACTEUR_MAX_BUFFERED" envDefault:"268435456" doc:"most bytes of JSON bodies held at once; above it requests get 429"`
	GoogleClients       mail.Secret   `env:"FACTEUR_GOOGLE_CLIENTS" doc:"OAuth clients that profiles are connected to Gmail with, as JSON: see the README on Gmail"`
	PublicURL           string        `env:"FACTEUR_PUBLIC_URL" doc:"where browsers reach this service, such as https://mail.example.com: Google sends them back there; default on loopback: where it listens"`
	ReturnURLs          []string      `env:"FACTEUR_RETURN_URLS" doc:"addresses, with all below them, that a person may be sent back to after a consent, separated by commas"`
	GoogleURL           string        `env:"FACTEUR_GOOGLE_URL" doc:"a stand-in for all of Google, for tests"`
	SendGridKeys        mail.Secret   `env:"FACTEUR_SENDGRID_KEYS" doc:"the API key of the service's SendGrid account, or several as JSON: see the README on SendGrid; without one there is no transport sendgrid"`
	SendGridWebhookKeys mail.Secret   `env:"FACTEUR_SENDGRID_WEBHOOK_KEYS" doc:"public keys of SendGrid's signed event webhooks, as name=key separated by commas; without one /webhooks/sendgrid takes nothing"`
	MaxWatchers         int           `env:"FACTEUR_MAX_WATCHERS" envDefault:"1000" doc:"calls of one tenant that may wait for news of its send jobs at once, in this process; above it requests get 429"`
	URL                 string        `env:"FACTEUR_URL" envDefault:"http://127.0.0.1:8025" doc:"the service that facteur send-job asks"`
	Key                 mail.Secret   `env:"FACTEUR_KEY" doc:"the API key that facteur send-job asks with"`
	LogLevel            slog.Level    `env:"FACTEUR_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`
	LogFormat           string        `env:"FACTEUR_LOG_FORMAT" envDefault:"text" doc:"text or json"`
	StopTimeout         time.Duration `env:"FACTEUR_STOP_TIMEOUT" envDefault:"30s" doc:"how long a stop waits for hand-overs in flight"`

	googleClients       []consent.Client // of GoogleClients
	sendGrid            sendgrid.Config  // of SendGridKeys
	sendGridWebhookKeys events.Keys      // of SendGridWebhookKeys

	keysetFile string // where Keyset came from, when it was a file
}

// networks is a list of ranges with two names for the usual ones.
type networks []netip.Prefix

// UnmarshalText reads names and ranges separated by commas.
func (n *networks) UnmarshalText(text []byte) error {
	for word := range strings.SplitSeq(string(text), ",") {
		switch word = strings.TrimSpace(word); word {
		case "":
		case "private":
			*n = append(*n, dial.Private()...)
		case "loopback":
			*n = append(*n, dial.Loopback()...)
		default:
			p, err := netip.ParsePrefix(word)
			if err != nil {
				return fmt.Errorf("%q is none of private, loopback or a range such as 10.0.0.0/8", word)
			}
			*n = append(*n, p)
		}
	}
	return nil
}

func (n networks) String() string {
	list := make([]string, len(n))
	for i, p := range n {
		list[i] = p.String()
	}
	return strings.Join(list, ",")
}

const (
	fileSuffix  = "_FILE"
	production  = "production"
	development = "development"
)

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
	c := config{keysetFile: vars["FACTEUR_KEYSET"+fileSuffix]}
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		errs = append(errs, misread(err, vars)...)
	} else {
		errs = append(errs, c.outOfRange()...)
		errs = append(errs, c.checkGoogle()...)
		if err := c.checkSendGrid(); err != nil {
			errs = append(errs, fmt.Errorf("FACTEUR_SENDGRID_KEYS: %w", err))
		}
		var err error
		if c.sendGridWebhookKeys, err = events.ParseKeys(string(c.SendGridWebhookKeys)); err != nil {
			errs = append(errs, fmt.Errorf("FACTEUR_SENDGRID_WEBHOOK_KEYS: %w", err))
		}
	}
	if c.Env != development && c.Env != production {
		errs = append(errs, fmt.Errorf("FACTEUR_ENV is %q: it must be development or production", c.Env))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("FACTEUR_LOG_FORMAT is %q: it must be text or json", c.LogFormat))
	}
	u := string(c.DatabaseURL)
	// "host=... password=..." is what libpq also takes. As a path it would be a file with a password for a name.
	if strings.Contains(u, "://") && !c.postgres() && !strings.HasPrefix(u, "sqlite:") || strings.Contains(u, "password=") && !c.postgres() {
		errs = append(errs, errors.New("FACTEUR_DATABASE_URL must be a path, or start with sqlite: or postgres://"))
	}
	return c, errors.Join(errs...)
}

// misread says which variables cannot be read, by the names that an operator knows.
func misread(err error, vars map[string]string) []error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{err}
	}
	var errs []error
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			errs = append(errs, err)
			continue
		}
		f, _ := reflect.TypeFor[config]().FieldByName(parse.Name)
		name := f.Tag.Get("env")
		switch f.Type {
		case reflect.TypeFor[time.Duration]():
			err = errors.New("it must be a duration such as 90s, 30m or 48h")
		case reflect.TypeFor[networks]():
			err = parse.Err
		case reflect.TypeFor[slog.Level]():
			err = errors.New("it must be debug, info, warn or error")
		default:
			err = errors.New("it must be a whole number")
		}
		errs = append(errs, fmt.Errorf("%s is %q: %w", name, vars[name], err))
	}
	return errs
}

// outOfRange finds numbers and durations with which nothing would work.
func (c config) outOfRange() (errs []error) {
	v := reflect.ValueOf(c)
	for _, f := range configFields() {
		value := v.Field(f.index)
		if value.Type() != reflect.TypeFor[slog.Level]() && value.CanInt() && value.Int() <= 0 {
			errs = append(errs, fmt.Errorf("%s is %v: it must be more than 0", f.name, value.Interface()))
		}
	}
	return errs
}

// postgres says that the database is PostgreSQL; otherwise DatabaseURL is the path of an SQLite file.
func (c config) postgres() bool {
	u := string(c.DatabaseURL)
	return strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://")
}

// sqlitePath is the file of the SQLite database.
func (c config) sqlitePath() string {
	return strings.TrimPrefix(strings.TrimPrefix(string(c.DatabaseURL), "sqlite:"), "//")
}

// embeddedKeysetPath is where the keyset of the SQLite database is when the environment gives none.
func (c config) embeddedKeysetPath() string { return c.sqlitePath() + ".keyset" }

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
	var fields []configField
	for i := range t.NumField() {
		f := t.Field(i)
		if name, ok := f.Tag.Lookup("env"); ok {
			secret := f.Type == reflect.TypeFor[mail.Secret]()
			fields = append(fields, configField{index: i, name: name, def: f.Tag.Get("envDefault"), doc: f.Tag.Get("doc"), secret: secret})
		}
	}
	return fields
}

// writeTable writes the configuration as it is in force, secrets redacted.
func (c config) writeTable(w io.Writer) {
	v := reflect.ValueOf(c)
	for _, f := range configFields() {
		value := fmt.Sprint(v.Field(f.index).Interface())
		if f.name == "FACTEUR_DATABASE_URL" && !c.postgres() {
			value = string(c.DatabaseURL)
		}
		fmt.Fprintf(w, "%-29s %-16s %s\n", f.name, value, f.doc)
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
