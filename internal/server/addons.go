package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

const (
	codeUntilBeforeFrom = "until_before_from"
	codeSubuserInvalid  = "subuser_invalid"
)

// listAddOns lists a firm's own add-ons.
//
//	@Summary		List add-ons
//	@Description	Your firm's paid extras, those that ended too. Your reseller switches them on and off.
//	@ID				listAddOns
//	@Tags			add-ons
//	@Produce		json
//	@Success		200	{object}	api.AddOns
//	@Router			/v1/add-ons [get]
func (s *Server) listAddOns(c *gin.Context) error {
	list, err := s.store.AddOns(c.Request.Context(), tenantOf(c))
	if err != nil {
		return err
	}
	w := api.AddOns{Items: make([]api.AddOn, len(list))}
	for i, a := range list {
		w.Items[i] = addOnOf(a)
	}
	return reply(c, http.StatusOK, w)
}

func addOnOf(a *store.AddOn) api.AddOn {
	return api.AddOn{Name: a.Name, Active: a.Active, From: a.From, Until: optional(a.Until)}
}

func tenantAddOnOf(a *store.AddOn) api.TenantAddOn {
	return api.TenantAddOn{AddOn: addOnOf(a), Key: a.Key, Subuser: a.Subuser, UpdatedAt: a.UpdatedAt}
}

// listTenantAddOns lists a tenant's add-ons.
//
//	@Summary		List the add-ons of a tenant
//	@Description	Those that were ever switched on, with their dates.
//	@ID				listTenantAddOns
//	@Tags			tenants
//	@Produce		json
//	@Param			id	path		string	true	"Id of the tenant."
//	@Success		200	{object}	api.TenantAddOns
//	@Router			/v1/tenants/{id}/add-ons [get]
func (s *Server) listTenantAddOns(c *gin.Context) error {
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	list, err := s.store.AddOns(c.Request.Context(), t.ID)
	if err != nil {
		return err
	}
	w := api.TenantAddOns{Items: make([]api.TenantAddOn, len(list))}
	for i, a := range list {
		w.Items[i] = tenantAddOnOf(a)
	}
	return reply(c, http.StatusOK, w)
}

// getTenantAddOn gives one add-on of a tenant.
//
//	@Summary		Get an add-on of a tenant
//	@Description	With its dates, and the key and the subuser that it uses.
//	@ID				getTenantAddOn
//	@Tags			tenants
//	@Produce		json
//	@Param			id		path		string	true	"Id of the tenant."
//	@Param			name	path		string	true	"Name of the add-on."	Enums(sendgrid)
//	@Success		200		{object}	api.TenantAddOn
//	@Router			/v1/tenants/{id}/add-ons/{name} [get]
func (s *Server) getTenantAddOn(c *gin.Context) error {
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	a, err := s.store.AddOn(c.Request.Context(), t.ID, c.Param("name"))
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, tenantAddOnOf(a))
}

// putTenantAddOn switches an add-on of a tenant on.
//
//	@Summary		Switch an add-on of a tenant on, or change it
//	@Description	The dates are told by the database's clock. Mail that the tenant's profiles hold for want of it goes as soon as it is on; when it is over they hold their mail again, and nothing fails.
//	@ID				putTenantAddOn
//	@Tags			tenants
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string				true	"Id of the tenant."
//	@Param			name	path		string				true	"Name of the add-on."	Enums(sendgrid)
//	@Param			add_on	body		api.AddOnRequest	true	"Its dates and its account."
//	@Success		200		{object}	api.TenantAddOn
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/tenants/{id}/add-ons/{name} [put]
func (s *Server) putTenantAddOn(c *gin.Context) error {
	var req api.AddOnRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	if c.Param("name") != store.AddOnSendGrid {
		return store.ErrNotFound
	}
	a := &store.AddOn{Name: store.AddOnSendGrid, From: timeFrom(req.From), Until: timeFrom(req.Until), Key: req.Key, Subuser: req.Subuser}
	begins := a.From
	if begins.IsZero() {
		begins = time.Now()
	}
	var ps mail.Problems
	if !a.Until.IsZero() && !a.Until.After(begins) {
		ps.Add("/until", codeUntilBeforeFrom)
	}
	for _, line := range []struct{ at, value string }{{"/key", a.Key}, {"/subuser", a.Subuser}} {
		for _, r := range line.value {
			if r <= ' ' || r > '~' { // it becomes a header field
				ps.Add(line.at, codeSubuserInvalid)
				break
			}
		}
	}
	if names := s.senders.KeyNames(); a.Key != "" && len(names) > 0 && !slices.Contains(names, a.Key) {
		ps.Add("/key", mail.CodeValueUnknown, "value", mail.Shown(a.Key), "allowed", strings.Join(names, ", "))
	}
	f.merge(ps)
	if err := f.err(); err != nil {
		return err
	}
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	a.TenantID = t.ID
	// The firm can read its audit trail, and the service's account is none of its business.
	detail, err := json.Marshal(api.AddOnRequest{From: req.From, Until: req.Until})
	if err != nil {
		return err
	}
	event := &store.AuditEvent{TenantID: t.ID, Actor: apiKey(c).ID, Action: "add_on.put", Subject: a.Name, Detail: detail}
	released, err := s.store.PutAddOn(c.Request.Context(), a, event)
	if err != nil {
		return err
	}
	s.wake(c, released)
	return reply(c, http.StatusOK, tenantAddOnOf(a))
}

