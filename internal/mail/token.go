package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// builtin numbers the tokens that every text may use. ownToken is any other.
type builtin int

const (
	ownToken builtin = iota
	tokenNumber
	tokenDate
	tokenClient
	tokenType
	tokenReminder
)

// Names of the built-in tokens. They are those that the firms' existing templates contain.
const (
	nameNumber   = "NUMFACT"
	nameDate     = "DATEFACT"
	nameClient   = "NOMCLIENT"
	nameType     = "TYPEDOC"
	nameReminder = "REMINDER" // with its braces only: bare it is an English word
)

func builtinOf(name string) builtin {
	switch name {
	case nameNumber:
		return tokenNumber
	case nameDate:
		return tokenDate
	case nameClient:
		return tokenClient
	case nameType:
		return tokenType
	case nameReminder:
		return tokenReminder
	}
	return ownToken
}

// source is the field of a mail that fills a built-in token.
func (b builtin) source() string {
	switch b {
	case tokenNumber:
		return "/document/number"
	case tokenDate:
		return "/document/date"
	case tokenClient:
		return "/client/name"
	case tokenType:
		return "/document/type"
	case tokenReminder:
		return "/reminder"
	}
	return ""
}

// TokenInfo describes a built-in token to people who write templates.
type TokenInfo struct {
	Name   string // as it is put into a text: "NUMFACT", "{REMINDER}"
	Source string // JSON pointer of the field of a mail that fills it: "/document/number"
}

// IsBuiltinToken says whether every text may use the token, whoever gives its value.
func IsBuiltinToken(name string) bool { return builtinOf(name) != ownToken }

// BuiltinTokens lists the built-in tokens in the order in which a person is shown them.
func BuiltinTokens() []TokenInfo {
	names := []string{nameNumber, nameDate, nameClient, nameType, nameReminder}
	infos := make([]TokenInfo, len(names))
	for i, name := range names {
		infos[i] = TokenInfo{Name: name, Source: builtinOf(name).source()}
	}
	infos[len(infos)-1].Name = "{" + nameReminder + "}"
	return infos
}

// Example is what the token becomes in a sample mail of a language, as plain text.
func (t TokenInfo) Example(language string) string {
	d := SampleDraft(nil, language)
	v := values{draft: d, docType: d.Document.Type, locale: localeFor(NormalizeLanguage(language))}
	return v.builtin(builtinOf(strings.Trim(t.Name, "{}")))
}

// Limits of tokens' names, in bytes.
const (
	minTokenName = 2
	maxTokenName = 40
)

// CheckTokenName says whether a token may have this name: an upper-case letter followed by upper-case letters, digits and
// underscores, 2 to 40 in all.
func CheckTokenName(name string) bool {
	if len(name) < minTokenName || len(name) > maxTokenName || !isUpper(name[0]) {
		return false
	}
	for i := range len(name) {
		if !isTokenByte(name[i]) {
			return false
		}
	}
	return true
}

// part is a piece of a text: a literal, and after it a word that may be a token. Which words are tokens is known only with
// the mail, whose own tokens count: a text is split once and filled many times.
type part struct {
	literal string
	word    string // as it stands in the text: "NUMFACT", "{REMINDER}"; "" at the end of a text
	name    string // the word without its braces
	builtin builtin
	place   place
}

// place is where in a text a word stands; it decides how a value is written.
type place byte

const (
	placeText      place = iota // plain text
	placeSubject                // plain text in one line
	placeHTML                   // the text of an HTML element
	placeAttribute              // a quoted attribute value, or an element that holds only text
)

func (p *part) braced() bool { return p.word[0] == '{' }

// split finds the words of s that may be tokens and appends the parts to parts. The last part's word is "" and its literal may
// be.
func split(parts []part, s string, where place) []part {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c != '{' && !isUpper(c) {
			i++
			continue
		}
		from := i
		if c == '{' {
			from++
		}
		end := from
		for end < len(s) && isTokenByte(s[end]) {
			end++
		}
		name := s[from:end]
		switch {
		case c == '{':
			if end == len(s) || s[end] != '}' || !CheckTokenName(name) {
				i++
				continue
			}
			end++
		case !CheckTokenName(name) || name == nameReminder || wordBefore(s, i) || wordAfter(s, end):
			i = end
			continue
		}
		parts = append(parts, part{literal: s[start:i], word: s[i:end], name: name, builtin: builtinOf(name), place: where})
		start, i = end, end
	}
	return append(parts, part{literal: s[start:], place: where})
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

func isTokenByte(c byte) bool { return isUpper(c) || '0' <= c && c <= '9' || c == '_' }

func wordBefore(s string, i int) bool {
	r, _ := utf8.DecodeLastRuneInString(s[:i])
	return isWordRune(r)
}

func wordAfter(s string, i int) bool {
	r, _ := utf8.DecodeRuneInString(s[i:])
	return isWordRune(r)
}

// isWordRune is false for RuneError, and so at the ends of a text.
func isWordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return isLetterOrDigit(byte(r)) || r == '_'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}
