package server

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// createTenant makes a tenant.
//
//	@Summary	Make a tenant
//	@ID			createTenant
//	@Tags		tenants
//	@Accept		json
//	@Produce	json
//	@Param		Idempotency-Key	header		string				false	"-"
//	@Param		tenant			body		api.TenantRequest	true	"The firm."
//	@Success	201				{object}	api.Tenant
//	@Header		201				{string}	Location	"-"
//	@Failure	422				{object}	api.Problem
//	@Router		/v1/tenants [post]
func (s *Server) createTenant(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.TenantRequest
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		if err := f.err(); err != nil {
			return nil, err
		}
		t := &store.Tenant{ID: store.NewID("tnt"), Name: req.Name, CreatedAt: store.Now()}
		a, err := newAnswer(http.StatusCreated, tenantOnWire(t))
		if err != nil {
			return nil, err
		}
		a.location = "/v1/tenants/" + t.ID
		return a, s.store.CreateTenant(c.Request.Context(), t, id.record(a))
	})
}

func tenantOnWire(t *store.Tenant) api.Tenant {
	return api.Tenant{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt}
}

// listTenants lists tenants.
//
//	@Summary	List tenants
//	@ID			listTenants
//	@Tags		tenants
//	@Produce	json
//	@Param		cursor	query		string	false	"next_cursor of the page before."
//	@Param		limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200		{object}	api.List[api.Tenant]
//	@Failure	422		{object}	api.Problem
//	@Router		/v1/tenants [get]
func (s *Server) listTenants(c *gin.Context) error {
	q := newQuery(c)
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListTenants(c.Request.Context(), page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, tenantOnWire))
}

// getTenant gives one tenant.
//
//	@Summary	Get a tenant
//	@ID			getTenant
//	@Tags		tenants
//	@Produce	json
//	@Param		id	path		string	true	"Id of the tenant."
//	@Success	200	{object}	api.Tenant
//	@Router		/v1/tenants/{id} [get]
func (s *Server) getTenant(c *gin.Context) error {
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, tenantOnWire(t))
}

func (s *Server) tenantInPath(c *gin.Context) (*store.Tenant, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.store.Tenant(c.Request.Context(), id)
}

// createAPIKey makes a key of a tenant.
//
//	@Summary		Make an API key
//	@Description	The answer holds the key's secret, this once. Because a secret is never kept, the call takes no Idempotency-Key: when an answer was lost, make another key and revoke the one that nobody has.
//	@ID				createApiKey
//	@Tags			tenants
//	@Accept			json
//	@Produce		json
//	@Param			id	path		string				true	"Id of the tenant."
//	@Param			key	body		api.APIKeyRequest	true	"What it is for and what it may do."
//	@Success		201	{object}	api.NewAPIKey
//	@Header			201	{string}	Location	"-"
//	@Failure		422	{object}	api.Problem
//	@Router			/v1/tenants/{id}/api-keys [post]
func (s *Server) createAPIKey(c *gin.Context) error {
	var req api.APIKeyRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	if len(req.Scopes) == 0 {
		f.merge(mail.Problems{{Pointer: "/scopes", Code: mail.CodeFieldRequired}})
	}
	if err := f.err(); err != nil {
		return err
	}
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	scopes := make([]store.Scope, len(req.Scopes))
	for i, scope := range req.Scopes {
		scopes[i] = store.Scope(scope)
	}
	key, plaintext, err := s.store.CreateKey(c.Request.Context(), t.ID, req.Name, scopes)
	if err != nil {
		return err
	}
	a, err := newAnswer(http.StatusCreated, api.NewAPIKey{APIKey: keyOnWire(key), Key: plaintext})
	if err != nil {
		return err
	}
	a.location = "/v1/tenants/" + t.ID + "/api-keys/" + key.ID
	return a.write(c)
}

func keyOnWire(k *store.APIKey) api.APIKey {
	w := api.APIKey{
		ID: k.ID, Name: k.Name, Scopes: make([]string, len(k.Scopes)), CreatedAt: k.CreatedAt,
		LastUsedAt: optional(k.LastUsedAt), RevokedAt: optional(k.RevokedAt),
	}
	for i, scope := range k.Scopes {
		w.Scopes[i] = string(scope)
	}
	return w
}

// listAPIKeys lists the keys of a tenant.
//
//	@Summary	List the API keys of a tenant
//	@ID			listApiKeys
//	@Tags		tenants
//	@Produce	json
//	@Param		id		path		string	true	"Id of the tenant."
//	@Param		cursor	query		string	false	"next_cursor of the page before."
//	@Param		limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200		{object}	api.List[api.APIKey]
//	@Failure	422		{object}	api.Problem
//	@Router		/v1/tenants/{id}/api-keys [get]
func (s *Server) listAPIKeys(c *gin.Context) error {
	q := newQuery(c)
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	l, err := s.store.ListKeys(c.Request.Context(), t.ID, page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, keyOnWire))
}

// revokeAPIKey ends a key.
//
//	@Summary		Revoke an API key
//	@Description	It works no more: at once in the process that answers, and within 5 seconds in others. Revoking it again changes nothing.
//	@ID				revokeApiKey
//	@Tags			tenants
//	@Param			id	path	string	true	"Id of the tenant."
//	@Param			key	path	string	true	"Id of the key."
//	@Success		204	"It is revoked."
//	@Router			/v1/tenants/{id}/api-keys/{key} [delete]
func (s *Server) revokeAPIKey(c *gin.Context) error {
	tenant, err := pathID(c, "id")
	if err != nil {
		return err
	}
	key, err := pathID(c, "key")
	if err != nil {
		return err
	}
	if err := s.store.RevokeKey(c.Request.Context(), tenant, key); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}
