package main

import (
	"os"

	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/sandbox"
	"github.com/winprest/facteur/internal/transport/smtp"
)

// transports are the ways a mail can leave this process.
func (a *app) transports() transport.Registry {
	helo := a.config.HELO
	if helo == "" {
		// A host that does not know its name gives none, and the driver has one for that.
		helo, _ = os.Hostname()
	}
	return transport.NewRegistry(
		sandbox.New(sandbox.Config{}),
		smtp.New(smtp.Config{Dialer: dial.New(dial.Policy{Allow: a.config.AllowNetworks}), HELO: helo}),
	)
}
