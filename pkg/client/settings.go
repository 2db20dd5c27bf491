package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/winprest/facteur/api"
)

// CreateSenderProfile makes a sender profile.
func (c *Client) CreateSenderProfile(ctx context.Context, r api.SenderProfileRequest, opts ...CallOption) (api.SenderProfile, error) {
	return do[api.SenderProfile](ctx, c, call{method: http.MethodPost, path: "/v1/sender-profiles", body: r, opts: opts})
}

// SenderProfile gives a profile, without its secrets.
func (c *Client) SenderProfile(ctx context.Context, id string) (api.SenderProfile, error) {
	return do[api.SenderProfile](ctx, c, call{method: http.MethodGet, path: profilePath(id)})
}

// SenderProfiles walks through the profiles, newest first; level ("user", "company") and ownerRef narrow them unless empty.
func (c *Client) SenderProfiles(ctx context.Context, level, ownerRef string) iter.Seq2[api.SenderProfile, error] {
	return list[api.SenderProfile](ctx, c, "/v1/sender-profiles", url.Values{"level": {level}, "owner_ref": {ownerRef}})
}

// UpdateSenderProfile edits a profile: what the patch leaves nil stays. IfVersion guards against somebody else's edit.
func (c *Client) UpdateSenderProfile(ctx context.Context, id string, patch api.SenderProfilePatch, opts ...CallOption) (api.SenderProfile, error) {
	return do[api.SenderProfile](ctx, c, call{method: http.MethodPatch, path: profilePath(id), body: patch, opts: opts})
}

// DeleteSenderProfile removes a profile.
func (c *Client) DeleteSenderProfile(ctx context.Context, id string, opts ...CallOption) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: profilePath(id), opts: opts})
	return err
}

// SenderProfileHealth says how a profile is doing: whether it sends, what waits, and what keeps it.
func (c *Client) SenderProfileHealth(ctx context.Context, id string) (api.ProfileHealth, error) {
	return do[api.ProfileHealth](ctx, c, call{method: http.MethodGet, path: profilePath(id) + "/health"})
}

// CheckSenderProfile proves a profile's settings against its server and sends nothing. A profile that does not work is no
// error: see ProfileCheck.OK.
func (c *Client) CheckSenderProfile(ctx context.Context, id string) (api.ProfileCheck, error) {
	return do[api.ProfileCheck](ctx, c, call{method: http.MethodPost, path: profilePath(id) + "/check"})
}

// SendTestMessage sends a short mail with the profile, so that a person can see it arrive.
func (c *Client) SendTestMessage(ctx context.Context, id string, r api.TestMessageRequest, opts ...CallOption) (api.AcceptedMessage, error) {
	return do[api.AcceptedMessage](ctx, c, call{method: http.MethodPost, path: profilePath(id) + "/test-message", body: r, opts: opts})
}

func profilePath(id string) string { return "/v1/sender-profiles/" + url.PathEscape(id) }

// CreateTemplate makes a template.
func (c *Client) CreateTemplate(ctx context.Context, r api.TemplateRequest, opts ...CallOption) (api.Template, error) {
	return do[api.Template](ctx, c, call{method: http.MethodPost, path: "/v1/templates", body: r, opts: opts})
}

// Template gives a template.
func (c *Client) Template(ctx context.Context, id string) (api.Template, error) {
	return do[api.Template](ctx, c, call{method: http.MethodGet, path: templatePath(id)})
}

// Templates walks through the templates, newest first; documentType and companyRef narrow them unless empty.
func (c *Client) Templates(ctx context.Context, documentType, companyRef string) iter.Seq2[api.Template, error] {
	return list[api.Template](ctx, c, "/v1/templates", url.Values{"document_type": {documentType}, "company_ref": {companyRef}})
}

