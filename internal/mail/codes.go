package mail

// Codes of the problems that the checks of this package find (Profile.Check, Template.Check, Address.Check, Composer.Compose).
// They are part of the wire contract: a code is never renamed. After each the names of its params, if any.
const (
	// The address itself. Params: address, except for the first.
	CodeAddressMissing          = "address_missing"
	CodeAddressInvalid          = "address_invalid"           // not local-part@domain, or a character that has no place there
	CodeAddressQuotedLocal      = "address_quoted_local"      // "john doe"@example.com
	CodeAddressTooLong          = "address_too_long"          // over 254 octets, or over 64 before the @
	CodeAddressControlCharacter = "address_control_character" // CR, LF, NUL, tab...
	CodeAddressDomainInvalid    = "address_domain_invalid"    // not a domain name: one label, an IP literal, bad IDN

	// Any field.
	CodeFieldRequired    = "field_required"
	CodeFieldTooLong     = "field_too_long"    // max: bytes
	CodeControlCharacter = "control_character" // character: "U+0000"
	CodeLineBreak        = "line_break"        // a line break where there can be only one line
	CodeInvalidUTF8      = "invalid_utf8"
	CodeTooMany          = "too_many"         // max: entries
	CodeNumberRange      = "number_range"     // min, max
	CodeValueUnknown     = "value_unknown"    // value, allowed: "user, company"
	CodeDateInvalid      = "date_invalid"     // value; not a day written 2026-11-23
	CodeLanguageInvalid  = "language_invalid" // value; not a tag such as "fr" or "nl-be"

	// Recipients, headers and attachments of one mail.
	CodeRecipientsMissing       = "recipients_missing"
	CodeTooManyRecipients       = "too_many_recipients"       // max
	CodeHeaderNameInvalid       = "header_name_invalid"       // name
	CodeHeaderNameReserved      = "header_name_reserved"      // name; one that Facteur or the mail's way sets
	CodeMessageIDInvalid        = "message_id_invalid"        // value
	CodeFilenameInvalid         = "filename_invalid"          // filename
	CodeMediaTypeInvalid        = "media_type_invalid"        // media_type
	CodeContentIDInvalid        = "content_id_invalid"        // content_id
	CodeContentIDDuplicate      = "content_id_duplicate"      // content_id
	CodeInlineImageMissing      = "inline_image_missing"      // content_id; the HTML shows an image that is not attached
	CodeInlineImageWithoutHTML  = "inline_image_without_html" // content_id; an inline image and no HTML to show it
	CodeTemplateLanguageMissing = "template_language_missing" // language; neither it nor a fallback has a translation

	// The profile.
	CodeSecretsUnavailable = "secrets_unavailable" // its secrets were sealed with a key that the keyset does not have

	// The document.
	CodeDocumentTwice = "document_twice" // number; two mails of one request bring it to the same recipient

	// Texts.
	CodeContentMissing    = "content_missing"     // neither text nor HTML
	CodeContentTooLarge   = "content_too_large"   // max: bytes, once the tokens are filled
	CodeTextsTooLarge     = "texts_too_large"     // max; at the message that is one too many in its job
	CodeHTMLInvalid       = "html_invalid"        // nested too deep to be read
	CodeHTMLActiveContent = "html_active_content" // found: "script", "onclick"; receivers drop such mails

	// Tokens.
	CodeTokenUnfilled     = "token_unfilled"      // token
	CodeTokenNameInvalid  = "token_name_invalid"  // token
	CodeTokenNameReserved = "token_name_reserved" // token; a built-in one
	CodeTokenLineBreak    = "token_line_break"    // token; its value has several lines and the subject uses it
	CodeTokenMisplaced    = "token_misplaced"     // token; in a place of the HTML where no value can go
	CodeTokenSplit        = "token_split"         // token; formatting in the middle of the word hides it

	// Templates and profiles.
	CodeTranslationsMissing      = "translations_missing"
	CodeDefaultLanguageMissing   = "default_language_missing" // language; it has no translation
	CodeHostInvalid              = "host_invalid"             // value
	CodeCertificatesInvalid      = "certificates_invalid"
	CodePlaintextLoginNotAllowed = "plaintext_login_not_allowed"
	CodeBounceMailboxNotUsed     = "bounce_mailbox_not_used" // the transport's reports come another way
	CodeVERPNotPossible          = "verp_not_possible"       // the transport does not let us choose the return path
	CodeVERPAddressTooLong       = "verp_address_too_long"   // max: octets before the @
)
