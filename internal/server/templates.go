package server

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

const codeDefaultLanguageKept = "default_language_kept" // language

const maxVersion = 1<<53 - 1

// createTemplate makes a template.
//
//	@Summary	Make a template
//	@ID			createTemplate
//	@Tags		templates
//	@Accept		json
//	@Produce	json
//	@Param		Idempotency-Key	header		string				false	"-"
//	@Param		template		body		api.TemplateRequest	true	"The template with its translations."
//	@Success	201				{object}	api.Template
//	@Header		201				{string}	Location	"-"
//	@Header		201				{string}	ETag		"-"
//	@Failure	422				{object}	api.Problem
//	@Router		/v1/templates [post]
func (s *Server) createTemplate(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.TemplateRequest
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		now := store.Now()
		t := &mail.Template{
			ID: store.NewID("tpl"), TenantID: tenantOf(c), Version: 1, Name: req.Name, DocumentType: req.DocumentType, CompanyRef: req.CompanyRef,
			Default: req.Default, DefaultLanguage: mail.NormalizeLanguage(req.DefaultLanguage), Tokens: req.Tokens,
			Translations: make(map[string]mail.Translation, len(req.Translations)), CreatedAt: now, UpdatedAt: now,
		}
		for tag, tr := range req.Translations {
			t.Translations[mail.NormalizeLanguage(tag)] = mail.Translation(tr)
		}
		fillTemplate(t)
		f.merge(t.Check())
		if err := f.err(); err != nil {
			return nil, err
		}
		a, err := templateAnswer(http.StatusCreated, t)
		if err != nil {
			return nil, err
		}
		return a, s.store.CreateTemplate(c.Request.Context(), t, id.record(a))
	})
}

// fillTemplate gives what was left out the values that package api promises.
func fillTemplate(t *mail.Template) {
	if t.Name == "" {
		t.Name = t.DocumentType
	}
	if t.DefaultLanguage == "" && len(t.Translations) == 1 {
		for tag := range t.Translations {
			t.DefaultLanguage = tag
		}
	}
}

func templateAnswer(status int, t *mail.Template) (*answer, error) {
	a, err := newAnswer(status, templateOf(t))
	if err != nil {
		return nil, err
	}
	a.etag = etag(t.Version)
	if status == http.StatusCreated {
		a.location = "/v1/templates/" + t.ID
	}
	return a, nil
}

func templateOf(t *mail.Template) api.Template {
	w := api.Template{
		ID: t.ID, Name: t.Name, DocumentType: t.DocumentType, CompanyRef: t.CompanyRef, Default: t.Default,
		DefaultLanguage: t.DefaultLanguage, Tokens: append([]string{}, t.Tokens...),
		Translations: make(map[string]api.Translation, len(t.Translations)), Version: t.Version,
		CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
	for tag, tr := range t.Translations {
		w.Translations[tag] = api.Translation(tr)
	}
	return w
}

// listTemplates lists templates.
//
//	@Summary	List templates
//	@ID			listTemplates
//	@Tags		templates
//	@Produce	json
//	@Param		document_type	query		string	false	"Only templates for this type of document."
//	@Param		company_ref		query		string	false	"Only templates of this billing company."
//	@Param		cursor			query		string	false	"next_cursor of the page before."
//	@Param		limit			query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200				{object}	api.List[api.Template]
//	@Failure	422				{object}	api.Problem
//	@Router		/v1/templates [get]
func (s *Server) listTemplates(c *gin.Context) error {
	q := newQuery(c)
	f := store.TemplateFilter{DocumentType: q.text("document_type"), CompanyRef: q.text("company_ref")}
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListTemplates(c.Request.Context(), tenantOf(c), f, page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, templateOf))
}

