package server

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

const (
	codeAttachmentNotFound = "attachment_not_found" // id
	codeSMTPNotUsed        = "smtp_settings_not_used"
)

// createProfile makes a sender profile.
//
//	@Summary	Make a sender profile
//	@ID			createSenderProfile
//	@Tags		sender-profiles
//	@Accept		json
//	@Produce	json
//	@Param		Idempotency-Key	header		string						false	"-"
//	@Param		profile			body		api.SenderProfileRequest	true	"The profile."
//	@Success	201				{object}	api.SenderProfile			"The profile, without its secrets."
//	@Header		201				{string}	Location					"-"
//	@Header		201				{string}	ETag						"-"
//	@Failure	422				{object}	api.Problem
//	@Router		/v1/sender-profiles [post]
func (s *Server) createProfile(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.SenderProfileRequest
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		if (req.SMTP != nil && req.SMTP.Password != "") || req.BounceMailbox != nil {
			if err := id.harden(); err != nil {
				return nil, err
			}
		}
		now := store.Now()
		p := newProfile(&req)
		p.ID, p.TenantID, p.Version, p.CreatedAt, p.UpdatedAt = store.NewID("prf"), tenantOf(c), 1, now, now
		if err := s.checkSettings(c, p, &f); err != nil {
			return nil, err
		}
		if p.Transport == gmailTransport { // nobody has consented yet
			hold := consent.Unconnected()
			p.Hold = &hold
		} else if p.Hold, err = s.store.GateHold(c.Request.Context(), p); err != nil { // the store decides again when it stores it
			return nil, err
		}
		a, err := profileAnswer(c, http.StatusCreated, p)
		if err != nil {
			return nil, err
		}
		return a, s.store.CreateProfile(c.Request.Context(), p, id.record(a))
	})
}

func profileAnswer(c *gin.Context, status int, p *mail.Profile) (*answer, error) {
	a, err := newAnswer(status, profileOf(language(c), p))
	if err != nil {
		return nil, err
	}
	a.etag = etag(p.Version)
	if status == http.StatusCreated {
		a.location = "/v1/sender-profiles/" + p.ID
	}
	return a, nil
}

// checkSettings finds everything that is wrong with a profile, beside what was found in its JSON.
func (s *Server) checkSettings(c *gin.Context, p *mail.Profile, f *findings) error {
	ps := p.Check()
	if _, ok := s.transports[p.Transport]; !ok && p.Transport != "" {
		ps.Add("/transport", mail.CodeValueUnknown, "value", mail.Shown(p.Transport), "allowed", strings.Join(s.transports.Names(), ", "))
	} else if ok && p.Transport != "smtp" && p.SMTP != nil {
		ps.Add("/smtp", codeSMTPNotUsed)
	}
	if p.SendGrid != nil && p.Transport != sendGridTransport {
		ps.Add("/sendgrid", codeSendGridNotUsed)
	}
	if err := s.checkGmail(c, p, &ps); err != nil {
		return err
	}
	if err := s.checkSendGrid(c, p, &ps); err != nil {
		return err
	}
	ids := make([]string, len(p.Attachments))
	for i, a := range p.Attachments {
		ids[i] = a.AttachmentID
	}
	found, err := s.attachments(c.Request.Context(), p.TenantID, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if found[id] == nil && id != "" {
			ps.Add("/attachments/"+strconv.Itoa(i)+"/attachment_id", codeAttachmentNotFound, "id", mail.Shown(id))
		}
	}
	f.merge(ps)
	return f.err()
}

// attachments looks up ids, those that can be none left out.
func (s *Server) attachments(ctx context.Context, tenant string, ids []string) (map[string]*store.Attachment, error) {
	good := ids[:0:0]
	for _, id := range ids {
		if goodID.MatchString(id) {
			good = append(good, id)
		}
	}
	if len(good) == 0 {
		return nil, nil
	}
	return s.store.Attachments(ctx, tenant, good)
}

// listProfiles lists sender profiles.
//
//	@Summary	List sender profiles
//	@ID			listSenderProfiles
//	@Tags		sender-profiles
//	@Produce	json
//	@Param		level		query		string	false	"Only profiles of this level."	Enums(user, company)
//	@Param		owner_ref	query		string	false	"Only profiles of this collaborator or billing company."
//	@Param		gmail_client	query	string	false	"Only profiles that are connected to Google through this OAuth client, or were and need a new consent."
//	@Param		cursor		query		string	false	"next_cursor of the page before."
//	@Param		limit		query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200			{object}	api.List[api.SenderProfile]
//	@Failure	422			{object}	api.Problem
//	@Router		/v1/sender-profiles [get]
func (s *Server) listProfiles(c *gin.Context) error {
	q := newQuery(c)
	f := store.ProfileFilter{Level: mail.Level(q.oneOf("level", "user", "company")), OwnerRef: q.text("owner_ref"), GmailClient: q.text("gmail_client")}
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListProfiles(c.Request.Context(), tenantOf(c), f, page)
	if err != nil {
		return err
	}
	states, err := s.bounceStates(c, l.Items...)
	if err != nil {
		return err
	}
	lang := language(c)
	return reply(c, http.StatusOK, listOf(l, func(p *mail.Profile) api.SenderProfile {
		w := profileOf(lang, p)
		showBounceState(lang, &w, states)
		return w
	}))
}

