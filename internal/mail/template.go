package mail

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Template is a firm's texts for one type of document, one translation per language.
type Template struct {
	ID, TenantID string
	Version      int64 // counts every edit of the template or a translation; a message names the one it used; the ETag

	Name         string
	DocumentType string // "invoice", "credit_note", "reminder", "quote", "letter" or the firm's own
	CompanyRef   string // empty: for the whole tenant
	Default      bool   // found by (CompanyRef, DocumentType) when the caller names no template; at most one

	DefaultLanguage string
	Translations    map[string]Translation // by language tag, lower case: "fr", "nl", "fr-be"
	// Tokens are the firm's own tokens that this template uses, besides the built-in ones. Each must be filled by every mail.
	Tokens []string

	CreatedAt, UpdatedAt time.Time
}

// Translation is a template's texts in one language. At least one of Text and HTML is set.
type Translation struct {
	Subject string `json:"subject"`
	Text    string `json:"text,omitempty"`
	HTML    string `json:"html,omitempty"`
}

// Limits of a template.
const (
	maxTemplateTokens = 50
	maxTranslations   = 50
)

// Check finds every problem of a template. Pointers are those of the API's template: "/name", "/tokens/0",
// "/translations/fr/subject". What a template says in vain is no problem: a declared token that no text uses.
func (t *Template) Check() Problems {
	var ps Problems
	requireLine(&ps, "/name", t.Name, maxName)
	requireLine(&ps, "/document_type", t.DocumentType, maxField)
	checkLine(&ps, "/company_ref", t.CompanyRef, maxOwnerRef)
	if len(t.Tokens) > maxTemplateTokens {
		ps.Add("/tokens", CodeTooMany, "max", strconv.Itoa(maxTemplateTokens))
	}
	for i, name := range t.Tokens {
		at := "/tokens/" + strconv.Itoa(i)
		if !CheckTokenName(name) {
			ps.Add(at, CodeTokenNameInvalid, "token", Shown(name))
		} else if builtinOf(name) != ownToken {
			ps.Add(at, CodeTokenNameReserved, "token", name)
		}
	}
	if t.DefaultLanguage == "" {
		ps.Add("/default_language", CodeFieldRequired)
	} else if _, ok := t.Translations[t.DefaultLanguage]; !ok && len(t.Translations) > 0 {
		ps.Add("/default_language", CodeDefaultLanguageMissing, "language", Shown(t.DefaultLanguage))
	}
	switch n := len(t.Translations); {
	case n == 0:
		ps.Add("/translations", CodeTranslationsMissing)
	case n > maxTranslations:
		ps.Add("/translations", CodeTooMany, "max", strconv.Itoa(maxTranslations))
		return ps
	}
	for _, tag := range slices.Sorted(maps.Keys(t.Translations)) {
		at := "/translations/" + EscapePointer(Shown(tag))
		checkLanguageTag(&ps, at, tag)
		compile(&ps, at, t.Translations[tag], t.Tokens, true)
	}
	return ps
}

// SampleDraft is a mail to show a template with: an invoice, or the template's type of document, to a client who does not
// exist, with two unpaid items and every token of the template's filled. t may be nil.
func SampleDraft(t *Template, language string) *Draft {
	amounts := localeFor(NormalizeLanguage(language)).amounts
	d := &Draft{
		Language: language,
		To:       []Address{{Name: "Café Zoë", Address: "compta@zoe.example"}},
		Document: Document{Type: "invoice", Number: "2026/0042", Date: "2026-11-23"},
		Client:   Client{Ref: "C001", Name: "Café Zoë"},
		Tokens:   map[string]string{},
		Reminder: []ReminderItem{
			{Number: "2026/0031", Date: "2026-08-31", DueDate: "2026-09-30", Amount: amounts[0]},
			{Number: "2026/0038", Date: "2026-09-30", DueDate: "2026-10-30", Amount: amounts[1]},
		},
	}
	if t != nil {
		d.Document.Type = t.DocumentType
		for _, name := range t.Tokens {
			d.Tokens[name] = "[" + name + "]"
		}
	}
	return d
}
