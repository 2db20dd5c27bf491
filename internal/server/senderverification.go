package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/senders"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/sendgrid"
)

const codeIdentityInvalid = "sender_identity_invalid" // value

// beginSenderVerification begins the proof that a profile may send from its From.
//
//	@Summary		Begin the verification of a sender
//	@Description	With method domain the answer has the DNS records to publish; with single_sender SendGrid mails a link to the from address. What was begun already is shown again. The service looks by itself whether the proof is there, and then sends what was held. A domain or address that another firm has, or has begun to prove, is refused (409).
//	@ID				beginSenderVerification
//	@Tags			sender-profiles
//	@Accept			json
//	@Produce		json
//	@Param			id				path		string							true	"Id of the profile."
//	@Param			verification	body		api.SenderVerificationRequest	true	"How to prove it."
//	@Success		200				{object}	api.SenderVerification
//	@Failure		403				{object}	api.Problem	"The firm does not have the add-on."
//	@Failure		409				{object}	api.Problem	"The domain or address is not free, or the profile's transport is another."
//	@Failure		422				{object}	api.Problem
//	@Failure		503				{object}	api.Problem	"SendGrid cannot be asked now."
//	@Router			/v1/sender-profiles/{id}/sender-verification [post]
func (s *Server) beginSenderVerification(c *gin.Context) error {
	var req api.SenderVerificationRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	method := store.IdentityMethod(req.Method)
	var ps mail.Problems
	if method == store.IdentitySingleSender && req.Sender == nil {
		ps.Add("/sender", mail.CodeFieldRequired)
	}
	if req.Sender != nil && req.Sender.ReplyTo != "" {
		if code := mail.CheckAddress(req.Sender.ReplyTo); code != "" {
			ps.Add("/sender/reply_to", code, "address", mail.Shown(req.Sender.ReplyTo))
		}
	}
	f.merge(ps)
	if err := f.err(); err != nil {
		return err
	}
	p, err := s.profileInPath(c)
	if err != nil {
		return err
	}
	r := senders.Request{Method: method}
	if d := req.Sender; d != nil {
		r.Sender = sendgrid.VerifiedSender{
			FromName: d.Name, ReplyTo: d.ReplyTo, Address: d.Address, Address2: d.Address2, City: d.City, State: d.State, Zip: d.Zip, Country: d.Country,
		}
		if r.Sender.FromName == "" {
			r.Sender.FromName = p.From.Name
		}
	}
	i, err := s.senders.Begin(c.Request.Context(), p, r, apiKey(c).ID)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, verificationOf(language(c), i))
}

// getSenderVerification says how far the proof is.
//
//	@Summary		Get the verification of a sender
//	@Description	SendGrid is asked again when it was last asked more than some seconds ago, at most once for all who ask.
//	@ID				getSenderVerification
//	@Tags			sender-profiles
//	@Produce		json
//	@Param			id	path		string	true	"Id of the profile."
//	@Success		200	{object}	api.SenderVerification
//	@Failure		403	{object}	api.Problem	"The firm does not have the add-on."
//	@Failure		409	{object}	api.Problem	"The profile's transport is another."
//	@Router			/v1/sender-profiles/{id}/sender-verification [get]
func (s *Server) getSenderVerification(c *gin.Context) error {
	p, err := s.profileInPath(c)
	if err != nil {
		return err
	}
	i, err := s.senders.Status(c.Request.Context(), p)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, verificationOf(language(c), i))
}

func verificationOf(lang string, i *store.Identity) api.SenderVerification {
	if i == nil {
		return api.SenderVerification{State: "none", Text: texts.Phrase(lang, "sender", "none")}
	}
	key := string(i.State)
	if i.State == store.IdentityPending {
		key = string(i.Method)
	}
	w := api.SenderVerification{
		State: string(i.State), Method: string(i.Method), Identity: i.Name, Text: texts.Phrase(lang, "sender", key, "identity", i.Name),
		Since: optional(i.Since), CheckedAt: optional(i.LookedAt),
	}
	var zone strings.Builder
	for _, r := range i.Records {
		name := senders.NameInZone(r.Host)
		one := api.SenderRecord{
			Type: r.Type, Host: r.Host, Name: name, Value: r.Value, ZoneLine: senders.ZoneLine(r), Valid: r.Valid, Found: r.Reason,
			Text: texts.Phrase(lang, "sender", "record", "type", r.Type, "name", name, "value", r.Value),
		}
		zone.WriteString(one.ZoneLine + "\n")
		w.Records = append(w.Records, one)
	}
	w.ZoneFile = zone.String()
	return w
}