// wake has released profiles looked at at once. What cannot be woken is found by the engine by itself.
func (s *Server) wake(c *gin.Context, profiles []string) {
	for _, id := range profiles {
		if err := s.outbox.Wake(c.Request.Context(), id); err != nil {
			s.log.Warn("wake", "profile", id, "error", err)
		}
	}
}

func timeFrom(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// deleteTenantAddOn switches an add-on of a tenant off.
//
//	@Summary		Switch an add-on of a tenant off
//	@Description	Now. The tenant's profiles that need it hold their mail from then on; nothing fails. What is on its way at that moment goes. To switch off one that is off changes nothing.
//	@ID				deleteTenantAddOn
//	@Tags			tenants
//	@Param			id		path	string	true	"Id of the tenant."
//	@Param			name	path	string	true	"Name of the add-on."	Enums(sendgrid)
//	@Success		204		"It is off."
//	@Router			/v1/tenants/{id}/add-ons/{name} [delete]
func (s *Server) deleteTenantAddOn(c *gin.Context) error {
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	event := &store.AuditEvent{TenantID: t.ID, Actor: apiKey(c).ID, Action: "add_on.end", Subject: store.AddOnSendGrid}
	if err := s.store.EndAddOn(c.Request.Context(), t.ID, c.Param("name"), event); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}

// needAddOn refuses to use a profile that the firm's add-on does not cover: the hold says so.
func needAddOn(p *mail.Profile) error {
	if p.Hold != nil && p.Hold.Code == mail.CodeAddOnRequired {
		return refuse(http.StatusForbidden, mail.CodeAddOnRequired)
	}
	return nil
}

// checkSendGrid refuses settings that the firm may not have: without the add-on, and with another firm's address.
func (s *Server) checkSendGrid(c *gin.Context, p *mail.Profile, ps *mail.Problems) error {
	if _, ok := s.transports[p.Transport]; !ok || p.Transport != sendGridTransport {
		return nil // that there is no such transport is said elsewhere
	}
	hold, err := s.store.GateHold(c.Request.Context(), p)
	if err != nil || hold == nil {
		return err
	}
	if hold.Code == mail.CodeAddOnRequired {
		return refuse(http.StatusForbidden, mail.CodeAddOnRequired)
	}
	mailbox, _ := mail.SenderIdentities(p.From.Address)
	if mailbox == "" {
		return nil // the address is no address, which is said elsewhere
	}
	taken, err := s.store.IdentityTaken(c.Request.Context(), p.TenantID, mailbox)
	if taken {
		ps.Add("/from/address", codeSenderTaken, "name", mail.Shown(p.From.Address))
	}
	return err
}

// ownSender is the step of a check that fails when the firm has not proved its From: SendGrid itself would pass it when another
// firm has. Nil: there is nothing against it.
func (s *Server) ownSender(ctx context.Context, p *mail.Profile) ([]transport.CheckStep, error) {
	hold, err := s.store.GateHold(ctx, p)
	if err != nil || hold == nil {
		return nil, err
	}
	return []transport.CheckStep{{Name: "sender", Code: hold.Code}}, nil
}

const codeSenderTaken = "sender_identity_taken" // name