// getTemplate gives a template.
//
//	@Summary	Get a template
//	@ID			getTemplate
//	@Tags		templates
//	@Produce	json
//	@Param		id				path		string	true	"Id of the template."
//	@Param		version			query		int		false	"A version it had, also of a template that was deleted since. Default: the current one."	minimum(1)
//	@Param		If-None-Match	header		string	false	"-"
//	@Success	200				{object}	api.Template
//	@Header		200				{string}	ETag	"-"
//	@Success	304				"The caller has the current version."
//	@Failure	422				{object}	api.Problem
//	@Router		/v1/templates/{id} [get]
func (s *Server) getTemplate(c *gin.Context) error {
	q := newQuery(c)
	version := q.number("version", maxVersion)
	if err := q.err(); err != nil {
		return err
	}
	t, err := s.templateInPath(c, version)
	if err != nil {
		return err
	}
	if version == 0 && notModified(c, etag(t.Version)) {
		return nil
	}
	a, err := templateAnswer(http.StatusOK, t)
	if err != nil {
		return err
	}
	return a.write(c)
}

func (s *Server) templateInPath(c *gin.Context, version int64) (*mail.Template, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	if version > 0 {
		return s.store.TemplateVersion(c.Request.Context(), tenantOf(c), id, version)
	}
	return s.store.Template(c.Request.Context(), tenantOf(c), id)
}

// patchTemplate edits a template.
//
//	@Summary		Edit a template
//	@Description	A JSON merge patch (RFC 7386): what is absent stays, null clears. Mails that were accepted keep the text they were made from.
//	@ID				updateTemplate
//	@Tags			templates
//	@Accept			json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the template."
//	@Param			If-Match	header		string				false	"-"
//	@Param			patch		body		api.TemplatePatch	true	"What to change."
//	@Success		200			{object}	api.Template
//	@Header			200			{string}	ETag	"-"
//	@Failure		422			{object}	api.Problem
//	@Router			/v1/templates/{id} [patch]
func (s *Server) patchTemplate(c *gin.Context) error {
	var req api.TemplatePatch
	shape, err := s.decodePatch(c, &req)
	if err != nil {
		return err
	}
	return s.editTemplate(c, shape, func(t *mail.Template) {
		set(&t.Name, req.Name)
		set(&t.DocumentType, req.DocumentType)
		set(&t.CompanyRef, req.CompanyRef)
		set(&t.Default, req.Default)
		if req.DefaultLanguage != nil {
			t.DefaultLanguage = mail.NormalizeLanguage(*req.DefaultLanguage)
		}
		set(&t.Tokens, req.Tokens)
		for tag, tr := range req.Translations {
			if tag = mail.NormalizeLanguage(tag); tr == nil {
				delete(t.Translations, tag)
			} else {
				t.Translations[tag] = mail.Translation(*tr)
			}
		}
		fillTemplate(t)
	})
}

// editTemplate changes the template in the path and answers with its new version.
func (s *Server) editTemplate(c *gin.Context, shape findings, change func(*mail.Template)) error {
	return edit(c, func() error {
		t, err := s.templateInPath(c, 0)
		if err != nil {
			return err
		}
		if err := ifMatch(c, t.Version); err != nil {
			return err
		}
		f := findings{list: slices.Clone(shape.list), omitted: shape.omitted}
		t.Translations = maps.Clone(t.Translations)
		change(t)
		f.merge(t.Check())
		if err := f.err(); err != nil {
			return err
		}
		if err := s.store.UpdateTemplate(c.Request.Context(), t, t.Version); err != nil {
			return err
		}
		a, err := templateAnswer(http.StatusOK, t)
		if err != nil {
			return err
		}
		return a.write(c)
	})
}

// deleteTemplate takes a template away.
//
//	@Summary		Delete a template
//	@Description	Mails that were accepted are not touched, and its versions can still be read.
//	@ID				deleteTemplate
//	@Tags			templates
//	@Param			id			path	string	true	"Id of the template."
//	@Param			If-Match	header	string	false	"-"
//	@Success		204			"It is gone."
//	@Router			/v1/templates/{id} [delete]
func (s *Server) deleteTemplate(c *gin.Context) error {
	return edit(c, func() error {
		t, err := s.templateInPath(c, 0)
		if err != nil {
			return err
		}
		if err := ifMatch(c, t.Version); err != nil {
			return err
		}
		if err := s.store.DeleteTemplate(c.Request.Context(), t.TenantID, t.ID, t.Version); err != nil {
			return err
		}
		return (&answer{status: http.StatusNoContent}).write(c)
	})
}