// listSenderIdentities lists what a tenant may send from with SendGrid.
//
//	@Summary		List the sender identities of a tenant
//	@Description	The domains and addresses that the tenant may send from with SendGrid, and those that it began to prove.
//	@ID				listSenderIdentities
//	@Tags			tenants
//	@Produce		json
//	@Param			id	path		string	true	"Id of the tenant."
//	@Success		200	{object}	api.SenderIdentities
//	@Router			/v1/tenants/{id}/sender-identities [get]
func (s *Server) listSenderIdentities(c *gin.Context) error {
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	list, err := s.store.Identities(c.Request.Context(), t.ID)
	if err != nil {
		return err
	}
	w := api.SenderIdentities{Items: make([]api.SenderIdentity, len(list))}
	for i, id := range list {
		w.Items[i] = identityOf(id)
	}
	return reply(c, http.StatusOK, w)
}

func identityOf(i *store.Identity) api.SenderIdentity {
	return api.SenderIdentity{Identity: i.Name, Method: string(i.Method), State: string(i.State), Since: i.Since}
}

// putSenderIdentity grants a sender identity.
//
//	@Summary		Grant a sender identity to a tenant
//	@Description	For what was verified at SendGrid before: nothing is asked there. The tenant may send from the address, or from every address of the domain, and mail that its profiles held for want of it goes. Be sure that it is the tenant's: a domain that two tenants were granted is both's.
//	@ID				putSenderIdentity
//	@Tags			tenants
//	@Produce		json
//	@Param			id			path		string	true	"Id of the tenant."
//	@Param			identity	path		string	true	"A domain or an address."
//	@Success		200			{object}	api.SenderIdentity
//	@Failure		422			{object}	api.Problem
//	@Router			/v1/tenants/{id}/sender-identities/{identity} [put]
func (s *Server) putSenderIdentity(c *gin.Context) error {
	name := mail.SenderIdentity(c.Param("identity"))
	if name == "" {
		return refuseField("", codeIdentityInvalid, "value", mail.Shown(c.Param("identity")))
	}
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	i := &store.Identity{TenantID: t.ID, Name: name}
	event, err := s.identityEvent(c, t.ID, "sender_identity.grant", name)
	if err != nil {
		return err
	}
	released, err := s.store.GrantIdentity(c.Request.Context(), i, event)
	if err != nil {
		return err
	}
	s.wake(c, released)
	return reply(c, http.StatusOK, identityOf(i))
}

// deleteSenderIdentity takes a sender identity away.
//
//	@Summary		Take a sender identity from a tenant
//	@Description	Its profiles that need it hold their mail from then on. What is verified at SendGrid stays so there; another tenant that is to have it must be granted it.
//	@ID				deleteSenderIdentity
//	@Tags			tenants
//	@Param			id			path	string	true	"Id of the tenant."
//	@Param			identity	path	string	true	"The domain or the address."
//	@Success		204			"It is gone."
//	@Router			/v1/tenants/{id}/sender-identities/{identity} [delete]
func (s *Server) deleteSenderIdentity(c *gin.Context) error {
	t, err := s.tenantInPath(c)
	if err != nil {
		return err
	}
	name := mail.SenderIdentity(c.Param("identity"))
	event, err := s.identityEvent(c, t.ID, "sender_identity.remove", name)
	if err != nil {
		return err
	}
	if err := s.store.RemoveIdentity(c.Request.Context(), t.ID, name, event); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}

func (s *Server) identityEvent(c *gin.Context, tenant, action, name string) (*store.AuditEvent, error) {
	detail, err := json.Marshal(map[string]string{"identity": name})
	return &store.AuditEvent{TenantID: tenant, Actor: apiKey(c).ID, Action: action, Subject: name, Detail: detail}, err
}
