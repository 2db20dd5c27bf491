package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/winprest/facteur/api"
)

// BeginAuthorization asks for a person's consent at Google: open the answer's URL in his browser, and look with Authorization
// what becomes of it. The URL is good once and for ten minutes.
func (c *Client) BeginAuthorization(ctx context.Context, profileID string, r api.AuthorizationRequest) (api.AuthorizationStart, error) {
	return do[api.AuthorizationStart](ctx, c, call{method: http.MethodPost, path: profilePath(profileID) + "/authorization", body: r})
}

// Authorization says how a profile stands with Google.
func (c *Client) Authorization(ctx context.Context, profileID string) (api.Authorization, error) {
	return do[api.Authorization](ctx, c, call{method: http.MethodGet, path: profilePath(profileID) + "/authorization"})
}

// RevokeAuthorization disconnects a profile from Google. Its mails wait from then on.
func (c *Client) RevokeAuthorization(ctx context.Context, profileID string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: profilePath(profileID) + "/authorization"})
	return err
}

// SenderProfilesOnGmailClient walks through the profiles that are connected to Google through an OAuth client, newest first.
func (c *Client) SenderProfilesOnGmailClient(ctx context.Context, name string) iter.Seq2[api.SenderProfile, error] {
	return list[api.SenderProfile](ctx, c, "/v1/sender-profiles", url.Values{"gmail_client": {name}})
}

// GmailClients gives the OAuth clients that a profile may name: the tenant's own, and the service's.
func (c *Client) GmailClients(ctx context.Context) ([]api.GmailClient, error) {
	out, err := do[api.GmailClients](ctx, c, call{method: http.MethodGet, path: "/v1/gmail-clients"})
	return out.Items, err
}

// PutGmailClient stores an OAuth client of the tenant's own.
func (c *Client) PutGmailClient(ctx context.Context, name string, r api.GmailClientRequest) (api.GmailClient, error) {
	return do[api.GmailClient](ctx, c, call{method: http.MethodPut, path: "/v1/gmail-clients/" + url.PathEscape(name), body: r})
}

// DeleteGmailClient removes an OAuth client of the tenant's own.
func (c *Client) DeleteGmailClient(ctx context.Context, name string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: "/v1/gmail-clients/" + url.PathEscape(name)})
	return err
}

// GmailClientReport counts the profiles of all tenants by OAuth client. It needs an operator's key.
func (c *Client) GmailClientReport(ctx context.Context) ([]api.GmailClientUse, error) {
	out, err := do[api.GmailClientReport](ctx, c, call{method: http.MethodGet, path: "/v1/gmail-client-report"})
	return out.Items, err
}

// GmailClientProfiles walks through the profiles of all tenants on an OAuth client; an empty name is every client. It needs an
// operator's key.
func (c *Client) GmailClientProfiles(ctx context.Context, name string) iter.Seq2[api.GmailClientProfile, error] {
	return list[api.GmailClientProfile](ctx, c, "/v1/gmail-client-report/profiles", url.Values{"client": {name}})
}
