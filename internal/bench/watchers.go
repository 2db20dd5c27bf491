package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// watchers: the sending rate of a job that 1,000 streams follow, beside the rate of one that nobody does.
func watchers(ctx context.Context, b *bed) error {
	const n, streams, rounds = 10_000, 1000, 3
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
	var alone, watched followed
	for i := range rounds { // in turns, so that both meet the same machine
		if err := b.follow(ctx, s, profile, template, 2*i*n, n, 0, &alone); err != nil {
			return err
		}
		if err := b.follow(ctx, s, profile, template, (2*i+1)*n, n, streams, &watched); err != nil {
			return err
		}
	}
	rate, reference := rounds*n/watched.took.Seconds(), rounds*n/alone.took.Seconds()
	b.row(fmt.Sprintf("%d streams follow a job (%d events each)", streams, watched.events.Load()/streams/rounds), perSecond(rate), "nobody does "+perSecond(reference),
		rate/reference, ">= 0.90")
	b.row("CPU of the service per 1,000 mails", seconds(watched.cpu/(rounds*n/1000)), "nobody does "+seconds(alone.cpu/(rounds*n/1000)),
		watched.cpu.Seconds()/alone.cpu.Seconds(), "")
	return nil
}

// followed is what jobs took, from their first mail to their last.
type followed struct {
	took, cpu time.Duration
	events    atomic.Int64 // at all of their streams
}

// follow sends a job of n mails that so many streams follow. The job is accepted a little before it is due, so that the streams are
// open then.
func (b *bed) follow(ctx context.Context, s *sink, profile, template string, first, n, streams int, f *followed) error {
	body, err := jobBody(profile, template, first, n, nil)
	if err != nil {
		return err
	}
	var job map[string]any
	if err := json.Unmarshal(body, &job); err != nil {
		return err
	}
	before, _ := s.count()
	const lead = 5 * time.Second
	due := time.Now().Add(lead)
	job["send_at"] = due.UTC().Format(time.RFC3339Nano)
	accepted, err := b.post("/v1/send-jobs", job)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	open := make(chan error, streams)
	ends := make(chan error, streams)
	for range streams {
		wg.Go(func() { ends <- b.stream(ctx, accepted["id"].(string), open, &f.events) })
	}
	for range streams {
		if err := <-open; err != nil {
			return err
		}
	}
	if time.Now().After(due) {
		return errors.New("the streams were not open in time")
	}
	began := due
	cpu := cpuTime(b.cmd.Process.Pid)
	for got := before; got == before; time.Sleep(2 * time.Millisecond) {
		got, began = s.count()
	}
	last, err := s.await(before, n, 2*time.Minute)
	if err != nil {
		return err
	}
	f.took += last.Sub(began)
	wg.Wait() // what the streams are told of the end counts, too
	f.cpu += cpuTime(b.cmd.Process.Pid) - cpu
	close(ends)
	for err := range ends {
		if err != nil {
			return err
		}
	}
	return nil
}

// stream follows a job to its end. It says on open when the first event is there.
func (b *bed) stream(ctx context.Context, job string, open chan<- error, events *atomic.Int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"/v1/send-jobs/"+job+"/events", nil)
	if err != nil {
		open <- err
		return err
	}
	req.Header.Set("Authorization", "Bearer "+b.key)
	resp, err := b.client.Do(req)
	if err != nil {
		open <- err
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("a stream: %s", resp.Status)
		open <- err
		return err
	}
	first := true
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, ok := strings.CutPrefix(lines.Text(), "event: ")
		if !ok {
			continue
		}
		events.Add(1)
		if first {
			open <- nil
			first = false
		}
		if name == "finished" {
			return nil
		}
	}
	err = errors.New("a stream ended before the job")
	if first {
		open <- err
	}
	return err
}
