package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/winprest/facteur/internal/store"
)

// receivers: the sending rate of jobs whose events nobody wants, beside that of jobs whose events go to a webhook receiver that takes
// them, and to one that takes the connections and says nothing.
func receivers(ctx context.Context, b *bed) error {
	const n, rounds = 5000, 2
	s, err := startSink(0)
	if err != nil {
		return err
	}
	defer s.stop()
	profile, err := b.profile(s.addr, connections)
	if err != nil {
		return err
	}
	template, err := b.template()
	if err != nil {
		return err
	}
	before, _ := s.count()
	if err := b.job(profile, template, 10*n, 1000, nil); err != nil { // connections, plans and caches
		return err
	}
	if _, err := s.await(before, 1000, time.Minute); err != nil {
		return err
	}
	var posts atomic.Int64
	up, err := listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts.Add(1)
		io.Copy(io.Discard, r.Body) //nolint:errcheck // what it says is not measured
	}))
	if err != nil {
		return err
	}
	defer up.Close() //nolint:errcheck // a listener of this run
	silent, err := listen(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	if err != nil {
		return err
	}
	defer silent.Close() //nolint:errcheck // a listener of this run
	var none, taken, dead followed
	first := 0
	for range rounds { // in turns, so that all meet the same machine
		for _, c := range []struct {
			to *http.Server
			f  *followed
		}{{nil, &none}, {up, &taken}, {silent, &dead}} {
			if err := b.told(ctx, c.to, func() error { return b.follow(ctx, s, profile, template, first, n, 0, c.f) }); err != nil {
				return err
			}
			first += n
		}
	}
	rate := func(f *followed) float64 { return rounds * n / f.took.Seconds() }
	reference := "nobody is told " + perSecond(rate(&none))
	b.row(fmt.Sprintf("a webhook receiver takes events (%d)", posts.Load()), perSecond(rate(&taken)), reference, rate(&taken)/rate(&none), "")
	b.row("a webhook receiver is down for the whole run", perSecond(rate(&dead)), reference, rate(&dead)/rate(&none), ">= 0.90")
	return nil
}

// listen serves on a free port of this machine; the server's Addr says which.
func listen(h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: time.Minute}
	go s.Serve(l) //nolint:errcheck // it ends with Close
	return s, nil
}

// told runs something while the tenant has a webhook endpoint there; nil: it has none.
func (b *bed) told(ctx context.Context, to *http.Server, run func() error) error {
	if to == nil {
		return run()
	}
	made, err := b.post("/v1/webhook-endpoints", map[string]any{"url": "http://" + to.Addr + "/hook"})
	if err != nil {
		return err
	}
	id, ok := made["id"].(string)
	if !ok {
		return fmt.Errorf("no endpoint: %v", made)
	}
	if err := run(); err != nil {
		return err
	}
	// What is not delivered yet is no part of the next run.
	return b.store.DeleteWebhookEndpoint(ctx, b.tenant, id, store.NewID("key"))
}
