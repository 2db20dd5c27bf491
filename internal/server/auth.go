package server

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/internal/store"
)

const apiKeyKey = "facteur.api_key"

// authenticate finds the key of a request and whether it may do what scope allows. An operator's key has no tenant and can
// do nothing with a tenant's things; a tenant's key never has the scope operator.
func (s *Server) authenticate(c *gin.Context, scope store.Scope) error {
	plaintext, err := bearer(c.Request.Header)
	if err != nil {
		return err
	}
	key, err := s.store.Authenticate(c.Request.Context(), plaintext)
	if err != nil {
		return err
	}
	c.Set(apiKeyKey, key)
	if !key.Has(scope) || (scope == store.ScopeOperator) != (key.TenantID == "") {
		return refuse(http.StatusForbidden, codeForbiddenScope, "scope", string(scope))
	}
	return nil
}

// bearer reads the Authorization header (RFC 6750 section 2.1).
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 1 {
		scheme, key, ok := strings.Cut(values[0], " ")
		if ok && strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(key), nil
		}
	}
	return "", store.ErrUnauthenticated
}

// apiKey is the key of an authenticated request; nil before.
func apiKey(c *gin.Context) *store.APIKey {
	key, _ := c.Get(apiKeyKey)
	k, _ := key.(*store.APIKey)
	return k
}

func tenantOf(c *gin.Context) string { return apiKey(c).TenantID }

var goodID = regexp.MustCompile(`^[a-z]{3}_[0-9a-z]{1,40}$`)

// pathID gives the id in the path. One that cannot be an id is not found, like one that never was.
func pathID(c *gin.Context, name string) (string, error) {
	id := c.Param(name)
	if !goodID.MatchString(id) {
		return "", store.ErrNotFound
	}
	return id, nil
}
