// Package texts holds what Facteur says to people, in French, Dutch, English and German.
//
// The rest of the program speaks in codes ("address_invalid", "smtp_login_refused"); the desktop client shows an end user,
// mostly an accountant, the texts found here as they are. A title names what happened in a few words and never changes with
// the case; a detail says what happened this time and what to do next.
//
// Each language is one JSON file. The package's tests read the program's sources and fail when a code that is used anywhere
// has no text in one of the languages, or when a text wants a parameter that its code does not come with.
package texts

import (
	"embed"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Default is the language of a reader who asked for none that we have.
const Default = "en"

// unknown is the text of a code that has none of its own, so that a person is never shown an empty problem.
const unknown = "unknown_code"

type text struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

type language struct {
	Problems map[string]text              `json:"problems"`
	Words    map[string]map[string]string `json:"words"` // by kind ("token", "step", "page", "resolve", "report", "remedy"...) and key
}

//go:embed fr.json nl.json en.json de.json
var files embed.FS

var languages = load("fr", "nl", "en", "de")

func load(tags ...string) map[string]language {
	out := make(map[string]language, len(tags))
	for _, tag := range tags {
		b, err := files.ReadFile(tag + ".json")
		if err != nil {
			panic(err)
		}
		var l language
		if err := json.Unmarshal(b, &l); err != nil {
			panic("texts: " + tag + ".json: " + err.Error())
		}
		out[tag] = l
	}
	return out
}

// Lookup gives the title and the detail of a code in a language ("fr", "nl", "en", "de"; anything else is read as Default),
// with every {param} of the texts replaced from params. A parameter that is missing is shown as an ellipsis. Values are put in
// as they are: the result is plain text, not HTML.
func Lookup(lang, code string, params map[string]string) (title, detail string) {
	t, ok := in(lang).Problems[code]
	if !ok {
		t, params = in(lang).Problems[unknown], map[string]string{"code": code}
	}
	return fill(t.Title, params), fill(t.Detail, params)
}

// Word gives a short text that is no problem: kind "token" describes a template token, kind "step" names a step of a
// profile's check, kind "remedy" says what to do about a problem of a batch. A key without a text gives itself.
func Word(lang, kind, key string) string {
	if w := in(lang).Words[kind][key]; w != "" {
		return w
	}
	return key
}

// Phrase is Word with its {params}, given as key, value pairs. Kind "page" are the words of the pages for a person, kind "limit" says
// that a limit of a profile is reached ({max}), kind "sender" say what is to be done for the proof of a sender, kind
// "resolve" say how to find out what became of a mail, kind "evidence" what is known of it
// ({code}), kind "health" how a profile is doing ({until}); kinds "status" and "proof" are the words of a proof of dispatch.
func Phrase(lang, kind, key string, params ...string) string {
	values := make(map[string]string, len(params)/2)
	for i := 0; i+1 < len(params); i += 2 {
		values[params[i]] = params[i+1]
	}
	return fill(Word(lang, kind, key), values)
}

// Codes lists every code that has texts, in order.
func Codes() []string {
	return slices.Sorted(maps.Keys(languages[Default].Problems))
}

func in(lang string) language {
	if l, ok := languages[lang]; ok {
		return l
	}
	return languages[Default]
}

// Tokens such as {REMINDER} are upper case and stay as they are.
var placeholder = regexp.MustCompile(`\{[a-z][a-z0-9_]*\}`)

func fill(s string, params map[string]string) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		if v, ok := params[p[1:len(p)-1]]; ok {
			return v
		}
		return "…"
	})
}

// Language chooses the language of an answer from an Accept-Language header (RFC 9110 section 12.5.4): the wanted language of
// the highest quality that we have, by its primary subtag ("nl-BE" is "nl"); the first of equals; Default when there is none.
func Language(acceptLanguage string) string {
	best, bestQ := Default, 0.0
	for part := range strings.SplitSeq(acceptLanguage, ",") {
		tag, params, _ := strings.Cut(part, ";")
		primary, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		if _, ok := languages[primary]; !ok && primary != "*" {
			continue
		}
		q := quality(params)
		if q <= bestQ {
			continue
		}
		if bestQ = q; primary == "*" {
			best = Default
		} else {
			best = primary
		}
	}
	return best
}

// quality reads the q parameter; a malformed one counts as 0, so that the language is not taken.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}
