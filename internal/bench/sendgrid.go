package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

const sendGridDelay = 50 * time.Millisecond

// runSendGrid is the process of a SendGrid that takes mail like a sink, each after a delay.
func runSendGrid(delay time.Duration) error {
	var count, last atomic.Int64
	s, err := transporttest.NewSendGrid(transporttest.SendGridConfig{
		AnySender: true, Delay: delay, DiscardData: true,
		Hook: func(s transporttest.SendGridStep) transporttest.SendGridAction {
			if s.Endpoint == "send" {
				last.Store(time.Now().Add(delay).UnixNano())
				count.Add(1)
			}
			return transporttest.SendGridAction{}
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(s.Addr())
	tell(&count, &last)
	return nil
}

// startSendGrid starts a SendGrid in a process of its own.
func startSendGrid() (*sink, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startSinkAs(exec.Command(self, "sendgrid", sendGridDelay.String())) //nolint:gosec // ourselves
}

// bySendGrid: 2,000 mails with a distinct 100 KB PDF each through SendGrid, which answers in 50 ms.
func bySendGrid(ctx context.Context, b *bed) error {
	const n, lanes = 2000, 20
	if _, err := b.store.PutAddOn(ctx, &store.AddOn{TenantID: b.tenant, Name: store.AddOnSendGrid}, nil); err != nil {
		return err
	}
	if _, err := b.store.GrantIdentity(ctx, &store.Identity{TenantID: b.tenant, Name: "bench.example"}, nil); err != nil {
		return err
	}
	made, err := b.post("/v1/sender-profiles", map[string]any{
		"level": "company", "owner_ref": store.NewID("own"), "name": "Bench", "default": true, "transport": "sendgrid",
		"from": map[string]any{"address": "billing@bench.example"}, "max_connections": lanes, "limits": map[string]any{"preset": "none"},
	})
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
	before, _ := b.sendgrid.count()
	began := time.Now()
	for first := 0; first < n; first += 500 {
		if err := b.job(made["id"].(string), template, first, 500, ids[first:first+500]); err != nil {
			return err
		}
	}
	last, err := b.sendgrid.await(before, n, 2*time.Minute)
	if err != nil {
		return err
	}
	rate, most := n/last.Sub(began).Seconds(), float64(lanes)/sendGridDelay.Seconds()
	b.row("SendGrid in 50 ms, 20 lanes, 100 KB PDF", perSecond(rate), "300/s", rate/300, ">= 1")
	b.row("SendGrid in 50 ms, 20 lanes, 100 KB PDF", perSecond(rate), "what 20 lanes can at most "+perSecond(most), rate/most, "")
	peak := peakMemory(b.cmd.Process.Pid)
	b.row("peak memory", fmt.Sprintf("%.0f MiB", peak), "128 MiB", peak/128, "<= 1")
	return nil
}
