package consent_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// An expired token, two processes, 200 mails at once: Google is asked once, or at most once by each.
func TestOneRefreshForAll(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		both(t, transporttest.GoogleConfig{RotateRefreshTokens: rotate}, func(w *world) {
			before := w.connect(w.profile)
			p := w.read(w.profile)
			w.expireAccess(p)
			calls := w.google.Calls("token")
			services := []*consent.Service{w.serve(w.store), w.serve(w.open())}
			tokens := make([]string, 200)
			var wg sync.WaitGroup
			for i := range tokens {
				wg.Go(func() {
					var err error
					if tokens[i], err = services[i%2].AccessToken(w.Context(), p, ""); err != nil {
						w.Error(err)
					}
				})
			}
			wg.Wait()
			if n := w.google.Calls("token") - calls; n < 1 || n > 2 {
				w.Errorf("%d refreshes", n)
			}
			slices.Sort(tokens)
			if distinct := slices.Compact(tokens); len(distinct) > 2 || distinct[0] == string(before.AccessToken) || distinct[0] == "" {
				w.Errorf("%d different tokens", len(distinct))
			}
			after := w.grant(p)
			if rotate == (after.RefreshToken == before.RefreshToken) {
				w.Errorf("rotation %v, and the stored refresh token changed: %v", rotate, after.RefreshToken != before.RefreshToken)
			}

			// The same with a token that Google refuses although its time is not over.
			w.google.ExpireAccessTokens()
			calls = w.google.Calls("token")
			for i := range tokens {
				wg.Go(func() {
					got, err := services[i%2].AccessToken(w.Context(), p, string(after.AccessToken))
					if err != nil || got == string(after.AccessToken) {
						w.Errorf("%v, the refused token again: %v", err, err == nil)
					}
				})
			}
			wg.Wait()
			if n := w.google.Calls("token") - calls; n < 1 || n > 2 {
				w.Errorf("%d refreshes of a refused token", n)
			}
		})
	}
}

// A rotated refresh token is kept, and used the next time.
func TestRotationGoesOn(t *testing.T) {
	both(t, transporttest.GoogleConfig{RotateRefreshTokens: true}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		for i := range 5 {
			w.expireAccess(p)
			if _, err := w.serve(w.store).AccessToken(w.Context(), p, ""); err != nil {
				w.Fatalf("refresh %d: %v", i, err)
			}
		}
	})
}

func TestBadWeatherIsNoDeadGrant(t *testing.T) {
	for name, tt := range map[string]struct {
		action transporttest.GoogleAction
		code   string
		after  time.Duration
	}{
		"503":               {transporttest.GoogleAction{Status: 503, RetryAfter: "7"}, consent.CodeTokenUnavailable, 7 * time.Second},
		"500":               {transporttest.GoogleAction{Status: 500}, consent.CodeTokenUnavailable, 0},
		"429":               {transporttest.GoogleAction{Status: 429}, consent.CodeTokenUnavailable, 0},
		"500 invalid_grant": {transporttest.GoogleAction{Status: 500, Reason: "invalid_grant"}, consent.CodeTokenUnavailable, 0},
		"dropped":           {transporttest.GoogleAction{Drop: true}, consent.CodeTokenUnavailable, 0},
		"cut":               {transporttest.GoogleAction{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"ya29.half"}, consent.CodeTokenUnavailable, 0},
		"no token":          {transporttest.GoogleAction{Status: 200, Body: `{}`}, consent.CodeTokenUnavailable, 0},
		"a proxy's page":    {transporttest.GoogleAction{Status: 403, Body: "<html>blocked</html>"}, consent.CodeTokenUnavailable, 0},
		"new refusal":       {transporttest.GoogleAction{Status: 400, Reason: "from_the_future"}, consent.CodeTokenUnavailable, 0},
		"client deleted":    {transporttest.GoogleAction{Status: 401, Reason: "deleted_client"}, consent.CodeClientUnavailable, 0},
		"wrong secret":      {transporttest.GoogleAction{Status: 401, Reason: "invalid_client"}, consent.CodeClientUnavailable, 0},
		"hangs":             {transporttest.GoogleAction{Hang: true}, consent.CodeTokenUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, transporttest.GoogleConfig{}, func(w *world) {
				w.connect(w.profile)
				p := w.read(w.profile)
				w.expireAccess(p)
				w.config.Timeout = 300 * time.Millisecond
				service := w.serve(w.store)
				w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction { return tt.action })
				_, err := service.AccessToken(w.Context(), p, "")
				e := w.fails(err, mail.OutcomeTemporary, tt.code)
				if e.Verdict.RetryAfter != tt.after {
					w.Errorf("retry after %s, want %s", e.Verdict.RetryAfter, tt.after)
				}
				if st := w.status(p); st.State != consent.StateConnected {
					w.Errorf("status: %+v", st)
				}
				// The sun comes out, and nobody has to wait for a lease.
				w.google.SetHook(nil)
				if _, err := w.serve(w.open()).AccessToken(w.Context(), p, ""); err != nil {
					w.Error(err)
				}
			})
		})
	}
}

