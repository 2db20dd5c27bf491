package main

import (
	"context"
	"net/url"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/demo"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	"github.com/winprest/facteur/internal/transport/sendgrid/events"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// demoFarEnd is where the demo's mail goes.
type demoFarEnd struct {
	way, name, addr string
	inbox           func() ([][]byte, error)
	close           func() error
	// Of the stand-in for Google.
	consent   func(context.Context, string) (*url.URL, error)
	clients   []consent.Client
	googleURL string
	// Of the stand-in for SendGrid.
	sendGrid            *demo.SendGrid
	sendGridKeys        sendgrid.Config
	sendGridWebhookKeys events.Keys
}

func (c demoCmd) farEnd() (*demoFarEnd, error) {
	if c.Gmail {
		return c.google()
	}
	if c.SendGrid {
		return c.sendGrid()
	}
	server, err := demo.StartMailServer()
	if err != nil {
		return nil, err
	}
	return &demoFarEnd{way: "over SMTP", name: "mail server", addr: server.Addr(), inbox: server.Inbox, close: server.Close}, nil
}

// google takes the first mails of the batch without saying so.
func (c demoCmd) google() (*demoFarEnd, error) {
	const client, secret, silent = "client-1", "client-1-secret", 3
	g, err := transporttest.NewGoogle(transporttest.GoogleConfig{
		Clients: []transporttest.GoogleClient{{ID: client, Secret: secret}},
		Hook: func(s transporttest.GoogleStep) transporttest.GoogleAction {
			ends := s.Endpoint == "send" && s.N > 1 && s.N <= 1+min(silent, c.Count)
			return transporttest.GoogleAction{Accept: ends, Drop: ends}
		},
	})
	if err != nil {
		return nil, err
	}
	return &demoFarEnd{
		way: "through Gmail", name: "Google", addr: g.Addr(), close: g.Close, googleURL: "http://" + g.Addr(),
		inbox: func() ([][]byte, error) {
			mails := g.Mails()
			raw := make([][]byte, len(mails))
			for i := range mails {
				raw[i] = mails[i].Data
			}
			return raw, nil
		},
		consent: func(ctx context.Context, authURL string) (*url.URL, error) {
			return g.Decide(ctx, authURL, transporttest.GoogleDecision{})
		},
		clients: []consent.Client{{Name: "demo", ID: client, Secret: secret, State: consent.Current}},
	}, nil
}
