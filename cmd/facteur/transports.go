package main

import (
	"os"
	"strings"

	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/gmail"
	"github.com/winprest/facteur/internal/transport/sandbox"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	"github.com/winprest/facteur/internal/transport/smtp"
)

// transports are the ways a mail can leave this process.
func (a *app) transports(tokens gmail.Tokens, accounts sendgrid.Accounts) (transport.Registry, error) {
	helo := a.config.HELO
	if helo == "" {
		// A host that does not know its name gives none, and the driver has one for that.
		helo, _ = os.Hostname()
	}
	google := gmail.Config{Tokens: tokens}
	if a.config.GoogleURL != "" {
		base := strings.TrimSuffix(a.config.GoogleURL, "/")
		google.BaseURL, google.UserinfoURL = base, base+"/v1/userinfo"
	}
	byGmail, err := gmail.New(google)
	if err != nil {
		return nil, err
	}
	drivers := []transport.Transport{
		sandbox.New(sandbox.Config{}),
		smtp.New(smtp.Config{Dialer: dial.New(dial.Policy{Allow: a.config.AllowNetworks}), HELO: helo}),
		byGmail,
	}
	if len(a.config.sendGrid.Keys) > 0 {
		cfg := a.config.sendGrid
		cfg.Accounts = accounts
		bySendGrid, err := sendgrid.New(cfg)
		if err != nil {
			return nil, err
		}
		drivers = append(drivers, bySendGrid)
	}
	return transport.NewRegistry(drivers...), nil
}