func TestDeadGrant(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		w.google.Revoke(address)
		w.expireAccess(p)
		_, err := w.service.AccessToken(w.Context(), p, "")
		w.fails(err, mail.OutcomePermanent, consent.CodeReauthorizationRequired)
		if st := w.status(p); st.State != consent.StateNeedsReauthorization || st.Code != consent.CodeReauthorizationRequired || st.Address != address {
			w.Errorf("status: %+v", st)
		}
		if g := w.grant(p); g.RefreshToken != "" || g.AccessToken != "" {
			w.Error("dead tokens are kept")
		}
		calls := w.google.Calls("token")
		if _, err := w.service.AccessToken(w.Context(), p, ""); err == nil || w.google.Calls("token") != calls {
			w.Errorf("Google is asked about a grant that is known to be dead: %v", err)
		}
		// While a person is at Google it is pending, then it works again.
		w.begin(p)
		if st := w.status(p); st.State != consent.StatePending || st.Address != address {
			w.Errorf("status: %+v", st)
		}
		w.connect(p)
		if _, err := w.service.AccessToken(w.Context(), w.read(p), ""); err != nil || w.status(p).State != consent.StateConnected {
			w.Errorf("connected again: %v", err)
		}
	})
}

// What Google says of an old refresh token is no word on the new one: here a person consents while the refresh with the old
// token is on its way to its refusal.
func TestInvalidGrantReadsTheRowAgain(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		w.google.Revoke(address)
		w.expireAccess(p)
		var once sync.Once
		w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
			if s.Endpoint == "token" && s.GrantType == "refresh_token" {
				once.Do(func() { w.connect(p) })
			}
			return transporttest.GoogleAction{}
		})
		token, err := w.service.AccessToken(w.Context(), p, "")
		if err != nil || token == "" {
			w.Fatalf("the new consent's token: %v", err)
		}
		if st := w.status(p); st.State != consent.StateConnected {
			w.Errorf("status: %+v", st)
		}
	})
}

// A process that dies with the lease holds up the others only until it is over.
func TestLeaseOfADeadProcess(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		w.expireAccess(p)
		g := w.grant(p)
		if ok, err := w.store.LeaseGrant(w.Context(), g, "dead", 300*time.Millisecond); err != nil || !ok {
			w.Fatalf("%v, %v", ok, err)
		}
		if ok, err := w.store.LeaseGrant(w.Context(), g, "late", time.Minute); err != nil || ok {
			w.Fatalf("leased twice: %v", err)
		}
		if _, err := w.service.AccessToken(w.Context(), p, ""); err != nil {
			w.Error(err)
		}
		// It is not dead after all, and comes back with what it got: too late.
		g.RefreshToken = "1//stale"
		if ok, err := w.store.SaveTokens(w.Context(), g, "dead"); err != nil || ok {
			w.Errorf("a lost lease saves: %v", err)
		}
		if ok, err := w.store.GrantDied(w.Context(), g, "dead", "x"); err != nil || ok {
			w.Errorf("a lost lease kills: %v", err)
		}
	})
}

