package server

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// getNoticeSettings gives the settings of notice mails.
//
//	@Summary		Get the notice settings
//	@Description	404 when nobody is to be told by mail.
//	@ID				getNoticeSettings
//	@Tags			notice-settings
//	@Produce		json
//	@Success		200	{object}	api.NoticeSettings
//	@Failure		404	{object}	api.Problem	"Nobody is to be told by mail."
//	@Router			/v1/notice-settings [get]
func (s *Server) getNoticeSettings(c *gin.Context) error {
	n, err := s.store.NoticeSettings(c.Request.Context(), tenantOf(c))
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, noticeSettingsOf(n))
}

func noticeSettingsOf(n *store.NoticeSettings) api.NoticeSettings {
	w := api.NoticeSettings{Addresses: n.Addresses, Language: n.Language, SenderProfileID: n.SenderProfileID, Kinds: make([]string, len(n.Kinds))}
	for i, k := range n.Kinds {
		w.Kinds[i] = string(k)
	}
	return w
}

// putNoticeSettings replaces the settings of notice mails.
//
//	@Summary		Store the notice settings
//	@Description	For people without a webhook: a short mail when something needs a person, at most one about the same trouble in six hours. It is an ordinary mail of the sender profile that is named here. What becomes of a notice is told by no other notice.
//	@ID				putNoticeSettings
//	@Tags			notice-settings
//	@Accept			json
//	@Produce		json
//	@Param			settings	body		api.NoticeSettings	true	"Whom to tell, of what, and from which sender profile."
//	@Success		200			{object}	api.NoticeSettings
//	@Router			/v1/notice-settings [put]
func (s *Server) putNoticeSettings(c *gin.Context) error {
	var req api.NoticeSettings
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	n := &store.NoticeSettings{TenantID: tenantOf(c), Language: req.Language, SenderProfileID: req.SenderProfileID}
	var problems mail.Problems
	if len(req.Addresses) == 0 {
		problems.Add("/addresses", mail.CodeFieldRequired)
	}
	for i, a := range req.Addresses {
		if code := mail.CheckAddress(a); code != "" {
			problems.Add("/addresses/"+strconv.Itoa(i), code, "address", mail.Shown(a))
		}
		n.Addresses = append(n.Addresses, a)
	}
	for _, k := range req.Kinds {
		n.Kinds = append(n.Kinds, store.NoticeKind(k))
	}
	if len(n.Kinds) == 0 {
		problems.Add("/kinds", mail.CodeFieldRequired)
	}
	if req.SenderProfileID != "" {
		_, err := s.profileByID(c.Request.Context(), n.TenantID, req.SenderProfileID)
		if errors.Is(err, store.ErrNotFound) {
			problems.Add("/sender_profile_id", codeSenderNotFound, "reference", mail.Shown(req.SenderProfileID))
		} else if err != nil {
			return err
		}
	}
	f.merge(problems)
	if err := f.err(); err != nil {
		return err
	}
	if err := s.store.PutNoticeSettings(c.Request.Context(), n, apiKey(c).ID); err != nil {
		return err
	}
	return reply(c, http.StatusOK, noticeSettingsOf(n))
}

// deleteNoticeSettings ends notice mails.
//
//	@Summary	Delete the notice settings
//	@ID			deleteNoticeSettings
//	@Tags		notice-settings
//	@Success	204	"Nobody is told by mail any more."
//	@Router		/v1/notice-settings [delete]
func (s *Server) deleteNoticeSettings(c *gin.Context) error {
	if err := s.store.DeleteNoticeSettings(c.Request.Context(), tenantOf(c), apiKey(c).ID); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}
