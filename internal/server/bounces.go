package server

import (
	"context"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// defaultFolder is where mail arrives (RFC 3501 section 5.1).
const defaultFolder = "INBOX"

func fillBounceMailbox(b *mail.BounceMailbox) {
	if b.Security == "" {
		b.Security = mail.SecurityTLS
	}
	if b.Port == 0 {
		b.Port = 143
		if b.Security == mail.SecurityTLS {
			b.Port = 993
		}
	}
	if b.Folder == "" {
		b.Folder = defaultFolder
	}
}

func patchBounceMailbox(p *mail.Profile, r *api.BounceMailboxPatch) {
	if r == nil {
		p.BounceMailbox = nil
		return
	}
	b := mail.BounceMailbox{}
	if p.BounceMailbox != nil {
		b = *p.BounceMailbox
	}
	if r.Host != nil && *r.Host != b.Host {
		b.Host, b.Password = *r.Host, ""
	}
	set(&b.Port, r.Port)
	if r.Security != nil {
		b.Security = mail.Security(*r.Security)
	}
	set(&b.Username, r.Username)
	if r.Password != nil {
		b.Password = mail.Secret(*r.Password)
	}
	set(&b.Folder, r.Folder)
	set(&b.MoveTo, r.MoveTo)
	set(&b.VERP, r.VERP)
	p.BounceMailbox = &b
}

// bounceStates tells how the reading of the profiles' bounce mailboxes is doing. Most have none, and cost nothing.
func (s *Server) bounceStates(c *gin.Context, profiles ...*mail.Profile) (map[string]store.BounceState, error) {
	var ids []string
	for _, p := range profiles {
		if p.BounceMailbox != nil {
			ids = append(ids, p.ID)
		}
	}
	return s.store.BounceStates(c.Request.Context(), tenantOf(c), ids)
}

func showBounceState(lang string, w *api.SenderProfile, states map[string]store.BounceState) {
	if w.BounceMailbox == nil {
		return
	}
	st := states[w.ID]
	w.BounceMailbox.ReadAt = optional(st.ReadAt)
	if st.Problem != nil {
		w.BounceMailbox.Problem = profileTrouble(lang, st.Problem)
	}
}

// checkBounceMailbox is the last step of a profile's check. A mailbox that is found well is read at once, so that what was wrong with it
// is not shown any longer.
func (s *Server) checkBounceMailbox(c *gin.Context, ctx context.Context, p *mail.Profile) (api.CheckStep, error) {
	lang := language(c)
	step := api.CheckStep{Name: "bounce_mailbox", Label: texts.Word(lang, "step", "bounce_mailbox"), OK: true}
	if t := s.bounces(ctx, p); t != nil {
		step.OK, step.Problem, step.Reply = false, trouble(lang, t.Code, &t.Reply), replyOf(&t.Reply)
		return step, nil
	}
	return step, s.store.ReadBouncesNow(c.Request.Context(), p.TenantID, p.ID)
}