func TestWaiterMayGiveUp(t *testing.T) {
	w := newWorld(t, pgtest.PreparedSQLite(t, "consent", migrate), transporttest.GoogleConfig{})
	w.connect(w.profile)
	p := w.read(w.profile)
	w.expireAccess(p)
	asked, release := make(chan struct{}), make(chan struct{})
	w.google.SetHook(func(transporttest.GoogleStep) transporttest.GoogleAction {
		close(asked)
		<-release
		return transporttest.GoogleAction{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := w.service.AccessToken(ctx, p, "")
		gaveUp <- err
	}()
	<-asked
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("gave up with %v", err)
	}
	// The refresh goes on, for the next.
	w.google.SetHook(nil)
	close(release)
	if _, err := w.service.AccessToken(t.Context(), p, ""); err != nil || w.google.Calls("token") != 2 {
		t.Errorf("%v, %d calls", err, w.google.Calls("token"))
	}
}

func TestRevoke(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		if err := w.service.Revoke(w.Context(), w.profile, "key_1"); err != nil || w.read(w.profile).Hold != nil || w.status(w.profile).State != consent.StateNone {
			w.Errorf("of nothing: %v", err)
		}
		w.connect(w.profile)
		p := w.read(w.profile)
		elsewhere := w.serve(w.open())
		for _, s := range []*consent.Service{w.service, elsewhere} {
			if _, err := s.AccessToken(w.Context(), p, ""); err != nil {
				w.Fatal(err)
			}
		}
		w.begin(p)
		if err := w.service.Revoke(w.Context(), p, "key_1"); err != nil {
			w.Fatal(err)
		}
		held := w.read(p)
		if held.Hold == nil || held.Hold.Code != consent.CodeReauthorizationRequired {
			w.Errorf("not held: %+v", held)
		}
		for _, s := range []*consent.Service{w.service, elsewhere} {
			_, err := s.AccessToken(w.Context(), held, "")
			w.fails(err, mail.OutcomePermanent, consent.CodeReauthorizationRequired)
		}
		st, g := w.status(p), w.grant(p)
		if st.State != consent.StateRevoked || !st.PendingUntil.IsZero() || g.State != store.GrantRevoked || g.RefreshToken != "" || g.AccessToken != "" || w.google.Calls("revoke") != 1 {
			w.Errorf("status %+v, grant %+v, %d revocations", st, g, w.google.Calls("revoke"))
		}
		if err := w.service.Revoke(w.Context(), p, "key_1"); err != nil || w.google.Calls("revoke") != 1 {
			w.Errorf("again: %v, %d revocations", err, w.google.Calls("revoke"))
		}
	})
}

// Google is out of reach: nothing is sent any more, and it is told as soon as it can be.
func TestRevokeLater(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		down := func(transporttest.GoogleStep) transporttest.GoogleAction {
			return transporttest.GoogleAction{Status: 503}
		}
		w.google.SetHook(down)
		if err := w.service.Revoke(w.Context(), p, "key_1"); err != nil {
			w.Fatal(err)
		}
		if st, g := w.status(p), w.grant(p); st.State != consent.StateRevoked || g.State != store.GrantRevoking || g.RefreshToken == "" {
			w.Errorf("status %+v, grant %v", st, g.State)
		}
		if err := w.service.CheckGrants(w.Context()); err == nil {
			w.Error("a revocation that fails is not told")
		}
		w.google.SetHook(nil)
		if err := w.service.CheckGrants(w.Context()); err != nil {
			w.Error(err)
		}
		if g := w.grant(p); g.State != store.GrantRevoked || g.RefreshToken != "" {
			w.Errorf("grant %v", g.State)
		}
	})
}

