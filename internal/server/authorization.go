package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
)

const (
	gmailTransport = "gmail"

	codeGmailNotUsed       = "gmail_settings_not_used"
	codeGmailClientUnknown = "gmail_client_unknown" // client
	codeReturnURL          = "return_url_not_allowed"
)

// checkGmail finds what is wrong with a profile's Gmail settings beside their form.
func (s *Server) checkGmail(c *gin.Context, p *mail.Profile, ps *mail.Problems) error {
	switch {
	case p.Gmail == nil:
		return nil
	case p.Transport != gmailTransport:
		ps.Add("/gmail", codeGmailNotUsed)
		return nil
	case p.Gmail.Client == "":
		return nil
	}
	known, err := s.consent.KnownClient(c.Request.Context(), p.TenantID, p.Gmail.Client)
	if err == nil && !known {
		ps.Add("/gmail/client", codeGmailClientUnknown, "client", mail.Shown(p.Gmail.Client))
	}
	return err
}

func patchGmail(p *mail.Profile, r *api.GmailSettingsPatch) {
	q := mail.GmailSettings{}
	if p.Gmail != nil {
		q = *p.Gmail
	}
	set(&q.Client, r.Client)
	set(&q.Aliases, r.Aliases)
	set(&q.Reconcile, r.Reconcile)
	p.Gmail = &q
}

// beginAuthorization asks for a person's consent.
//
//	@Summary		Connect a sender profile to Gmail
//	@Description	Answers an address of this service's own start page for the person's browser. It is good for ten minutes and once; an earlier one of the profile is good no more. Because whoever has the address can use it, it is not kept, and the call takes no Idempotency-Key: when an answer was lost, ask again. Follow what becomes of it with GET.
//	@ID				beginAuthorization
//	@Tags			gmail
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string						true	"Id of the profile."
//	@Param			request	body		api.AuthorizationRequest	false	"Where to go back to, and the language of the pages."
//	@Success		201		{object}	api.AuthorizationStart
//	@Failure		409		{object}	api.Problem	"The profile is none of Gmail, or no OAuth client takes its consent."
//	@Router			/v1/sender-profiles/{id}/authorization [post]
func (s *Server) beginAuthorization(c *gin.Context) error {
	var req api.AuthorizationRequest
	if c.Request.ContentLength != 0 {
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return err
		}
		if err := f.err(); err != nil {
			return err
		}
	}
	p, err := s.profileInPath(c)
	if err != nil {
		return err
	}
	if req.Language != "" {
		req.Language = texts.Language(req.Language)
	}
	start, err := s.consent.Begin(c.Request.Context(), p, consent.Request{Language: req.Language, ReturnURL: req.ReturnURL, Actor: apiKey(c).ID})
	if errors.Is(err, consent.ErrReturnURL) {
		return refuseField("/return_url", codeReturnURL)
	}
	if err != nil {
		return err
	}
	return reply(c, http.StatusCreated, api.AuthorizationStart{URL: start.URL, ExpiresAt: start.ExpiresAt})
}

// getAuthorization says how a profile stands with Google.
//
//	@Summary		Get how a sender profile is connected to Gmail
//	@Description	Nothing is asked of Google. Made to be polled while a person gives consent, once a second or two.
//	@ID				getAuthorization
//	@Tags			gmail
//	@Produce		json
//	@Param			id	path		string	true	"Id of the profile."
//	@Success		200	{object}	api.Authorization
//	@Router			/v1/sender-profiles/{id}/authorization [get]
func (s *Server) getAuthorization(c *gin.Context) error {
	p, err := s.profileInPath(c)
	if err != nil {
		return err
	}
	st, err := s.consent.Status(c.Request.Context(), p)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, authorizationOf(language(c), st))
}

func authorizationOf(lang string, st *consent.Status) api.Authorization {
	w := api.Authorization{
		State: st.State, Address: st.Address, Scopes: st.Scopes, Client: st.Client, Since: optional(st.Since), PendingUntil: optional(st.PendingUntil),
		ExpiresAt: optional(st.RefreshExpiresAt), Problem: told(lang, st.Code, st.Params, time.Time{}), LastFailure: told(lang, st.Failure, st.FailureParams, st.FailureAt),
	}
	if w.Scopes == nil {
		w.Scopes = []string{}
	}
	return w
}

// told is a trouble with params; nil for none.
func told(lang, code string, params map[string]string, since time.Time) *api.Trouble {
	if code == "" {
		return nil
	}
	t := &api.Trouble{Code: code, Since: optional(since)}
	t.Title, t.Detail = texts.Lookup(lang, code, params)
	return t
}

// revokeAuthorization ends a profile's connection.
//
//	@Summary		Disconnect a sender profile from Gmail
//	@Description	Nothing is sent with the connection any more, in no process, and the profile's mails wait. It is revoked at Google too, at once or as soon as Google can be reached, unless another profile is connected to the same account: Google would end both. An open consent is good no more. A profile that is not connected is left as it is.
//	@ID				revokeAuthorization
//	@Tags			gmail
//	@Param			id	path	string	true	"Id of the profile."
//	@Success		204	"It is disconnected."
//	@Router			/v1/sender-profiles/{id}/authorization [delete]
func (s *Server) revokeAuthorization(c *gin.Context) error {
	p, err := s.profileInPath(c)
	if err != nil {
		return err
	}
	if err := s.consent.Revoke(c.Request.Context(), p, apiKey(c).ID); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}
