package server

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// resolveHint says where a person looks for a message whose outcome is uncertain. It is nil when nobody can say: the profile is
// gone.
func (s *Server) resolveHint(c *gin.Context, m *store.Message) (*api.ResolveHint, error) {
	ctx, lang := c.Request.Context(), language(c)
	p, err := s.store.Profile(ctx, m.TenantID, m.ProfileID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	content, err := s.store.MessageContent(ctx, m.TenantID, m.ID)
	if err != nil {
		return nil, err
	}
	hint := &api.ResolveHint{MessageID: content.MessageIDHeader}
	switch {
	case p.Gmail != nil:
		address := p.From.Address
		g, err := s.store.Grant(ctx, m.TenantID, m.ProfileID)
		if err == nil || errors.Is(err, store.ErrSealed) {
			address = g.Address
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		key := "gmail"
		if p.Gmail.Reconcile {
			key = "gmail_looks"
		}
		hint.Text, hint.URL = texts.Phrase(lang, "resolve", key, "address", address), gmailSearch(address, hint.MessageID)
	case p.SMTP != nil:
		hint.Text = texts.Phrase(lang, "resolve", "smtp", "server", p.SMTP.Host+":"+strconv.Itoa(p.SMTP.Port), "message_id", hint.MessageID)
	default:
		hint.Text = texts.Phrase(lang, "resolve", "other", "message_id", hint.MessageID)
	}
	if p.ResendUncertain {
		hint.Text += " " + texts.Phrase(lang, "resolve", "resend")
	}
	if copies := copiesOf(p); copies != "" {
		hint.Text += " " + texts.Phrase(lang, "resolve", "copy", "copy", copies)
	}
	return hint, nil
}

// gmailSearch is the address of a search in a mailbox, for whoever is logged in to it. A plus sign would be read as a space.
func gmailSearch(account, messageID string) string {
	id := strings.TrimSuffix(strings.TrimPrefix(messageID, "<"), ">")
	return "https://mail.google.com/mail/u/?authuser=" + url.QueryEscape(account) + "#search/rfc822msgid:" + url.QueryEscape(id)
}

// copiesOf are the addresses that get a copy of every mail of a profile.
func copiesOf(p *mail.Profile) string {
	var list []string
	for _, a := range p.AlwaysCC {
		list = append(list, a.Address)
	}
	for _, a := range p.AlwaysBCC {
		list = append(list, a.Address)
	}
	return strings.Join(list, ", ")
}