// Google ends every consent of an account to a client at once, so one profile's end must not be another's.
func TestRevokeOneOfTwo(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		second := w.newProfile(w.profile.TenantID, address, nil)
		w.connect(w.profile)
		w.connect(second)
		if err := w.service.Revoke(w.Context(), w.read(second), "key_1"); err != nil {
			w.Fatal(err)
		}
		if n := w.google.Calls("revoke"); n != 0 || w.grant(second).RefreshToken != "" {
			w.Errorf("%d revocations while another profile is connected", n)
		}
		if err := w.store.DeleteProfile(w.Context(), w.profile.TenantID, w.profile.ID, 0); err != nil {
			w.Fatal(err)
		}
		w.service.Left(w.Context(), w.profile)
		if n := w.google.Calls("revoke"); n != 1 {
			w.Errorf("%d revocations after the last is gone", n)
		}
	})
}

// The daily check finds a dead grant before anybody sends, and asks once for all processes.
func TestCheckGrants(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		alive := w.newProfile(w.profile.TenantID, "alive@zoe.example", nil)
		w.connect(w.profile)
		w.connect(alive)
		services := []*consent.Service{w.service, w.serve(w.open())}
		check := func() {
			w.Helper()
			var wg sync.WaitGroup
			for _, s := range services {
				wg.Go(func() {
					if err := s.CheckGrants(w.Context()); err != nil {
						w.Error(err)
					}
				})
			}
			wg.Wait()
		}
		calls := w.google.Calls("token")
		check()
		if w.google.Calls("token") != calls {
			w.Error("grants of today are checked")
		}
		w.google.Revoke(address)
		w.sql("UPDATE gmail_grants SET checked_at = 1")
		check()
		if n := w.google.Calls("token") - calls; n != 2 {
			w.Errorf("%d refreshes for 2 grants", n)
		}
		if p := w.read(w.profile); p.Hold == nil || p.Hold.Code != consent.CodeReauthorizationRequired || w.status(p).State != consent.StateNeedsReauthorization {
			w.Errorf("the dead one: %+v", p.Hold)
		}
		if p := w.read(alive); p.Hold != nil || w.status(p).State != consent.StateConnected || w.grant(p).CheckedAt.IsZero() {
			w.Errorf("the living one: %+v", p.Hold)
		}
		check()
		if n := w.google.Calls("token") - calls; n != 2 {
			w.Errorf("%d refreshes after a second round", n)
		}
	})
}

func TestCheckGrantsInBadWeather(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		for range 6 {
			w.connect(w.newProfile(w.profile.TenantID, address, nil))
		}
		w.sql("UPDATE gmail_grants SET checked_at = 1")
		var n atomic.Int32
		w.google.SetHook(func(transporttest.GoogleStep) transporttest.GoogleAction {
			n.Add(1)
			return transporttest.GoogleAction{Status: 503}
		})
		if err := w.service.CheckGrants(w.Context()); err == nil {
			w.Error("no word of the weather")
		}
		if n.Load() != 3 {
			w.Errorf("Google was asked %d times", n.Load())
		}
		w.google.SetHook(nil)
		if err := w.service.CheckGrants(w.Context()); err != nil {
			w.Error(err)
		}
	})
}

// Refusals that nobody foresaw, of the first grants in the list, are no weather: the others are checked all the same.
func TestCheckGrantsBehindRefusedOnes(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		for range 4 {
			w.connect(w.newProfile(w.profile.TenantID, "blocked@zoe.example", nil))
		}
		last := w.newProfile(w.profile.TenantID, "last@zoe.example", nil)
		w.connect(last)
		w.google.Revoke("last@zoe.example")
		w.sql("UPDATE gmail_grants SET checked_at = 1")
		w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
			if s.Account == "blocked@zoe.example" {
				return transporttest.GoogleAction{Status: 400, Reason: "admin_policy_enforced"}
			}
			return transporttest.GoogleAction{}
		})
		if err := w.service.CheckGrants(w.Context()); err != nil {
			w.Error(err)
		}
		if p := w.read(last); p.Hold == nil {
			w.Error("the dead grant behind them was not found")
		}
	})
}