// putTranslation adds or replaces the texts of one language.
//
//	@Summary	Set a translation
//	@ID			putTranslation
//	@Tags		templates
//	@Accept		json
//	@Produce	json
//	@Param		id			path		string			true	"Id of the template."
//	@Param		language	path		string			true	"Language tag, such as fr or nl-be."
//	@Param		If-Match	header		string			false	"-"
//	@Param		translation	body		api.Translation	true	"The texts."
//	@Success	200			{object}	api.Template
//	@Header		200			{string}	ETag	"-"
//	@Failure	422			{object}	api.Problem
//	@Router		/v1/templates/{id}/translations/{language} [put]
func (s *Server) putTranslation(c *gin.Context) error {
	var req api.Translation
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	tag, err := languageInPath(c)
	if err != nil {
		return err
	}
	// The template's checks point at /translations/fr/subject; here the body is what stands there.
	under := findings{omitted: f.omitted}
	for _, p := range f.list {
		p.Pointer = "/translations/" + tag + p.Pointer
		under.put(p)
	}
	err = s.editTemplate(c, under, func(t *mail.Template) { t.Translations[tag] = mail.Translation(req) })
	var r *refusal
	if errors.As(err, &r) {
		for i := range r.problems {
			if rest, ok := cutPrefix(r.problems[i].Pointer, "/translations/"+tag); ok {
				r.problems[i].Pointer = rest
			}
		}
	}
	return err
}

func cutPrefix(pointer, prefix string) (string, bool) {
	if len(pointer) > len(prefix) && pointer[:len(prefix)] == prefix && pointer[len(prefix)] == '/' {
		return pointer[len(prefix):], true
	}
	return pointer, false
}

func languageInPath(c *gin.Context) (string, error) {
	tag := mail.NormalizeLanguage(c.Param("language"))
	if !mail.CheckLanguage(tag) {
		return "", refuseField("", mail.CodeLanguageInvalid, "value", mail.Shown(c.Param("language")))
	}
	return tag, nil
}

// deleteTranslation takes the texts of one language away.
//
//	@Summary		Delete a translation
//	@Description	The default language's cannot go (409).
//	@ID				deleteTranslation
//	@Tags			templates
//	@Produce		json
//	@Param			id			path		string	true	"Id of the template."
//	@Param			language	path		string	true	"Language tag, such as fr or nl-be."
//	@Param			If-Match	header		string	false	"-"
//	@Success		200			{object}	api.Template
//	@Header			200			{string}	ETag		"-"
//	@Failure		409			{object}	api.Problem	"It is the default language's."
//	@Router			/v1/templates/{id}/translations/{language} [delete]
func (s *Server) deleteTranslation(c *gin.Context) error {
	tag, err := languageInPath(c)
	if err != nil {
		return store.ErrNotFound
	}
	return edit(c, func() error {
		t, err := s.templateInPath(c, 0)
		if err != nil {
			return err
		}
		if err := ifMatch(c, t.Version); err != nil {
			return err
		}
		if _, ok := t.Translations[tag]; ok && tag == t.DefaultLanguage {
			return refuse(http.StatusConflict, codeDefaultLanguageKept, "language", tag)
		}
		if t, err = s.store.DeleteTranslation(c.Request.Context(), t.TenantID, t.ID, tag, t.Version); err != nil {
			return err
		}
		a, err := templateAnswer(http.StatusOK, t)
		if err != nil {
			return err
		}
		return a.write(c)
	})
}

// listTemplateTokens lists the built-in tokens.
//
//	@Summary	List the built-in tokens
//	@ID			listTemplateTokens
//	@Tags		templates
//	@Produce	json
//	@Success	200	{object}	api.TemplateTokens
//	@Router		/v1/template-tokens [get]
func (s *Server) listTemplateTokens(c *gin.Context) error {
	lang := language(c)
	list := api.TemplateTokens{}
	for _, t := range mail.BuiltinTokens() {
		list.Items = append(list.Items, api.TemplateToken{
			Token: t.Name, Label: texts.Word(lang, "token", t.Name), Source: t.Source, Example: t.Example(lang),
		})
	}
	return reply(c, http.StatusOK, list)
}
