package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

const gmailAddress = "billing@firm.example"

// installGmail is an installation whose Google is g.
func installGmail(t *testing.T, url string, g *transporttest.Google) *installation {
	t.Helper()
	return install(t, url, "FACTEUR_GOOGLE_URL=http://"+g.Addr(), "FACTEUR_LOG_LEVEL=debug",
		`FACTEUR_GOOGLE_CLIENTS=[{"name":"key-1","client_id":"client-1","client_secret":"client-1-secret","state":"current"}]`)
}

// gmailProfile makes a profile that sends through Gmail; it is not connected.
func (s *service) gmailProfile(connections int) string {
	s.in.t.Helper()
	return s.gmailProfileWith(connections, map[string]any{})
}

func (s *service) gmailProfileWith(connections int, settings map[string]any) string {
	s.in.t.Helper()
	p := s.must("POST", "/v1/sender-profiles", map[string]any{
		"level": "company", "owner_ref": "C001", "name": "Invoices", "default": true, "transport": "gmail", "gmail": settings,
		"from": map[string]any{"name": "Zoë SRL", "address": gmailAddress}, "max_connections": connections, "limits": map[string]any{"preset": "none"},
	})
	return p["id"].(string)
}

// consentURL asks for a consent and gives the address of the start page.
func (s *service) consentURL(profile, language string) string {
	s.in.t.Helper()
	return s.must("POST", "/v1/sender-profiles/"+profile+"/authorization", map[string]any{"language": language})["url"].(string)
}

// consent is a person who connects the profile in a browser without scripts.
func (s *service) consent(profile string, g *transporttest.Google) {
	t := s.in.t
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	open := func(method, url string, want int) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s %s: %s %s %v", method, url, resp.Status, page, err)
		}
		return resp, string(page)
	}
	start := s.consentURL(profile, "en")
	open("GET", start, http.StatusOK)
	left, _ := open("POST", start, http.StatusSeeOther)
	back, err := g.Decide(t.Context(), left.Header.Get("Location"), transporttest.GoogleDecision{})
	if err != nil {
		t.Fatal(err)
	}
	if _, page := open("GET", back.String(), http.StatusOK); !strings.Contains(page, gmailAddress+" is connected") {
		t.Fatalf("the page says %s", page)
	}
}

// counts are a job's mails by status.
func (s *service) counts(job string) (map[string]int, error) {
	status, answer, err := s.call("GET", "/v1/send-jobs/"+job, nil)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("job: %d %w", status, err)
	}
	b, err := json.Marshal(answer["counts"])
	if err != nil {
		return nil, err
	}
	var counts map[string]int
	return counts, json.Unmarshal(b, &counts)
}

func (s *service) until(job string, want map[string]int) {
	s.in.t.Helper()
	eventually(s.in.t, time.Minute, func() error {
		got, err := s.counts(job)
		if err != nil {
			return err
		}
		for status, n := range got {
			if n != want[status] {
				return fmt.Errorf("counts are %v, want %v", got, want)
			}
		}
		return nil
	})
}

// The owner takes back his consent in the middle of a batch: the rest is held and nothing burnt, and a new consent sends it.
func TestGmailRevokedInTheMiddle(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		g := transporttest.StartGoogle(t, transporttest.GoogleConfig{})
		s := installGmail(t, url, g).start()
		profile := s.gmailProfile(1)
		// Before the first consent the batch waits too.
		job := s.batch(profile, 200)
		s.until(job, map[string]int{"held": 200})

		g.SetHook(func(step transporttest.GoogleStep) transporttest.GoogleAction {
			if step.Endpoint == "send" && step.N == 50 { // it is the last that gets through
				g.Revoke(gmailAddress)
			}
			return transporttest.GoogleAction{}
		})
		s.consent(profile, g)
		s.until(job, map[string]int{"sent": 50, "held": 150})
		auth := s.must("GET", "/v1/sender-profiles/"+profile+"/authorization", nil)
		if auth["state"] != "needs_reauthorization" {
			t.Errorf("authorization: %v", auth)
		}
		s.consent(profile, g)
		s.until(job, map[string]int{"sent": 200})
		if g.Accepted() != 200 || g.Duplicates() != 0 {
			t.Errorf("Google has %d mails, %d twice", g.Accepted(), g.Duplicates())
		}
		noTokens(t, s)
	})
}

// Google's token endpoint is down when the token runs out: the profile pauses, nothing is held and nothing fails.
func TestGmailTokenEndpointDown(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		g := transporttest.StartGoogle(t, transporttest.GoogleConfig{})
		s := installGmail(t, url, g).start()
		profile := s.gmailProfile(2)
		s.consent(profile, g)
		g.ExpireAccessTokens()
		g.SetHook(func(step transporttest.GoogleStep) transporttest.GoogleAction {
			if step.Endpoint == "token" {
				return transporttest.GoogleAction{Status: http.StatusServiceUnavailable}
			}
			return transporttest.GoogleAction{}
		})
		job := s.batch(profile, 50)
		eventually(t, time.Minute, func() error {
			if p := s.must("GET", "/v1/sender-profiles/"+profile, nil); p["status"] != "paused" {
				return fmt.Errorf("the profile is %v", p["status"])
			}
			return nil
		})
		counts, err := s.counts(job)
		if err != nil || counts["held"]+counts["failed"]+counts["uncertain"]+counts["sent"] != 0 {
			t.Errorf("counts are %v, %v", counts, err)
		}
		if auth := s.must("GET", "/v1/sender-profiles/"+profile+"/authorization", nil); auth["state"] != "connected" {
			t.Errorf("authorization: %v", auth)
		}
		g.SetHook(nil)
		// It is tried again by itself when the pause is over, after some ten seconds.
		s.until(job, map[string]int{"sent": 50})
		if g.Accepted() != 50 || g.Duplicates() != 0 {
			t.Errorf("Google has %d mails, %d twice", g.Accepted(), g.Duplicates())
		}
		noTokens(t, s)
	})
}

// The token runs out under a batch of 200 that two processes send over 20 connections: they refresh it once, or at most once each.
func TestGmailTwoProcessesRefreshOnce(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		g := transporttest.StartGoogle(t, transporttest.GoogleConfig{RotateRefreshTokens: true})
		in := installGmail(t, url, g)
		s, other := in.start(), in.start("worker")
		profile := s.gmailProfile(20)
		s.consent(profile, g)
		g.ExpireAccessTokens()
		before := g.Calls("token")
		job := s.batch(profile, 200)
		s.until(job, map[string]int{"sent": 200})
		if n := g.Calls("token") - before; n < 1 || n > 2 {
			t.Errorf("%d refreshes", n)
		}
		if g.Accepted() != 200 || g.Duplicates() != 0 {
			t.Errorf("Google has %d mails, %d twice", g.Accepted(), g.Duplicates())
		}
		noTokens(t, s)
		noTokens(t, other)
	})
}

// noTokens stops the process and looks for tokens in what it wrote at debug level.
func noTokens(t *testing.T, s *service) {
	t.Helper()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, secret := range []string{"ya29.", "1//", "client-1-secret", "ticket="} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}
