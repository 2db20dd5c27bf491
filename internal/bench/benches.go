package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const connections = 20

// small: 10,000 personalised 3 KB mails, from the first request to the last delivery.
func small(_ context.Context, b *bed) error {
	const n, page = 10_000, 1000
	s, err := startSink(0)
	if err != nil {
		return err
	}
	defer s.stop()
	body := bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789\r\n"), 42)
	bare, err := bareLoop(s.addr, connections, n, body)
	if err != nil {
		return err
	}
	source, haveSource, err := smtpSource(s.addr, connections, n, 3000)
	if err != nil {
		return err
	}
	profile, err := b.profile(s.addr, connections)
	if err != nil {
		return err
	}
	template, err := b.template()
	if err != nil {
		return err
	}
	// A first job opens connections, plans and caches.
	before, _ := s.count()
	if err := b.job(profile, template, n, page, nil); err != nil {
		return err
	}
	if _, err := s.await(before, page, time.Minute); err != nil {
		return err
	}
	var jobs [n / page][]byte
	for i := range jobs {
		if jobs[i], err = jobBody(profile, template, i*page, page, nil); err != nil {
			return err
		}
	}
	cpu, dbCPU := cpuTime(b.cmd.Process.Pid), treeCPU(b.postgres)
	before, _ = s.count()
	began := time.Now()
	err = parallel(2, len(jobs), func(i int) error { return b.postJob(jobs[i]) })
	if err != nil {
		return err
	}
	last, err := s.await(before, n, 2*time.Minute)
	if err != nil {
		return err
	}
	rate := n / last.Sub(began).Seconds()
	time.Sleep(300 * time.Millisecond) // the last outcomes
	cpu, dbCPU = cpuTime(b.cmd.Process.Pid)-cpu, treeCPU(b.postgres)-dbCPU
	aim := ">= 0.40"
	if b.database == "sqlite" {
		aim = ">= 0.30"
	}
	if haveSource {
		b.row("10,000 mails of 3 KB, end to end", perSecond(rate), "smtp-source "+perSecond(source), rate/source, aim)
	}
	b.row("10,000 mails of 3 KB, end to end", perSecond(rate), "bare pipelined loop "+perSecond(bare), rate/bare, "")
	b.row("CPU of the service per 1,000 mails", seconds(cpu/10), "0.15 s", cpu.Seconds()/10/0.15, "<= 1")
	if b.postgres != 0 {
		b.row("CPU of PostgreSQL per 1,000 mails", seconds(dbCPU/10), "0.15 s", dbCPU.Seconds()/10/0.15, "<= 1")
	}
	return nil
}

// pdf: 2,000 mails with a distinct 100 KB PDF each.
func pdf(_ context.Context, b *bed) error {
	const n = 2000
	s, err := startSink(0)
	if err != nil {
		return err
	}
	defer s.stop()
	encoded := bytes.Repeat([]byte("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n"), fileSize/57)
	bare, err := bareLoop(s.addr, connections, n, encoded)
	if err != nil {
		return err
	}
	profile, err := b.profile(s.addr, connections)
	if err != nil {
		return err
	}
	template, err := b.template()
	if err != nil {
		return err
	}
	began := time.Now()
	ids, err := b.uploads(n)
	if err != nil {
		return err
	}
	uploaded := time.Now()
	before, _ := s.count()
	for first := 0; first < n; first += 500 {
		if err := b.job(profile, template, first, 500, ids[first:first+500]); err != nil {
			return err
		}
	}
	last, err := s.await(before, n, 2*time.Minute)
	if err != nil {
		return err
	}
	sending, all := n/last.Sub(uploaded).Seconds(), n/last.Sub(began).Seconds()
	b.row("2,000 mails with 100 KB PDF, upload included", perSecond(all), "800/s", all/800, ">= 1")
	b.row("the sending alone", perSecond(sending), "2,000/s", sending/2000, ">= 1")
	b.row("the sending alone", perSecond(sending), "bare pipelined loop "+perSecond(bare), sending/bare, "")
	peak := peakMemory(b.cmd.Process.Pid)
	b.row("peak memory", fmt.Sprintf("%.0f MiB", peak), "80 MiB", peak/80, "<= 1")
	return nil
}

// far: a server 20 ms away, 10 connections.
func far(_ context.Context, b *bed) error {
	const n, lanes = 2000, 10
	s, err := startSink(20 * time.Millisecond)
	if err != nil {
		return err
	}
	defer s.stop()
	bare, err := bareLoop(s.addr, lanes, n/4, bytes.Repeat([]byte("x\r\n"), 1000))
	if err != nil {
		return err
	}
	profile, err := b.profile(s.addr, lanes)
	if err != nil {
		return err
	}
	template, err := b.template()
	if err != nil {
		return err
	}
	before, _ := s.count()
	began := time.Now()
	for first := 0; first < n; first += 1000 {
		if err := b.job(profile, template, first, 1000, nil); err != nil {
			return err
		}
	}
	last, err := s.await(before, n, 2*time.Minute)
	if err != nil {
		return err
	}
	rate := n / last.Sub(began).Seconds()
	b.row("server 20 ms away, 10 connections", perSecond(rate), "200/s", rate/200, ">= 1")
	b.row("server 20 ms away, 10 connections", perSecond(rate), "bare pipelined loop "+perSecond(bare), rate/bare, "")
	return nil
}