// getProfile gives one sender profile.
//
//	@Summary	Get a sender profile
//	@ID			getSenderProfile
//	@Tags		sender-profiles
//	@Produce	json
//	@Param		id				path		string	true	"Id of the profile."
//	@Param		If-None-Match	header		string	false	"-"
//	@Success	200				{object}	api.SenderProfile
//	@Header		200				{string}	ETag	"-"
//	@Success	304				"The caller has the current version."
//	@Router		/v1/sender-profiles/{id} [get]
func (s *Server) getProfile(c *gin.Context) error {
	p, err := s.profileInPath(c)
	if err != nil {
		return err
	}
	// What keeps a profile from sending changes without an edit.
	if !p.SecretsUnreadable && p.Hold == nil && p.Pause == nil && p.LimitedUntil.IsZero() && p.BounceMailbox == nil && notModified(c, etag(p.Version)) {
		return nil
	}
	states, err := s.bounceStates(c, p)
	if err != nil {
		return err
	}
	w := profileOf(language(c), p)
	showBounceState(language(c), &w, states)
	a, err := newAnswer(http.StatusOK, w)
	if err != nil {
		return err
	}
	a.etag = etag(p.Version)
	return a.write(c)
}

func (s *Server) profileInPath(c *gin.Context) (*mail.Profile, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.store.Profile(c.Request.Context(), tenantOf(c), id)
}

// patchProfile edits a sender profile.
//
//	@Summary		Edit a sender profile
//	@Description	A JSON merge patch (RFC 7386): what is absent stays, null clears. An edit ends a hold and a pause.
//	@ID				updateSenderProfile
//	@Tags			sender-profiles
//	@Accept			json
//	@Produce		json
//	@Param			id			path		string					true	"Id of the profile."
//	@Param			If-Match	header		string					false	"-"
//	@Param			patch		body		api.SenderProfilePatch	true	"What to change."
//	@Success		200			{object}	api.SenderProfile
//	@Header			200			{string}	ETag	"-"
//	@Failure		422			{object}	api.Problem
//	@Router			/v1/sender-profiles/{id} [patch]
func (s *Server) patchProfile(c *gin.Context) error {
	var req api.SenderProfilePatch
	shape, err := s.decodePatch(c, &req)
	if err != nil {
		return err
	}
	return edit(c, func() error {
		p, err := s.profileInPath(c)
		if err != nil {
			return err
		}
		if err := ifMatch(c, p.Version); err != nil {
			return err
		}
		f := findings{list: append(mail.Problems(nil), shape.list...), omitted: shape.omitted}
		wasGmail := p.Transport == gmailTransport
		patchProfile(p, &req)
		if err := s.checkSettings(c, p, &f); err != nil {
			return err
		}
		if err := s.store.UpdateProfile(c.Request.Context(), p, p.Version); err != nil {
			return err
		}
		if err := s.holdUnconnected(c.Request.Context(), p); err != nil {
			return err
		}
		if wasGmail && p.Transport != gmailTransport {
			s.consent.Left(c.Request.Context(), p)
		}
		if err := s.outbox.Wake(c.Request.Context(), p.ID); err != nil {
			return err
		}
		a, err := profileAnswer(c, http.StatusOK, p)
		if err != nil {
			return err
		}
		return a.write(c)
	})
}

// holdUnconnected keeps an edit from ending a hold that only a consent can end.
func (s *Server) holdUnconnected(ctx context.Context, p *mail.Profile) error {
	if p.Transport != gmailTransport {
		return nil
	}
	st, err := s.consent.Status(ctx, p)
	if err != nil || st.State == consent.StateConnected {
		return err
	}
	hold := consent.Unconnected()
	p.Hold = &hold
	return s.store.HoldProfile(ctx, p, hold)
}

// deleteProfile takes a sender profile away.
//
//	@Summary		Delete a sender profile
//	@Description	What it sent keeps naming it. A profile whose messages still wait, are on their way or are uncertain cannot go (409).
//	@ID				deleteSenderProfile
//	@Tags			sender-profiles
//	@Param			id			path	string	true	"Id of the profile."
//	@Param			If-Match	header	string	false	"-"
//	@Success		204			"It is gone."
//	@Failure		409			{object}	api.Problem	"Messages still need the profile."
//	@Router			/v1/sender-profiles/{id} [delete]
func (s *Server) deleteProfile(c *gin.Context) error {
	return edit(c, func() error {
		p, err := s.profileInPath(c)
		if err != nil {
			return err
		}
		if err := ifMatch(c, p.Version); err != nil {
			return err
		}
		if err := s.store.DeleteProfile(c.Request.Context(), p.TenantID, p.ID, p.Version); err != nil {
			return err
		}
		if p.Transport == gmailTransport {
			s.consent.Left(c.Request.Context(), p)
		}
		return (&answer{status: http.StatusNoContent}).write(c)
	})
}

