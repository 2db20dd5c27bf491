package server

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// previewTemplate fills a template.
//
//	@Summary		Preview a template
//	@Description	Fills the template with the given data, or samples, and stores and sends nothing. As JSON, or with `format` (or an Accept header) as the HTML page, the plain text, or the whole mail as .eml.
//	@ID				previewTemplate
//	@Tags			templates
//	@Accept			json
//	@Produce		json,html,plain
//	@Param			id		path		string				true	"Id of the template."
//	@Param			format	query		string				false	"What to answer with."	Enums(json, html, text, eml)	default(json)
//	@Param			data	body		api.PreviewRequest	true	"What to fill it with; {} for samples."
//	@Success		200		{object}	api.Preview
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/templates/{id}/preview [post]
func (s *Server) previewTemplate(c *gin.Context) error {
	q := newQuery(c)
	format := q.oneOf("format", "json", "html", "text", "eml")
	if err := q.err(); err != nil {
		return err
	}
	if format == "" {
		format = acceptedFormat(c)
	}
	var req api.PreviewRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	t, err := s.templateInPath(c, req.Version)
	if err != nil {
		return err
	}
	profile := &mail.Profile{From: mail.Address{Name: "Facteur", Address: "preview@facteur.example"}}
	var ps mail.Problems
	if req.SenderProfileID != "" {
		p, err := s.profileByID(c.Request.Context(), tenantOf(c), req.SenderProfileID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			ps.Add("/sender_profile_id", codeSenderNotFound, "reference", mail.Shown(req.SenderProfileID))
		case err != nil:
			return err
		default:
			profile = p
		}
	}
	draft := previewDraft(t, &req)
	content, _, problems := mail.NewComposer(profile, t).Compose(draft, time.Now())
	f.merge(append(ps, problems...))
	if err := f.err(); err != nil {
		return err
	}
	switch format {
	case "html":
		if content.HTML == "" {
			return write(c, "text/plain; charset=utf-8", []byte(content.Text))
		}
		// The firm's own HTML, shown without scripts and without anything loaded from elsewhere.
		c.Writer.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
		return write(c, "text/html; charset=utf-8", []byte(content.HTML))
	case "text":
		return write(c, "text/plain; charset=utf-8", []byte(content.Text))
	case "eml":
		rendered, err := mail.Render(c.Request.Context(), content, nil, mail.Envelope{}, s.store.Files(tenantOf(c)))
		if err != nil {
			return err
		}
		return writeMail(c, rendered, "preview")
	}
	w := api.Preview{
		Language: content.Language, Subject: content.Subject, Text: content.Text, HTML: content.HTML, Sampled: []string{}, TemplateVersion: t.Version,
	}
	for _, name := range t.Tokens {
		if _, ok := req.Tokens[name]; !ok {
			w.Sampled = append(w.Sampled, name)
		}
	}
	return reply(c, http.StatusOK, w)
}

// previewDraft is a sample mail with what the request gives put in place of the samples.
func previewDraft(t *mail.Template, req *api.PreviewRequest) *mail.Draft {
	lang := req.Language
	if lang == "" {
		lang = t.DefaultLanguage
	}
	d := mail.SampleDraft(t, lang)
	if req.Document != nil {
		given := mail.Document(*req.Document)
		if given.Type != "" {
			d.Document.Type = given.Type
		}
		if given.Number != "" {
			d.Document.Number = given.Number
		}
		if given.Date != "" {
			d.Document.Date = given.Date
		}
	}
	if req.Client != nil {
		d.Client = mail.Client(*req.Client)
	}
	maps.Copy(d.Tokens, req.Tokens)
	if len(req.Reminder) > 0 {
		d.Reminder = reminderFrom(req.Reminder)
	}
	return d
}

func reminderFrom(items []api.ReminderItem) []mail.ReminderItem {
	out := make([]mail.ReminderItem, len(items))
	for i, item := range items {
		out[i] = mail.ReminderItem(item)
	}
	return out
}

// acceptedFormat reads the wish from the Accept header.
func acceptedFormat(c *gin.Context) string {
	switch c.NegotiateFormat("application/json", "text/html", "text/plain", "message/rfc822") {
	case "text/html":
		return "html"
	case "text/plain":
		return "text"
	case "message/rfc822":
		return "eml"
	}
	return "json"
}

func write(c *gin.Context, mediaType string, body []byte) error {
	h := c.Writer.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Writer.WriteHeader(http.StatusOK)
	c.Writer.Write(body) //nolint:errcheck // the caller is gone
	return nil
}