// accept: POST /v1/messages from 20 clients while the service sends, beside a bare handler that inserts one row.
func accept(ctx context.Context, b *bed) error {
	const clients, n = 20, 6000
	s, err := startSink(0)
	if err != nil {
		return err
	}
	defer s.stop()
	profile, err := b.profile(s.addr, 4)
	if err != nil {
		return err
	}
	ref, err := startBareHandler(ctx, b.url)
	if err != nil {
		return err
	}
	defer ref.stop()
	body := []byte(fmt.Sprintf(`{"sender_profile_id":%q,"to":[{"address":"client@client.example"}],"subject":"Invoice","text":%q}`, profile, bytes.Repeat([]byte("Hello. "), 100)))
	// In turns, so that both meet the same machine.
	var own, bare latencies
	for range 3 {
		if err := hammer(clients, n/3, &bare, func() error { return ref.post(body) }); err != nil {
			return err
		}
		if err := hammer(clients, n/3, &own, func() error { _, err := b.send("/v1/messages", "application/json", body); return err }); err != nil {
			return err
		}
	}
	rate, reference := own.rate(), bare.rate()
	b.row("POST /v1/messages, 20 clients, while sending", perSecond(rate), "bare insert "+perSecond(reference), rate/reference, ">= 0.50")
	p99, refP99 := own.percentile(99), bare.percentile(99)
	b.row("its p99", seconds(p99), "bare insert "+seconds(refP99), p99.Seconds()/refP99.Seconds(), "<= 3")
	return nil
}

// idle: how long after the request a single mail is at the server, on an idle service.
func idle(_ context.Context, b *bed) error {
	const n = 41
	arrivals := make(chan time.Time, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				arrivals <- time.Now() // the connection is the start of the mail
				serveSink(conn, conn, func() {})
			}()
		}
	}()
	profile, err := b.profile(l.Addr().String(), 1)
	if err != nil {
		return err
	}
	var l8 latencies
	for i := range n {
		began := time.Now()
		if _, err := b.post("/v1/messages", map[string]any{"sender_profile_id": profile, "to": []any{map[string]any{"address": "client@client.example"}}, "subject": "Hello", "text": "Hello"}); err != nil {
			return err
		}
		arrived := <-arrivals
		if i > 0 {
			l8.add(arrived.Sub(began))
		}
		time.Sleep(1500 * time.Millisecond) // idle again: the lane has let its connection go
	}
	median := l8.percentile(50)
	b.row("a single mail on an idle service starts after", seconds(median), "50 ms", float64(median)/float64(50*time.Millisecond), "<= 1")
	return nil
}

// backlog: the cost of a mail behind 100,000 queued ones, beside the cost behind 1,000.
func backlog(_ context.Context, b *bed) error {
	s, err := startSink(0)
	if err != nil {
		return err
	}
	defer s.stop()
	template, err := b.template()
	if err != nil {
		return err
	}
	cost := func(queued int) (time.Duration, error) {
		profile, err := b.profile(s.addr, connections)
		if err != nil {
			return 0, err
		}
		for first := 0; first < queued; first += 1000 {
			if err := b.job(profile, template, first, 1000, nil); err != nil {
				return 0, err
			}
		}
		before, _ := s.count()
		cpu := cpuTime(b.cmd.Process.Pid) + treeCPU(b.postgres)
		sample := min(queued, 20_000) / 2
		if _, err := s.await(before, sample, 3*time.Minute); err != nil {
			return 0, err
		}
		spent := cpuTime(b.cmd.Process.Pid) + treeCPU(b.postgres) - cpu
		got, _ := s.count()
		return spent / time.Duration(got-before), nil
	}
	few, err := cost(1000)
	if err != nil {
		return err
	}
	many, err := cost(100_000)
	if err != nil {
		return err
	}
	b.row("CPU per mail with 100,000 queued", seconds(many), "with 1,000 queued "+seconds(few), many.Seconds()/few.Seconds(), "<= 1.20")
	return nil
}

func perSecond(r float64) string { return fmt.Sprintf("%.0f/s", r) }

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// latencies are the durations of calls, by many clients.
type latencies struct {
	mu   sync.Mutex
	all  []time.Duration
	took time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latencies) rate() float64 { return float64(len(l.all)) / l.took.Seconds() }

func (l *latencies) percentile(p int) time.Duration {
	slices.Sort(l.all)
	return l.all[min(len(l.all)*p/100, len(l.all)-1)]
}

// hammer makes n calls from so many clients at once.
func hammer(clients, n int, l *latencies, call func() error) error {
	began := time.Now()
	err := parallel(clients, n, func(int) error {
		start := time.Now()
		err := call()
		l.add(time.Since(start))
		return err
	})
	l.took += time.Since(began)
	return err
}

func parallel(workers, n int, do func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}
