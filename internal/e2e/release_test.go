package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// TestKillDuringRelease kills the process while it releases a draft: then all of it is released, or nothing.
func TestKillDuringRelease(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		const pages, page = 3, 1000
		sink := transporttest.StartSMTP(t, transporttest.SMTPConfig{})
		in := install(t, url)
		s := in.start()
		profile := s.smtpProfile(sink.Addr(), 10, nil)
		draft := map[string]any{"draft": true, "sender_profile_id": profile, "release": "manual"}
		job := s.must("POST", "/v1/send-jobs", draft)["id"].(string)
		for range pages {
			s.must("POST", "/v1/send-jobs/"+job+"/messages", map[string]any{"messages": mails(page)})
		}
		halves := 0
		for range 5 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.call("POST", "/v1/send-jobs/"+job+"/release", nil) //nolint:errcheck // the line is cut
			}()
			time.Sleep(time.Duration(10+rand.IntN(200)) * time.Millisecond) // a moment of the release, whichever
			s.kill()
			<-done
			s = in.start()
			j := s.must("GET", "/v1/send-jobs/"+job, nil)
			counts := j["counts"].(map[string]any)
			if j["state"] == "released" {
				if counts["draft"].(float64) != 0 {
					t.Errorf("released, and %v", counts)
				}
				break
			}
			if halves++; counts["draft"].(float64) != pages*page || sink.Accepted() != 0 {
				t.Fatalf("%v: %v, %d mails at the server", j["state"], counts, sink.Accepted())
			}
		}
		t.Logf("%d releases were cut", halves)
		s.must("POST", "/v1/send-jobs/"+job+"/release", nil)
		eventually(t, 2*time.Minute, func() error {
			counts := s.must("GET", "/v1/send-jobs/"+job, nil)["counts"].(map[string]any)
			if counts["sent"].(float64)+counts["uncertain"].(float64) != pages*page {
				return fmt.Errorf("counts %v", counts)
			}
			return nil
		})
		in.compare(job, sink)
	})
}
