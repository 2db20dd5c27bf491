package consent

// Codes of what goes wrong; each has texts in four languages. After each the names of its params, if any.
const (
	// Asking for a consent.
	codeNotGmail      = "gmail_profile_required" // the profile's transport is another
	codeNotSetUp      = "gmail_not_set_up"       // no OAuth client takes consents
	codeClientUnknown = "gmail_client_unknown"   // client
	codeClientRetired = "gmail_client_retired"   // client; no new consents. Of a connected profile: what to do

	// Of a connected profile.
	codeReadScopeMissing = "gmail_read_scope_missing" // it was connected before its mails were to be looked for

	// The pages.
	codeUnknown        = "consent_unknown"       // no such ticket or state
	codeExpired        = "consent_expired"       //
	CodeUsed           = "consent_used"          //
	CodeOtherBrowser   = "consent_other_browser" //
	codeDenied         = "consent_denied"        // the person said no
	codeGoogleRefused  = "consent_google_refused"
	CodeGoogleDown     = "consent_google_unreachable"
	codeClientRefused  = "consent_client_refused" // client; Google does not take its id or secret
	codeScopeMissing   = "consent_scope_missing"  // an unticked box
	codeOtherAccount   = "consent_other_account"  // account, wanted
	codeIncomplete     = "consent_incomplete"     // no refresh token, or no address
	codeProfileChanged = "consent_profile_changed"
	codeInternal       = "internal_error"

	// Verdicts.
	CodeReauthorizationRequired = "gmail_reauthorization_required"
	CodeTokenUnavailable        = "gmail_token_unavailable"
	CodeClientUnavailable       = "gmail_client_unavailable" // the grant's client is not configured, or Google does not take it
	codeSecretsUnavailable      = "secrets_unavailable"
)
