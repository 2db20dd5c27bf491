package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func TestReportMessages(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		jobID, ids := submit(t, s, p, 7)
		submit(t, s, p, 2)
		sql(t, s, `UPDATE messages SET status = 'sent', attempts = 1, attempt = $1 WHERE id = $2`,
			`{"started":1700000000000000,"finished":1700000001000000,"outcome":"sent","detail":{"step":"final","evidence":"4XyZ1"}}`, ids[3])
		slices.Sort(ids)
		var got []string
		pages := 0
		for after := ""; ; pages++ {
			page, err := s.ReportMessages(ctx, p.TenantID, jobID, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				got = append(got, m.ID)
				if m.Subject != "Facture" || m.Detail.Document.Number != "2026/0042" || (m.Latest != nil) != (m.Status == mail.StatusSent) {
					t.Errorf("%+v", m.Message)
				}
				if m.Latest != nil && (m.Latest.Detail.Evidence != "4XyZ1" || m.Latest.N != 1 || m.Latest.Outcome != mail.OutcomeSent) {
					t.Errorf("%+v", m.Latest)
				}
			}
			if len(page) < 3 {
				break
			}
			after = page[2].ID
		}
		if !slices.Equal(got, ids) || pages != 2 {
			t.Errorf("%v in %d pages, want %v", got, pages+1, ids)
		}
		if other, err := s.ReportMessages(ctx, newTenant(t, s), jobID, "", 3); err != nil || len(other) != 0 {
			t.Errorf("another tenant: %v, %v", other, err)
		}
	})
}

func TestPaceIsCounted(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		p := testProfile(newTenant(t, s))
		p.Limits = mail.Limits{PerMinute: 9, PerHour: 90, PerDay: 900}
		if err := s.CreateProfile(context.Background(), p, nil); err != nil {
			t.Fatal(err)
		}
		jobID, ids := submit(t, s, p, 4)
		now := store.Now()
		for i, ago := range []time.Duration{time.Hour, 50 * time.Second, 30 * time.Second} {
			sql(t, s, "UPDATE messages SET status = 'sent', sent_at = $1 WHERE id = $2", now.Add(-ago).UnixMicro(), ids[i])
		}
		j, err := s.Job(context.Background(), p.TenantID, jobID)
		want := store.Pace{At: j.Pace.At, Sent: 2, Since: now.Add(-50 * time.Second), Limits: mail.Limits{PerHour: 90, PerDay: 900}}
		if err != nil || j.Pace != want || j.Pace.At.Before(now) {
			t.Errorf("%+v, %v; want %+v", j.Pace, err, want)
		}
	})
}

func TestPace(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		sent     int
		took     time.Duration
		limits   mail.Limits
		n, total int
		rate     float64
		end      time.Duration // 0: nobody can say
	}{
		{name: "nothing yet", n: 10, total: 10},
		{name: "one", sent: 1, took: time.Second, n: 10, total: 11},
		{name: "few", sent: 9, took: 4 * time.Second, n: 10, total: 19, rate: 2},
		{name: "enough", sent: 101, took: 10 * time.Second, n: 500, total: 601, rate: 10, end: 50 * time.Second},
		{name: "nothing left", sent: 101, took: 10 * time.Second, total: 101, rate: 10},
		{name: "the day's limit is far", sent: 101, took: 10 * time.Second, limits: mail.Limits{PerDay: 2000}, n: 500, total: 601, rate: 10, end: 50 * time.Second},
		{name: "the day's limit comes in between", sent: 101, took: 10 * time.Second, limits: mail.Limits{PerDay: 500}, n: 500, total: 601, rate: 10},
		{name: "the hour's limit comes in between", sent: 101, took: 10 * time.Second, limits: mail.Limits{PerHour: 600, PerDay: 2000}, n: 500, total: 601, rate: 10},
		{name: "slower than the limit", sent: 11, took: 60 * time.Second, limits: mail.Limits{PerHour: 700}, n: 900, total: 1000, rate: 1. / 6, end: 90 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := store.Pace{At: now, Sent: tt.sent, Limits: tt.limits}
			if tt.sent > 0 {
				p.Since = now.Add(-tt.took)
			}
			if got := p.Rate(); got != tt.rate {
				t.Errorf("rate %v, want %v", got, tt.rate)
			}
			want := time.Time{}
			if tt.end > 0 {
				want = now.Add(tt.end)
			}
			if got := p.End(tt.n, tt.total); !got.Equal(want) {
				t.Errorf("end %v, want %v", got, want)
			}
		})
	}
}