// The process stops while Google answers with a new refresh token: the old one is good no more.
func TestRotatedTokenOutlivesTheStop(t *testing.T) {
	for name, ask := range map[string]func(w *world, p *mail.Profile, ctx context.Context){
		"daily check": func(w *world, _ *mail.Profile, ctx context.Context) {
			w.sql("UPDATE gmail_grants SET checked_at = 1")
			if err := w.service.CheckGrants(ctx); err != nil && ctx.Err() == nil {
				w.Error(err)
			}
		},
		"lane": func(w *world, p *mail.Profile, ctx context.Context) {
			if _, err := w.service.AccessToken(ctx, p, ""); err != nil && !errors.Is(err, context.Canceled) {
				w.Error(err)
			}
			if err := w.service.Wait(w.Context()); err != nil {
				w.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, transporttest.GoogleConfig{RotateRefreshTokens: true}, func(w *world) {
				w.connect(w.profile)
				p, before := w.read(w.profile), w.grant(w.profile)
				w.expireAccess(p)
				ctx, stop := context.WithCancel(w.Context())
				w.google.SetHook(func(transporttest.GoogleStep) transporttest.GoogleAction {
					stop()
					return transporttest.GoogleAction{}
				})
				ask(w, p, ctx)
				if g := w.grant(p); g.RefreshToken == before.RefreshToken {
					w.Error("the rotated token is lost")
				}
				w.google.SetHook(nil)
				w.expireAccess(p)
				if _, err := w.serve(w.store).AccessToken(w.Context(), p, ""); err != nil {
					w.Error(err)
				}
			})
		})
	}
}

// A person connects a mailbox again while its former connection waits to be revoked at Google, which would end both.
func TestRevocationsSpareANewConsent(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		again := w.newProfile(w.profile.TenantID, "again@zoe.example", nil)
		w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
			if s.Endpoint == "revoke" {
				return transporttest.GoogleAction{Status: 503}
			}
			return transporttest.GoogleAction{}
		})
		for _, p := range []*mail.Profile{w.profile, again} {
			w.connect(p)
			if err := w.service.Revoke(w.Context(), w.read(p), "key_1"); err != nil {
				w.Fatal(err)
			}
		}
		var once sync.Once
		w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
			if s.Endpoint == "revoke" { // the first one's
				once.Do(func() { w.connect(w.read(again)) })
			}
			return transporttest.GoogleAction{}
		})
		if err := w.service.CheckGrants(w.Context()); err != nil {
			w.Error(err)
		}
		if g := w.grant(w.profile); g.State != store.GrantRevoked {
			w.Errorf("the first one is %s", g.State)
		}
		w.expireAccess(again)
		if _, err := w.service.AccessToken(w.Context(), w.read(again), ""); err != nil {
			w.Errorf("the new consent: %v", err)
		}
	})
}

// Who moves on to another client leaves nothing behind at the former one.
func TestFormerClientIsRevoked(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		p.Gmail = &mail.GmailSettings{Client: "key-1"}
		if err := w.store.UpdateProfile(w.Context(), p, 0); err != nil {
			w.Fatal(err)
		}
		if g := w.connect(w.read(p)); g.Client != "key-1" || w.google.Calls("revoke") != 1 {
			w.Errorf("on %s, %d revocations", g.Client, w.google.Calls("revoke"))
		}
		w.expireAccess(p)
		if _, err := w.service.AccessToken(w.Context(), w.read(p), ""); err != nil {
			w.Error(err)
		}
	})
}
