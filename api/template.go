package api

import "time"

// Template is a firm's texts for one type of document, one translation per language.
type Template struct {
	// ID of the template.
	ID string `json:"id" example:"tpl_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Name is what a person calls it.
	Name string `json:"name" example:"Invoices"`
	// DocumentType it is for: invoice, credit_note, reminder, quote, letter, or one of the firm's own.
	DocumentType string `json:"document_type" example:"invoice"`
	// CompanyRef is your own code of the billing company it is for; absent: every company of the tenant.
	CompanyRef string `json:"company_ref,omitempty" example:"C001"`
	// Default says that it is found by document type and company when a mail names no template. At most one is.
	Default bool `json:"default"`
	// DefaultLanguage is the translation used for a language that has none of its own.
	DefaultLanguage string `json:"default_language" example:"fr"`
	// Tokens are the firm's own tokens that it uses besides the built-in ones. Every mail must fill them.
	Tokens []string `json:"tokens" example:"MONTANT"`
	// Translations by language tag in lower case.
	Translations map[string]Translation `json:"translations"`
	// Version counts the edits of the template and its translations, from 1; a mail names the one it used. The ETag is the same
	// number in quotes.
	Version int64 `json:"version" example:"3"`
	// CreatedAt is when it was made.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// UpdatedAt is when this version was made.
	UpdatedAt time.Time `json:"updated_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// Translation is a template's texts in one language. At least one of text and html is there. Tokens are bare words in upper
// case: NUMFACT, DATEFACT, NOMCLIENT, TYPEDOC, {REMINDER} and the firm's own.
type Translation struct {
	// Subject line.
	Subject string `json:"subject" example:"Facture NUMFACT du DATEFACT" validate:"required,max=500"`
	// Text is the plain text. When absent it is made from html.
	Text string `json:"text,omitempty" example:"Bonjour NOMCLIENT,\nvoici votre facture." validate:"max=524288" text:"block"`
	// HTML is the formatted text. Values of tokens are escaped in it. Active content such as scripts is refused.
	HTML string `json:"html,omitempty" example:"<p>Bonjour NOMCLIENT</p>" validate:"max=524288" text:"block"`
}

// TemplateRequest makes a template.
type TemplateRequest struct {
	// Name is what a person calls it. Default: the document type.
	Name string `json:"name,omitempty" example:"Invoices" validate:"max=200"`
	// DocumentType it is for: invoice, credit_note, reminder, quote, letter, or one of the firm's own.
	DocumentType string `json:"document_type" example:"invoice" validate:"required,max=200"`
	// CompanyRef is your own code of the billing company it is for. Default: every company of the tenant.
	CompanyRef string `json:"company_ref,omitempty" example:"C001" validate:"max=100"`
	// Default makes it the one that is found by document type and company. The former default of the same two is none any more.
	Default bool `json:"default,omitempty"`
	// DefaultLanguage is the translation used for a language that has none of its own. Default: the only translation's.
	DefaultLanguage string `json:"default_language,omitempty" example:"fr" validate:"max=35"`
	// Tokens are the firm's own tokens that it uses, such as MONTANT: upper-case letters, digits and underscores, 2 to 40.
	Tokens []string `json:"tokens,omitempty" example:"MONTANT" validate:"max=50"`
	// Translations by language tag ("fr", "nl-be"). At least one.
	Translations map[string]Translation `json:"translations" validate:"required,max=50"`
}

// TemplatePatch edits a template (JSON merge patch, RFC 7386): what is absent stays, null clears. Each translation is replaced
// whole or, with null, removed.
type TemplatePatch struct {
	// Name is what a person calls it.
	Name *string `json:"name,omitempty" example:"Invoices" validate:"max=200"`
	// DocumentType it is for.
	DocumentType *string `json:"document_type,omitempty" example:"invoice" validate:"max=200"`
	// CompanyRef is the billing company it is for; null: every company of the tenant.
	CompanyRef *string `json:"company_ref,omitempty" example:"C001" validate:"max=100"`
	// Default makes it the one that is found by document type and company. The former default of the same two is none any more.
	Default *bool `json:"default,omitempty"`
	// DefaultLanguage is the translation used for a language that has none of its own.
	DefaultLanguage *string `json:"default_language,omitempty" example:"fr" validate:"max=35"`
	// Tokens are the firm's own tokens that it uses.
	Tokens *[]string `json:"tokens,omitempty" example:"MONTANT" validate:"max=50"`
	// Translations by language tag; null removes one.
	Translations map[string]*Translation `json:"translations,omitempty" validate:"max=50"`
}

// PreviewRequest fills a template with a mail's data, without storing or sending anything. What is left out is filled with
// samples.
type PreviewRequest struct {
	// Language of the mail; the nearest translation is used. Default: the template's default language.
	Language string `json:"language,omitempty" example:"fr-BE" validate:"max=35"`
	// SenderProfileID of the profile whose from address and signature to show. Default: a sample sender without a signature.
	SenderProfileID string `json:"sender_profile_id,omitempty" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// Document that the mail is about. Default: a sample.
	Document *Document `json:"document,omitempty"`
	// Client that the mail is for. Default: a sample.
	Client *Client `json:"client,omitempty"`
	// Tokens are values of the firm's own tokens, or instead of the built-in ones'.
	Tokens map[string]string `json:"tokens,omitempty" validate:"max=100,itemmax=10000" text:"block"`
	// Reminder is the rows of {REMINDER}. Default: samples.
	Reminder []ReminderItem `json:"reminder,omitempty" validate:"max=500"`
	// Version of the template. Default: the current one.
	Version int64 `json:"version,omitempty" example:"3" minimum:"1" maximum:"9007199254740991"`
}

// Preview is a filled template.
type Preview struct {
	// Language of the translation used.
	Language string `json:"language" example:"fr"`
	// Subject as filled.
	Subject string `json:"subject" example:"Facture 2026/0042 du 23/11/2026"`
	// Text is the plain text as filled.
	Text string `json:"text"`
	// HTML is the formatted text as filled; absent when the translation has none. Show it in a sandbox.
	HTML string `json:"html,omitempty"`
	// Sampled are the template's own tokens that the request gave no value for: here they show a sample, in a mail they are refused.
	Sampled []string `json:"sampled" example:"MONTANT"`
	// TemplateVersion that was used.
	TemplateVersion int64 `json:"template_version" example:"3"`
}

// TemplateTokens lists the built-in tokens, in the order in which a person is shown them.
type TemplateTokens struct {
	// Items are the tokens.
	Items []TemplateToken `json:"items"`
}

// TemplateToken is a word that is replaced in a template's subject, text and HTML.
type TemplateToken struct {
	// Token as it is put into a text.
	Token string `json:"token" example:"NUMFACT"`
	// Label says what it becomes, in the reader's language.
	Label string `json:"label" example:"Number of the document, such as the invoice number"`
	// Source is the JSON pointer of the field of a mail that fills it.
	Source string `json:"source" example:"/document/number"`
	// Example is what it becomes in a sample mail in the reader's language.
	Example string `json:"example" example:"2026/0042"`
}
