// Package mail is the domain of Facteur: addresses, sender profiles, templates, the composing of a mail from a template,
// its MIME form, and the states a message goes through.
//
// It is pure: no database, no network, no clock of its own (times are arguments). Everything that decides what a client
// receives, and what a message's state becomes, is here and can be tested with tables.
//
// The way of a mail through this package:
//
//	Draft  → Composer.Compose → Content      (once, when the mail is accepted; every problem at once)
//	Content → Render          → Rendered     (each time it is sent or shown; same Content = same bytes)
//	Verdict → Settle          → Settlement   (after each attempt)
package mail
