package server

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

const (
	codeClientNameInvalid = "gmail_client_name_invalid" // name
	codeClientNameTaken   = "gmail_client_name_taken"   // name
	codeClientInUse       = "gmail_client_in_use"
)

// listGmailClients lists the OAuth clients that a profile may name.
//
//	@Summary		List OAuth clients
//	@Description	Your own and those of the service, with how many of your profiles are on each. To find these profiles, list the sender profiles by gmail_client.
//	@ID				listGmailClients
//	@Tags			gmail
//	@Produce		json
//	@Success		200	{object}	api.GmailClients
//	@Router			/v1/gmail-clients [get]
func (s *Server) listGmailClients(c *gin.Context) error {
	ctx, tenant := c.Request.Context(), tenantOf(c)
	clients, err := s.consent.Clients(ctx, tenant)
	if err != nil {
		return err
	}
	uses, err := s.store.GmailClientUses(ctx, tenant)
	if err != nil {
		return err
	}
	w := api.GmailClients{Items: make([]api.GmailClient, 0, len(clients))}
	for _, cl := range clients {
		w.Items = append(w.Items, gmailClientOf(cl, uses))
	}
	return reply(c, http.StatusOK, w)
}

func gmailClientOf(cl consent.Client, uses []store.GmailClientUse) api.GmailClient {
	w := api.GmailClient{Name: cl.Name, Owner: "service", State: string(cl.State)}
	if cl.Own {
		w.Owner, w.ClientID = "tenant", cl.ID
	}
	for _, u := range uses {
		if u.Client == cl.Name && u.Own == cl.Own {
			w.Connected, w.NeedReauthorization = u.Connected, u.NeedReauthorization
		}
	}
	return w
}

// putGmailClient stores a tenant's own client.
//
//	@Summary		Store an OAuth client of your own
//	@Description	New consents use it when it is current, or when the profile names it. Register the service's address with /oauth/google/callback behind it as redirect URI at Google. To retire one, store it again with the state retired.
//	@ID				putGmailClient
//	@Tags			gmail
//	@Accept			json
//	@Produce		json
//	@Param			name	path		string					true	"Name of the client: up to 50 of a-z, 0-9, dot, hyphen and underscore."
//	@Param			client	body		api.GmailClientRequest	true	"The client."
//	@Success		200		{object}	api.GmailClient
//	@Failure		409		{object}	api.Problem	"The service has a client of this name, or profiles are connected through the one with another client_id."
//	@Router			/v1/gmail-clients/{name} [put]
func (s *Server) putGmailClient(c *gin.Context) error {
	ctx, tenant, name := c.Request.Context(), tenantOf(c), c.Param("name")
	var req api.GmailClientRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	if !consent.GoodClientName(name) {
		return refuseField("", codeClientNameInvalid, "name", mail.Shown(name))
	}
	for _, cl := range s.consent.ServiceClients() {
		if cl.Name == name {
			return refuse(http.StatusConflict, codeClientNameTaken, "name", name)
		}
	}
	if req.State == "" {
		req.State = string(consent.Accepting)
	}
	cl := &store.GmailClient{TenantID: tenant, Name: name, ClientID: req.ClientID, Secret: mail.Secret(req.ClientSecret), State: req.State}
	err = s.store.PutGmailClient(ctx, cl)
	switch {
	case errors.Is(err, store.ErrInUse):
		return refuse(http.StatusConflict, codeClientInUse)
	case errors.Is(err, store.ErrNotFound):
		return refuseField("/client_secret", mail.CodeFieldRequired)
	case err != nil:
		return err
	}
	uses, err := s.store.GmailClientUses(ctx, tenant)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, gmailClientOf(consent.Client{Name: name, ID: cl.ClientID, State: consent.ClientState(cl.State), Own: true}, uses))
}

// deleteGmailClient forgets a tenant's own client.
//
//	@Summary		Delete an OAuth client of your own
//	@Description	One that profiles are connected through cannot go (409): retire it, and connect them again or disconnect them.
//	@ID				deleteGmailClient
//	@Tags			gmail
//	@Param			name	path	string	true	"Name of the client."
//	@Success		204		"It is gone."
//	@Failure		409		{object}	api.Problem	"Profiles are connected through it."
//	@Router			/v1/gmail-clients/{name} [delete]
func (s *Server) deleteGmailClient(c *gin.Context) error {
	err := s.store.DeleteGmailClient(c.Request.Context(), tenantOf(c), c.Param("name"))
	if errors.Is(err, store.ErrInUse) {
		return refuse(http.StatusConflict, codeClientInUse)
	}
	if err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}

// reportGmailClients counts profiles by client.
//
//	@Summary		Report who is on which OAuth client
//	@Description	For the operator: the service's clients with how many profiles of all firms are on each. Clients that firms bring are left out.
//	@ID				reportGmailClients
//	@Tags			gmail
//	@Produce		json
//	@Success		200	{object}	api.GmailClientReport
//	@Router			/v1/gmail-client-report [get]
func (s *Server) reportGmailClients(c *gin.Context) error {
	uses, err := s.store.GmailClientUses(c.Request.Context(), "")
	if err != nil {
		return err
	}
	w := api.GmailClientReport{Items: []api.GmailClientUse{}}
	at := map[string]int{}
	for _, cl := range s.consent.ServiceClients() {
		at[cl.Name] = len(w.Items)
		w.Items = append(w.Items, api.GmailClientUse{Name: cl.Name, State: string(cl.State)})
	}
	for _, u := range uses {
		i, ok := at[u.Client]
		if !ok {
			i = len(w.Items)
			w.Items = append(w.Items, api.GmailClientUse{Name: u.Client, State: "missing"})
		}
		w.Items[i].Connected, w.Items[i].NeedReauthorization, w.Items[i].Tenants = u.Connected, u.NeedReauthorization, u.Tenants
	}
	return reply(c, http.StatusOK, w)
}

// listGmailClientProfiles lists the profiles on the service's clients.
//
//	@Summary		List the profiles on an OAuth client
//	@Description	For the operator: the profiles of all firms that are connected through a client of the service, or were and need a new consent.
//	@ID				listGmailClientProfiles
//	@Tags			gmail
//	@Produce		json
//	@Param			client	query		string	false	"Only those on this client."
//	@Param			cursor	query		string	false	"next_cursor of the page before."
//	@Param			limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success		200		{object}	api.List[api.GmailClientProfile]
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/gmail-client-report/profiles [get]
func (s *Server) listGmailClientProfiles(c *gin.Context) error {
	q := newQuery(c)
	client, page := q.text("client"), q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.GmailClientProfiles(c.Request.Context(), client, page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, func(p *store.GmailClientProfile) api.GmailClientProfile {
		return api.GmailClientProfile{
			Client: p.Client, TenantID: p.TenantID, TenantName: p.TenantName, ProfileID: p.ProfileID, ProfileName: p.ProfileName,
			Address: p.Address, State: string(p.State), Since: p.Since,
		}
	}))
}
