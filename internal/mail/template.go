package mail

import "time"

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
