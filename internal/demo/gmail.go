package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"

	"github.com/winprest/facteur/api"
)

// connect is a person who opens the start page in a browser, goes on to Google, agrees there, and comes back.
func (r *run) connect(ctx context.Context, p api.SenderProfile) error {
	start, err := r.c.BeginAuthorization(ctx, p.ID, api.AuthorizationRequest{Language: "fr"})
	if err != nil {
		return err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	open := func(method, url string, want int) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return nil, err
		}
		resp, err := browser.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return nil, err
		}
		if resp.StatusCode != want {
			return nil, fmt.Errorf("the page answers %s", resp.Status) // its address holds a secret
		}
		return resp, nil
	}
	if _, err := open(http.MethodGet, start.URL, http.StatusOK); err != nil {
		return fmt.Errorf("start page: %w", err)
	}
	left, err := open(http.MethodPost, start.URL, http.StatusSeeOther)
	if err != nil {
		return fmt.Errorf("leave for Google: %w", err)
	}
	back, err := r.Consent(ctx, left.Header.Get("Location"))
	if err != nil {
		return fmt.Errorf("consent: %w", err)
	}
	if _, err := open(http.MethodGet, back.String(), http.StatusOK); err != nil {
		return fmt.Errorf("back from Google: %w", err)
	}
	auth, err := r.c.Authorization(ctx, p.ID)
	if err != nil {
		return err
	}
	if auth.State != "connected" || auth.Address != p.From.Address {
		return fmt.Errorf("the profile is %s to %q: %+v", auth.State, auth.Address, auth.LastFailure)
	}
	r.screen.done("%-7s profile connected to Gmail: %s agreed in a browser", p.Level, auth.Address)
	return nil
}

// reconciled tells of the mails that Google took without saying so.
func (r *run) reconciled(ctx context.Context) error {
	found := 0
	for e, err := range r.c.AuditEvents(ctx) {
		if err != nil {
			return fmt.Errorf("list the audit trail: %w", err)
		}
		if e.Actor == "reconciliation" {
			found++
		}
	}
	if found == 0 {
		return errors.New("no answer of Google's was lost, and the demo is about that too")
	}
	r.screen.done("%d mails were taken without an answer: not sent again, but found in the Sent folder", found)
	return nil
}