// UpdateTemplate edits a template: what the patch leaves nil stays; a nil translation is removed.
func (c *Client) UpdateTemplate(ctx context.Context, id string, patch api.TemplatePatch, opts ...CallOption) (api.Template, error) {
	return do[api.Template](ctx, c, call{method: http.MethodPatch, path: templatePath(id), body: patch, opts: opts})
}

// DeleteTemplate removes a template. Mails made from it keep their text.
func (c *Client) DeleteTemplate(ctx context.Context, id string, opts ...CallOption) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: templatePath(id), opts: opts})
	return err
}

// PutTranslation sets a template's texts in one language ("fr", "nl-be").
func (c *Client) PutTranslation(ctx context.Context, id, language string, t api.Translation, opts ...CallOption) (api.Template, error) {
	return do[api.Template](ctx, c, call{method: http.MethodPut, path: translationPath(id, language), body: t, opts: opts})
}

// DeleteTranslation removes a template's texts in one language.
func (c *Client) DeleteTranslation(ctx context.Context, id, language string, opts ...CallOption) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: translationPath(id, language), opts: opts})
	return err
}

func translationPath(id, language string) string {
	return templatePath(id) + "/translations/" + url.PathEscape(language)
}

// PreviewTemplate fills a template with data, samples where there is none, and sends nothing.
func (c *Client) PreviewTemplate(ctx context.Context, id string, r api.PreviewRequest) (api.Preview, error) {
	return do[api.Preview](ctx, c, call{method: http.MethodPost, path: templatePath(id) + "/preview", body: r})
}

// TemplateTokens gives the built-in tokens in the order in which a person is shown them.
func (c *Client) TemplateTokens(ctx context.Context) ([]api.TemplateToken, error) {
	out, err := do[api.TemplateTokens](ctx, c, call{method: http.MethodGet, path: "/v1/template-tokens"})
	return out.Items, err
}

func templatePath(id string) string { return "/v1/templates/" + url.PathEscape(id) }

// CreateTenant makes a tenant. It needs an operator's key, like all calls on tenants and keys.
func (c *Client) CreateTenant(ctx context.Context, r api.TenantRequest, opts ...CallOption) (api.Tenant, error) {
	return do[api.Tenant](ctx, c, call{method: http.MethodPost, path: "/v1/tenants", body: r, opts: opts})
}

// Tenant gives a tenant.
func (c *Client) Tenant(ctx context.Context, id string) (api.Tenant, error) {
	return do[api.Tenant](ctx, c, call{method: http.MethodGet, path: "/v1/tenants/" + url.PathEscape(id)})
}

// Tenants walks through the tenants, newest first.
func (c *Client) Tenants(ctx context.Context) iter.Seq2[api.Tenant, error] {
	return list[api.Tenant](ctx, c, "/v1/tenants", nil)
}

// CreateAPIKey makes a key of a tenant. Its secret is in this answer and nowhere else.
func (c *Client) CreateAPIKey(ctx context.Context, tenantID string, r api.APIKeyRequest, opts ...CallOption) (api.NewAPIKey, error) {
	return do[api.NewAPIKey](ctx, c, call{method: http.MethodPost, path: keysPath(tenantID), body: r, opts: opts})
}

// APIKeys walks through the keys of a tenant, revoked ones too.
func (c *Client) APIKeys(ctx context.Context, tenantID string) iter.Seq2[api.APIKey, error] {
	return list[api.APIKey](ctx, c, keysPath(tenantID), nil)
}

// RevokeAPIKey ends a key.
func (c *Client) RevokeAPIKey(ctx context.Context, tenantID, keyID string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: keysPath(tenantID) + "/" + url.PathEscape(keyID)})
	return err
}

func keysPath(tenantID string) string { return "/v1/tenants/" + url.PathEscape(tenantID) + "/api-keys" }

// AuditEvents walks through what persons and programs did, newest first.
func (c *Client) AuditEvents(ctx context.Context) iter.Seq2[api.AuditEvent, error] {
	return list[api.AuditEvent](ctx, c, "/v1/audit-events", nil)
}