const checkTimeout = 90 * time.Second

// checkProfile proves a profile's settings.
//
//	@Summary		Check a sender profile
//	@Description	Connects, logs in and asks for the sender as a mail would, and sends nothing; then logs in to the bounce mailbox, if there is one. When every step is good a hold or pause ends and waiting mails go out.
//	@ID				checkSenderProfile
//	@Tags			sender-profiles
//	@Produce		json
//	@Param			id	path		string	true	"Id of the profile."
//	@Success		200	{object}	api.ProfileCheck
//	@Router			/v1/sender-profiles/{id}/check [post]
func (s *Server) checkProfile(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	p, err := s.store.ProfileWithSecrets(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return err
	}
	if err := needAddOn(p); err != nil {
		return err
	}
	t, ok := s.transports[p.Transport]
	if !ok {
		return refuseField("/transport", mail.CodeValueUnknown, "value", p.Transport, "allowed", strings.Join(s.transports.Names(), ", "))
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), checkTimeout)
	defer cancel()
	lang := language(c)
	result := api.ProfileCheck{OK: true, Steps: []api.CheckStep{}}
	steps, err := s.ownSender(ctx, p)
	if err != nil {
		return err
	}
	if steps == nil {
		steps = t.Check(ctx, p)
	}
	for _, step := range steps {
		w := api.CheckStep{Name: step.Name, Label: texts.Word(lang, "step", step.Name), OK: step.OK, Reply: replyOf(&step.Reply)}
		if !step.OK {
			w.Problem, result.OK = trouble(lang, step.Code, &step.Reply), false
		}
		result.Steps = append(result.Steps, w)
	}
	ready := result.OK
	if ready && p.BounceMailbox != nil && s.bounces != nil {
		step, err := s.checkBounceMailbox(c, ctx, p)
		if err != nil {
			return err
		}
		result.Steps, result.OK = append(result.Steps, step), step.OK
	}
	if ready && (p.Hold != nil || p.Pause != nil) {
		if err := s.store.ClearHold(c.Request.Context(), p.TenantID, p.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.outbox.Wake(c.Request.Context(), p.ID); err != nil {
			return err
		}
	}
	return reply(c, http.StatusOK, result)
}

func patchProfile(p *mail.Profile, r *api.SenderProfilePatch) {
	set(&p.Name, r.Name)
	set(&p.Default, r.Default)
	set(&p.MaxConnections, r.MaxConnections)
	if r.From != nil {
		p.From = addressFrom(*r.From)
	}
	for _, l := range []struct {
		to   *[]mail.Address
		from *[]api.Address
	}{{&p.ReplyTo, r.ReplyTo}, {&p.AlwaysCC, r.AlwaysCC}, {&p.AlwaysBCC, r.AlwaysBCC}} {
		if l.from != nil {
			*l.to = addressesFrom(*l.from)
		}
	}
	if r.Attachments != nil {
		p.Attachments = filesFrom(*r.Attachments)
	}
	if len(r.Signatures) > 0 {
		p.Signatures = maps.Clone(p.Signatures)
		if p.Signatures == nil {
			p.Signatures = map[string]mail.Signature{}
		}
		for tag, sig := range r.Signatures {
			if tag = mail.NormalizeLanguage(tag); sig == nil {
				delete(p.Signatures, tag)
			} else {
				p.Signatures[tag] = mail.Signature(*sig)
			}
		}
	}
	if r.Transport != nil && *r.Transport != p.Transport {
		p.Transport, p.SMTP, p.Gmail, p.SendGrid, p.BounceMailbox = *r.Transport, nil, nil, nil, nil
		p.Limits = mail.DefaultLimits(p.Transport, p.From.Address)
	}
	setLimits(&p.Limits, r.Limits)
	if r.OnUncertain != nil {
		p.ResendUncertain = *r.OnUncertain == onUncertainResend
	}
	if r.Gmail != nil {
		patchGmail(p, r.Gmail)
	}
	if r.SendGrid != nil {
		patchSendGrid(p, r.SendGrid)
	}
	if r.SMTP != nil {
		if p.SMTP == nil {
			p.SMTP = &mail.SMTPSettings{}
		}
		patchSMTP(p.SMTP, r.SMTP)
	}
	if r.BounceMailbox != nil {
		patchBounceMailbox(p, *r.BounceMailbox)
	}
	fillDefaults(p)
}
