package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// TestKill kills the process twenty times during a batch of 5,000, counts at the mail server, and compares with the states.
func TestKill(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		t.Parallel() // it waits for leases most of the time
		const batch, connections, kills = 5000, 10, 20
		sink := transporttest.StartSMTP(t, transporttest.SMTPConfig{})
		in := install(t, url)
		s := in.start()
		profile := s.smtpProfile(sink.Addr(), connections, nil)
		job := s.batch(profile, batch)
		killed := 0
		for range kills {
			from := sink.Accepted()
			step := 50 + rand.IntN(150)
			eventually(t, time.Minute, func() error {
				if n := sink.Accepted(); n < from+step && n < batch-connections*kills {
					return fmt.Errorf("%d mails at the server", n)
				}
				return nil
			})
			s.kill()
			killed++
			s = in.start()
		}
		counts := in.awaitDone(job, batch)
		uncertain := counts[mail.StatusUncertain]
		t.Logf("%d kills: %v; %d mails at the server, %d of them twice", killed, counts, sink.Accepted(), sink.Duplicates())
		if counts[mail.StatusSent]+uncertain != batch {
			t.Errorf("counts %v: %d mails lost their way", counts, batch-counts[mail.StatusSent]-uncertain)
		}
		if uncertain > killed*connections {
			t.Errorf("%d uncertain, but at most %d hand-overs were in flight", uncertain, killed*connections)
		}
		in.compare(job, sink)
	})
}

// awaitDone waits until every message of the job is sent, failed, canceled or uncertain.
func (in *installation) awaitDone(job string, total int) map[mail.Status]int {
	in.t.Helper()
	var counts map[mail.Status]int
	eventually(in.t, 3*time.Minute, func() error {
		j, err := in.store.Job(context.Background(), in.tenant.ID, job)
		if err != nil {
			return err
		}
		counts = j.Counts
		done := counts[mail.StatusSent] + counts[mail.StatusFailed] + counts[mail.StatusCanceled] + counts[mail.StatusUncertain]
		if done != total {
			return fmt.Errorf("%d of %d done: %v", done, total, counts)
		}
		return nil
	})
	return maps.Clone(counts)
}

// compare holds every message's state against what the server has: sent means once, uncertain at most once, anything else
// never.
func (in *installation) compare(job string, sink *transporttest.SMTPServer) {
	in.t.Helper()
	arrived := sink.ByMessageID()
	seen := 0
	page := store.Page{Limit: 200}
	for {
		list, err := in.store.ListMessages(context.Background(), in.tenant.ID, store.MessageFilter{JobID: job}, page)
		if err != nil {
			in.t.Fatal(err)
		}
		for _, m := range list.Items {
			content, err := in.store.MessageContent(context.Background(), in.tenant.ID, m.ID)
			if err != nil {
				in.t.Fatal(err)
			}
			n := arrived[content.MessageIDHeader]
			seen += n
			switch {
			case n > 1:
				in.t.Errorf("%s (%s) arrived %d times", m.ID, m.Status, n)
			case m.Status == mail.StatusSent && n != 1:
				in.t.Errorf("%s is shown as sent and never arrived", m.ID)
			case m.Status != mail.StatusSent && m.Status != mail.StatusUncertain && n != 0:
				in.t.Errorf("%s is shown as %s and arrived", m.ID, m.Status)
			}
		}
		if list.Next == "" {
			break
		}
		page.Cursor = list.Next
	}
	if seen != sink.Accepted() {
		in.t.Errorf("%d mails at the server, %d of them ours", sink.Accepted(), seen)
	}
}

// TestTwoProcessesOneKilled runs two processes on one PostgreSQL, kills one, and has the other finish its work. Neither may
// work all of the profile's connections alone, so both are at it when one dies.
func TestTwoProcessesOneKilled(t *testing.T) {
	const batch, connections = 3000, 6
	sink := transporttest.StartSMTP(t, transporttest.SMTPConfig{})
	in := install(t, pgtest.New(t), "FACTEUR_WORKERS=4")
	a, b := in.start(), in.start()
	job := a.batch(a.smtpProfile(sink.Addr(), connections, nil), batch)
	eventually(t, time.Minute, func() error {
		if n := sink.Accepted(); n < batch/4 {
			return fmt.Errorf("%d mails at the server", n)
		}
		return nil
	})
	a.kill()
	counts := in.awaitDone(job, batch)
	t.Logf("%v; %d mails at the server", counts, sink.Accepted())
	if counts[mail.StatusUncertain] > connections {
		t.Errorf("%d uncertain, at most %d were in flight", counts[mail.StatusUncertain], connections)
	}
	if sink.MaxConnections() > connections {
		t.Errorf("%d connections at once", sink.MaxConnections())
	}
	in.compare(job, sink)
	if code := b.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestPostgresRestart cuts the database's power during a batch: the service goes on by itself and nothing is sent twice.
func TestPostgresRestart(t *testing.T) {
	const batch, connections = 3000, 6
	sink := transporttest.StartSMTP(t, transporttest.SMTPConfig{})
	in := install(t, pgtest.New(t))
	s := in.start()
	job := s.batch(s.smtpProfile(sink.Addr(), connections, nil), batch)
	eventually(t, time.Minute, func() error {
		if n := sink.Accepted(); n < batch/4 {
			return fmt.Errorf("%d mails at the server", n)
		}
		return nil
	})
	pgtest.Restart(t)
	counts := in.awaitDone(job, batch)
	t.Logf("%v; %d mails at the server", counts, sink.Accepted())
	if counts[mail.StatusUncertain] > connections {
		t.Errorf("%d uncertain, at most %d were in flight", counts[mail.StatusUncertain], connections)
	}
	in.compare(job, sink)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestGracefulStop stops the process in the middle of a batch: the hand-over in flight ends, the rest goes back, nothing is
// uncertain.
func TestGracefulStop(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		t.Parallel()
		const batch = 2000
		sink := transporttest.StartSMTP(t, transporttest.SMTPConfig{})
		in := install(t, url)
		s := in.start()
		job := s.batch(s.smtpProfile(sink.Addr(), 5, nil), batch)
		eventually(t, time.Minute, func() error {
			if n := sink.Accepted(); n < batch/10 {
				return fmt.Errorf("%d mails at the server", n)
			}
			return nil
		})
		if code := s.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		j, err := in.store.Job(t.Context(), in.tenant.ID, job)
		if err != nil {
			t.Fatal(err)
		}
		if n := j.Counts[mail.StatusSending] + j.Counts[mail.StatusUncertain]; n != 0 {
			t.Errorf("left behind: %v", j.Counts)
		}
		if j.Counts[mail.StatusSent] != sink.Accepted() {
			t.Errorf("%d sent, %d at the server", j.Counts[mail.StatusSent], sink.Accepted())
		}
		in.start()
		if counts := in.awaitDone(job, batch); counts[mail.StatusSent] != batch {
			t.Errorf("counts %v", counts)
		}
		in.compare(job, sink)
	})
}
