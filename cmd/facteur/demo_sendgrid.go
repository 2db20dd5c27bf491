package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/winprest/facteur/internal/demo"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	"github.com/winprest/facteur/internal/transport/sendgrid/events"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// sendGrid takes two mails of the batch without saying so. A third one in a row would pause the profile.
func (c demoCmd) sendGrid() (*demoFarEnd, error) {
	const silent = 2
	var sent atomic.Int64
	s, err := transporttest.NewSendGrid(transporttest.SendGridConfig{
		Hook: func(s transporttest.SendGridStep) transporttest.SendGridAction {
			if s.Endpoint != "send" || s.Sandbox {
				return transporttest.SendGridAction{}
			}
			n := int(sent.Add(1))
			ends := n > 1 && n <= 1+min(silent, c.Count)
			return transporttest.SendGridAction{Accept: ends, Drop: ends}
		},
	})
	if err != nil {
		return nil, err
	}
	keys, err := events.ParseKeys("demo=" + s.EventKey())
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &demoFarEnd{
		way: "through SendGrid", name: "SendGrid", addr: s.Addr(), close: s.Close,
		inbox: func() ([][]byte, error) {
			mails := s.Mails()
			raw := make([][]byte, len(mails))
			for i := range mails {
				var err error
				if raw[i], err = mails[i].MIME(); err != nil {
					return nil, err
				}
			}
			return raw, nil
		},
		sendGrid: &demo.SendGrid{
			Publish: func(domain string) { s.Publish("", domain) },
			Posts:   func() int { return s.Calls("upload") },
			Report:  func(ctx context.Context, url, nobody string) (int, error) { return report(ctx, s, url, nobody) },
		},
		sendGridKeys:        sendgrid.Config{Keys: map[string]sendgrid.Key{onlyKey: {Secret: mail.Secret(transporttest.SendGridTestKey), BaseURL: s.URL()}}},
		sendGridWebhookKeys: keys,
	}, nil
}

// report tells of every mail: that it was taken, and what became of it.
func report(ctx context.Context, s *transporttest.SendGrid, url, nobody string) (int, error) {
	const perRequest = 200
	var batch []transporttest.SendGridEvent
	for _, m := range s.Mails() {
		for _, to := range m.Recipients() {
			outcome := "delivered"
			if to == nobody {
				outcome = "bounce"
			}
			batch = append(batch, s.Event(m, to, outcome, nil), s.Event(m, to, "processed", nil)) // in any order
		}
	}
	for first := 0; first < len(batch); first += perRequest {
		status, err := s.PostEvents(ctx, url, batch[first:min(first+perRequest, len(batch))]...)
		if err != nil {
			return 0, err
		}
		if status != http.StatusOK {
			return 0, fmt.Errorf("the webhook answers %d", status)
		}
	}
	return len(batch), nil
}
