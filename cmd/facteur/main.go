// Command facteur sends a firm's mail. It is wiring only: it reads the configuration, puts the packages together, and starts
// and stops them. "facteur --help" lists its commands; the README has a tour.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // sending hours are in the firm's time zone, and Windows has no database of them

	"github.com/alecthomas/kong"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		// The first signal asks for a graceful stop; a second one has its usual effect and ends the process at once.
		signal.Stop(signals)
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// app is what every command gets.
type app struct {
	ctx            context.Context
	config         config
	stdin          io.Reader
	stdout, stderr io.Writer
}

type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run the HTTP API and the workers."`
	Worker  workerCmd  `cmd:"" help:"Run workers only, beside other processes on the same PostgreSQL."`
	Migrate migrateCmd `cmd:"" help:"Bring the database's schema up to date."`
	Tenant  struct {
		Create tenantCreateCmd `cmd:"" help:"Make a tenant: one customer firm."`
		List   tenantListCmd   `cmd:"" help:"List the tenants."`
		AddOn  struct {
			On   addOnOnCmd   `cmd:"" help:"Switch SendGrid on, or change its dates or account."`
			Off  addOnOffCmd  `cmd:"" help:"Switch SendGrid off: mail that needs it is held."`
			List addOnListCmd `cmd:"" help:"List the add-ons of a tenant."`
		} `cmd:"" help:"The paid extras of a tenant."`
	} `cmd:"" help:"Tenants."`
	Key struct {
		Create keyCreateCmd `cmd:"" help:"Make an API key and print it, once."`
		Revoke keyRevokeCmd `cmd:"" help:"Revoke an API key."`
		List   keyListCmd   `cmd:"" help:"List API keys, without their secrets."`
	} `cmd:"" help:"API keys."`
	Keyset struct {
		Generate keysetGenerateCmd `cmd:"" help:"Print a new keyset for FACTEUR_KEYSET."`
		Rotate   keysetRotateCmd   `cmd:"" help:"Add a key to the keyset; new secrets are sealed with it, old ones still open."`
		Rewrap   keysetRewrapCmd   `cmd:"" help:"Seal every stored secret again with the newest key."`
	} `cmd:"" help:"The keyset that seals stored credentials."`
	SendJob sendJobs   `cmd:"" name:"send-job" help:"Send jobs of a running service, which FACTEUR_URL names."`
	Demo    demoCmd    `cmd:"" help:"Send 200 sample invoices to a mail server of its own, with nothing installed."`
	Doctor  doctorCmd  `cmd:"" help:"Look at the Gmail set-up: what to register at Google, and what is wrong."`
	Config  configCmd  `cmd:"" help:"Print the configuration in force, secrets redacted."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// run is the whole program: a function, so that tests start it. It ends when its work is done or soon after ctx is, and
// returns the exit code: 0 for success, 1 for a failure, 2 for a command line that makes no sense, 3 for a send job of which not all
// was sent.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	exit := -1
	parser, err := kong.New(new(cli),
		kong.Name("facteur"),
		kong.Description("Sends a firm's mail: one-off mails and batches of invoices, from the firm's own address."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: false}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "facteur:", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "facteur: %v\nfacteur --help lists the commands.\n", err)
		return 2
	}
	c, err := readConfig(environ)
	if err != nil {
		fmt.Fprintln(stderr, "facteur: the configuration is wrong:")
		fmt.Fprintln(stderr, err)
		return 1
	}
	err = parsed.Run(&app{ctx: ctx, config: c, stdin: stdin, stdout: stdout, stderr: stderr})
	if err != nil {
		fmt.Fprintln(stderr, "facteur:", err)
		var coded interface{ ExitCode() int }
		if errors.As(err, &coded) {
			return coded.ExitCode()
		}
		return 1
	}
	return 0
}

type configCmd struct{}

func (configCmd) Run(a *app) error {
	a.config.writeTable(a.stdout)
	return nil
}

type versionCmd struct{}

func (versionCmd) Run(a *app) error {
	fmt.Fprintln(a.stdout, "facteur", version())
	return nil
}

// version is the module's version and commit as far as the build knows them.
func version() string {
	v := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v += " " + s.Value[:12]
			}
		}
	}
	return v
}
