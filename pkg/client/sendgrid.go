package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/winprest/facteur/api"
)

// BeginSenderVerification begins the proof that a SendGrid profile may send from its From, or shows the one that was begun.
func (c *Client) BeginSenderVerification(ctx context.Context, profileID string, r api.SenderVerificationRequest) (api.SenderVerification, error) {
	return do[api.SenderVerification](ctx, c, call{method: http.MethodPost, path: profilePath(profileID) + "/sender-verification", body: r})
}

// SenderVerification says how far the proof is.
func (c *Client) SenderVerification(ctx context.Context, profileID string) (api.SenderVerification, error) {
	return do[api.SenderVerification](ctx, c, call{method: http.MethodGet, path: profilePath(profileID) + "/sender-verification"})
}

// AddOns gives the firm's own add-ons.
func (c *Client) AddOns(ctx context.Context) ([]api.AddOn, error) {
	out, err := do[api.AddOns](ctx, c, call{method: http.MethodGet, path: "/v1/add-ons"})
	return out.Items, err
}

// Usage counts what the firm sent in a month, such as "2026-11"; empty: the current one.
func (c *Client) Usage(ctx context.Context, month string) (api.Usage, error) {
	return do[api.Usage](ctx, c, call{method: http.MethodGet, path: "/v1/usage", query: monthQuery(month)})
}

// TenantAddOns gives the add-ons of a tenant. It needs an operator's key, like all calls below.
func (c *Client) TenantAddOns(ctx context.Context, tenantID string) ([]api.TenantAddOn, error) {
	out, err := do[api.TenantAddOns](ctx, c, call{method: http.MethodGet, path: addOnPath(tenantID, "")})
	return out.Items, err
}

// TenantAddOn gives one add-on of a tenant.
func (c *Client) TenantAddOn(ctx context.Context, tenantID, name string) (api.TenantAddOn, error) {
	return do[api.TenantAddOn](ctx, c, call{method: http.MethodGet, path: addOnPath(tenantID, name)})
}

// PutTenantAddOn switches an add-on of a tenant on, or changes it.
func (c *Client) PutTenantAddOn(ctx context.Context, tenantID, name string, r api.AddOnRequest) (api.TenantAddOn, error) {
	return do[api.TenantAddOn](ctx, c, call{method: http.MethodPut, path: addOnPath(tenantID, name), body: r})
}

// EndTenantAddOn switches an add-on of a tenant off: the profiles that need it hold their mail.
func (c *Client) EndTenantAddOn(ctx context.Context, tenantID, name string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: addOnPath(tenantID, name)})
	return err
}

func addOnPath(tenantID, name string) string {
	path := "/v1/tenants/" + url.PathEscape(tenantID) + "/add-ons"
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return path
}

// SenderIdentities gives what a tenant may send from with SendGrid, or has begun to prove.
func (c *Client) SenderIdentities(ctx context.Context, tenantID string) ([]api.SenderIdentity, error) {
	out, err := do[api.SenderIdentities](ctx, c, call{method: http.MethodGet, path: identityPath(tenantID, "")})
	return out.Items, err
}

// GrantSenderIdentity lets a tenant send from a domain or an address that was verified at SendGrid before.
func (c *Client) GrantSenderIdentity(ctx context.Context, tenantID, domainOrAddress string) (api.SenderIdentity, error) {
	return do[api.SenderIdentity](ctx, c, call{method: http.MethodPut, path: identityPath(tenantID, domainOrAddress)})
}

// RemoveSenderIdentity takes a domain or an address from a tenant.
func (c *Client) RemoveSenderIdentity(ctx context.Context, tenantID, domainOrAddress string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: identityPath(tenantID, domainOrAddress)})
	return err
}

func identityPath(tenantID, name string) string {
	path := "/v1/tenants/" + url.PathEscape(tenantID) + "/sender-identities"
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return path
}

// UsageReport counts what all tenants sent in a month; empty: the current one.
func (c *Client) UsageReport(ctx context.Context, month string) (api.UsageReport, error) {
	return do[api.UsageReport](ctx, c, call{method: http.MethodGet, path: "/v1/usage-report", query: monthQuery(month)})
}

// UsageReportCSV is UsageReport as CSV in UTF-8. The caller closes it.
func (c *Client) UsageReportCSV(ctx context.Context, month string) (io.ReadCloser, error) {
	query := monthQuery(month)
	query.Set("format", "csv")
	resp, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/usage-report", query: query})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func monthQuery(month string) url.Values {
	query := url.Values{}
	if month != "" {
		query.Set("month", month)
	}
	return query
}
