package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

const (
	fileSize = 100 << 10

	googleDelay   = 50 * time.Millisecond
	googleClient  = "client-1"
	googleSecret  = "client-1-secret"
	googleAccount = "billing@bench.example"
)

// runGoogle is the process of a Google that takes mail like a sink, each after a delay. Behind its address it tells a refresh
// token.
func runGoogle(delay time.Duration) error {
	var count, last atomic.Int64
	g, err := transporttest.NewGoogle(transporttest.GoogleConfig{
		Clients: []transporttest.GoogleClient{{ID: googleClient, Secret: googleSecret}}, Delay: delay, DiscardData: true,
		Hook: func(s transporttest.GoogleStep) transporttest.GoogleAction {
			if s.Endpoint == "send" {
				last.Store(time.Now().Add(delay).UnixNano())
				count.Add(1)
			}
			return transporttest.GoogleAction{}
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(g.Addr(), g.Grant(googleClient, googleAccount, transporttest.GoogleScopeSend, "openid", "email"))
	tell(&count, &last)
	return nil
}

// google is a Google in a process of its own.
type google struct {
	*sink
	refresh string
}

func startGoogle() (*google, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s, err := startSinkAs(exec.Command(self, "google", googleDelay.String())) //nolint:gosec // ourselves
	if err != nil {
		return nil, err
	}
	g := &google{sink: s}
	var ok bool
	if s.addr, g.refresh, ok = strings.Cut(s.addr, " "); !ok {
		return nil, errors.New("google: no refresh token")
	}
	return g, nil
}

// env has the service take it for Google.
func (g *google) env() []string {
	return []string{
		"FACTEUR_GOOGLE_URL=http://" + g.addr,
		fmt.Sprintf(`FACTEUR_GOOGLE_CLIENTS=[{"name":"bench","client_id":%q,"client_secret":%q,"state":"current"}]`, googleClient, googleSecret),
	}
}

// gmailProfile makes a profile that is connected to Gmail, as if somebody had consented.
func (b *bed) gmailProfile(ctx context.Context, connections int) (string, error) {
	made, err := b.post("/v1/sender-profiles", map[string]any{
		"level": "company", "owner_ref": store.NewID("own"), "name": "Bench", "default": true, "transport": "gmail",
		"from": map[string]any{"address": googleAccount}, "max_connections": connections, "limits": map[string]any{"preset": "none"},
	})
	if err != nil {
		return "", err
	}
	p, err := b.store.ProfileByID(ctx, made["id"].(string))
	if err != nil {
		return "", err
	}
	// A consent as it is when the person is back from Google.
	now := store.Now()
	c := &store.Consent{
		TenantID: p.TenantID, ProfileID: p.ID, Actor: "bench", Client: "bench", ClientID: googleClient,
		TicketHash: []byte("ticket of " + p.ID), CreatedAt: now, ExpiresAt: now.Add(time.Minute),
	}
	if err := b.store.CreateConsent(ctx, c); err != nil {
		return "", err
	}
	c.StateHash, c.BrowserHash, c.Verifier = []byte("state of "+p.ID), []byte("browser"), "verifier"
	if _, err := b.store.LeaveConsent(ctx, c); err != nil {
		return "", err
	}
	if _, err := b.store.UseConsent(ctx, c); err != nil {
		return "", err
	}
	return p.ID, b.store.SaveGrant(ctx, p, c.ID, &store.Grant{
		TenantID: p.TenantID, ProfileID: p.ID, Client: "bench", ClientID: googleClient, Address: googleAccount,
		Scopes: []string{transporttest.GoogleScopeSend, "openid", "email"}, RefreshToken: mail.Secret(b.google.refresh),
	}, &store.AuditEvent{TenantID: p.TenantID, Actor: "bench", Action: "authorization.connect", Subject: p.ID})
}

// byGmail: 2,000 mails with a distinct 100 KB PDF each through the Gmail API, which answers in 50 ms.
func byGmail(ctx context.Context, b *bed) error {
	const n, lanes = 2000, 20
	profile, err := b.gmailProfile(ctx, lanes)
	if err != nil {
		return err
	}
	template, err := b.template()
	if err != nil {
		return err
	}
	ids, err := b.uploads(n)
	if err != nil {
		return err
	}
	before, _ := b.google.count()
	began := time.Now()
	for first := 0; first < n; first += 500 {
		if err := b.job(profile, template, first, 500, ids[first:first+500]); err != nil {
			return err
		}
	}
	last, err := b.google.await(before, n, 2*time.Minute)
	if err != nil {
		return err
	}
	rate, most := n/last.Sub(began).Seconds(), float64(lanes)/googleDelay.Seconds()
	b.row("Gmail in 50 ms, 20 lanes, 100 KB PDF", perSecond(rate), "300/s", rate/300, ">= 1")
	b.row("Gmail in 50 ms, 20 lanes, 100 KB PDF", perSecond(rate), "what 20 lanes can at most "+perSecond(most), rate/most, "")
	peak := peakMemory(b.cmd.Process.Pid)
	b.row("peak memory", fmt.Sprintf("%.0f MiB", peak), "128 MiB", peak/128, "<= 1")
	return nil
}

// uploads stores n distinct files of 100 KB and gives their ids.
func (b *bed) uploads(n int) ([]string, error) {
	file := make([]byte, fileSize)
	rand.Read(file) //nolint:errcheck // never fails
	ids := make([]string, n)
	return ids, parallel(connections, n, func(i int) error {
		mine := bytes.Clone(file)
		copy(mine, fmt.Sprintf("%%PDF-1.7 %d ", i))
		a, err := b.post(fmt.Sprintf("/v1/attachments?filename=%d.pdf&kind=invoice_pdf", i), mine)
		if err == nil {
			ids[i] = a["id"].(string)
		}
		return err
	})
}
