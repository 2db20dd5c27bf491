package mail

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// NormalizeLanguage gives the form in which languages are kept and compared: "fr_BE" is "fr-be". It does not check.
func NormalizeLanguage(tag string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(tag)), "_", "-")
}

// CheckLanguage says whether a normalised tag has the form of a BCP 47 tag: a language of two to eight letters and further
// subtags of at most eight letters and digits, 35 characters in all. It does not look them up.
func CheckLanguage(tag string) bool {
	if len(tag) > 35 {
		return false
	}
	for i, subtag := range strings.Split(tag, "-") {
		if len(subtag) == 0 || len(subtag) > 8 || i == 0 && len(subtag) < 2 {
			return false
		}
		for _, c := range []byte(subtag) {
			if (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
				return false
			}
		}
	}
	return true
}

// baseLanguage is a tag without its region and the like: "nl" of "nl-be".
func baseLanguage(tag string) string {
	base, _, _ := strings.Cut(tag, "-")
	return base
}

// pickLanguage finds the entry to use for a wanted language: the tag itself, the same cut from the right ("nl-be" → "nl"), and
// then each further choice in the same way.
func pickLanguage[T any](have map[string]T, choices ...string) (tag string, ok bool) {
	for _, tag := range choices {
		for tag != "" {
			if _, ok := have[tag]; ok {
				return tag, true
			}
			tag = tag[:max(strings.LastIndexByte(tag, '-'), 0)]
		}
	}
	return "", false
}

// locale is how a language writes what fills the built-in tokens.
type locale struct {
	date      func(time.Time) string
	documents map[string]string // by document type
	reminder  reminderHeadings
	amounts   [2]string // of the sample mail
}

// localeFor gives the locale of a tag's language. Others than the four have ISO dates and English words.
func localeFor(tag string) *locale {
	if l, ok := locales[baseLanguage(tag)]; ok {
		return l
	}
	return otherLocale
}

var locales = map[string]*locale{
	"fr": {
		date: layout("02/01/2006"),
		documents: map[string]string{ //nolint:gosec // G101 takes a credit note for a credential
			"invoice": "facture", "credit_note": "note de crédit", "reminder": "rappel", "quote": "devis", "letter": "lettre",
		},
		reminder: reminderHeadings{"Document", "Date", "Échéance", "Montant", "Solde dû"},
		amounts:  [2]string{"1 210,00 €", "99,50 €"},
	},
	"nl": {
		date: layout("02-01-2006"),
		documents: map[string]string{
			"invoice": "factuur", "credit_note": "creditnota", "reminder": "herinnering", "quote": "offerte", "letter": "brief",
		},
		reminder: reminderHeadings{"Document", "Datum", "Vervaldag", "Bedrag", "Nog te betalen"},
		amounts:  [2]string{"€ 1.210,00", "€ 99,50"},
	},
	"en": {
		date:      englishDate,
		documents: english,
		reminder:  englishReminder,
		amounts:   englishAmounts,
	},
	"de": {
		date: layout("02.01.2006"),
		documents: map[string]string{
			"invoice": "Rechnung", "credit_note": "Gutschrift", "reminder": "Zahlungserinnerung", "quote": "Angebot", "letter": "Brief",
		},
		reminder: reminderHeadings{"Beleg", "Datum", "Fällig am", "Betrag", "Offen"},
		amounts:  [2]string{"1.210,00 €", "99,50 €"},
	},
}

var (
	otherLocale = &locale{date: layout(time.DateOnly), documents: english, reminder: englishReminder, amounts: englishAmounts}

	english = map[string]string{
		"invoice": "invoice", "credit_note": "credit note", "reminder": "reminder", "quote": "quotation", "letter": "letter",
	}
	englishAmounts  = [2]string{"€1,210.00", "€99.50"}
	englishReminder = reminderHeadings{"Document", "Date", "Due date", "Amount", "Outstanding"}
)

func layout(l string) func(time.Time) string {
	return func(day time.Time) string { return day.Format(l) }
}

// englishDate has no leading zero: "3 March 2026".
func englishDate(day time.Time) string {
	return strconv.Itoa(day.Day()) + " " + day.Month().String() + " " + strconv.Itoa(day.Year())
}

// day writes an ISO day as the language does; what is no day is written as it is.
func (l *locale) day(iso string) string {
	t, err := time.Parse(time.DateOnly, iso)
	if err != nil {
		return iso
	}
	return l.date(t)
}

// document names a type of document; a type of the firm's own is its own name.
func (l *locale) document(kind string) string {
	if name, ok := l.documents[kind]; ok {
		return name
	}
	return kind
}

// checkDay checks an ISO 8601 day; "" is none and good.
func checkDay(ps *Problems, at, s string) {
	if s == "" {
		return
	}
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		ps.Add(at, CodeDateInvalid, "value", Shown(s))
	}
}

// checkLanguageTag checks a tag that is kept in its normal form, such as the key of a map.
func checkLanguageTag(ps *Problems, at, tag string) {
	if !CheckLanguage(tag) {
		ps.Add(at, CodeLanguageInvalid, "value", Shown(tag))
	}
}

// AttachmentIDs lists the files that go with every mail in a language: those for all languages, for this one, or for the
// language without its region. A file for "fr-be" does not go with a mail in "fr".
func (p *Profile) AttachmentIDs(language string) []string {
	var ids []string
	for _, a := range p.Attachments {
		if len(a.Languages) == 0 || slices.Contains(a.Languages, language) || slices.Contains(a.Languages, baseLanguage(language)) {
			ids = append(ids, a.AttachmentID)
		}
	}
	return ids
}
