package texts

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestLanguage(t *testing.T) {
	for header, want := range map[string]string{
		"":                                    "en",
		"fr":                                  "fr",
		"nl-BE":                               "nl",
		"DE-at":                               "de",
		"fr-BE, nl;q=0.9, en;q=0.8":           "fr",
		"en;q=0.5, nl-BE;q=0.7":               "nl",
		"es, it;q=0.9, de;q=0.1":              "de",
		"es, it":                              "en",
		"fr, nl":                              "fr",
		"fr;q=0, nl;q=0.1":                    "nl",
		"fr;q=0":                              "en",
		"*":                                   "en",
		"*;q=0.1, nl;q=0.5":                   "nl",
		"fr ; q=0.3 ,  de ; Q=0.4":            "de",
		"fr;q=banana, nl;q=0.1":               "nl",
		"fr;q=2, nl;q=0.1":                    "nl",
		"fr;q=NaN":                            "en",
		",,;q=1,":                             "en",
		"frisian, fra":                        "en",
		strings.Repeat("x;q=1,", 5000) + "nl": "nl",
	} {
		if got := Language(header); got != want {
			t.Errorf("Language(%.40q) = %s, want %s", header, got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	_, detail := Lookup("nl", "forbidden_scope", map[string]string{"scope": "manage"})
	if !strings.Contains(detail, "“manage”") {
		t.Errorf("parameter is not filled in: %s", detail)
	}
	if _, detail = Lookup("fr", "forbidden_scope", nil); !strings.Contains(detail, "« … »") {
		t.Errorf("missing parameter is not shown as an ellipsis: %s", detail)
	}
	if _, detail = Lookup("en", "forbidden_scope", map[string]string{"scope": "{scope}{limit}"}); !strings.Contains(detail, "{scope}{limit}") {
		t.Errorf("a value was expanded again: %s", detail)
	}
	for _, lang := range []string{"fr", "nl", "en", "de"} {
		if title, detail := Lookup(lang, "no_such_code", nil); title == "" || !strings.Contains(detail, "no_such_code") {
			t.Errorf("%s: an unknown code gives %q, %q", lang, title, detail)
		}
	}
	if a, _ := Lookup("it", "not_found", nil); a != languages["en"].Problems["not_found"].Title {
		t.Errorf("an unknown language is not read as English: %s", a)
	}
	if w := Word("fr", "token", "NOMCLIENT"); w != "Nom du client" {
		t.Errorf("Word = %q", w)
	}
	if w := Word("fr", "token", "MONTANT"); w != "MONTANT" {
		t.Errorf("a word without a text = %q, want itself", w)
	}
}

// Every language says the same things with the same parameters.
func TestLanguagesAgree(t *testing.T) {
	base := languages[Default]
	for lang, l := range languages {
		if got, want := slices.Sorted(maps.Keys(l.Problems)), Codes(); !slices.Equal(got, want) {
			t.Errorf("%s: codes differ from %s: %v", lang, Default, difference(got, want))
		}
		for code, tx := range l.Problems {
			if strings.TrimSpace(tx.Title) == "" || strings.TrimSpace(tx.Detail) == "" {
				t.Errorf("%s: %s: a text is empty", lang, code)
			}
			if placeholder.MatchString(tx.Title) {
				t.Errorf("%s: %s: a title never changes with the case (RFC 9457 section 3.1.3), this one has a parameter", lang, code)
			}
			if strings.HasSuffix(tx.Title, ".") || !strings.ContainsAny(tx.Detail[len(tx.Detail)-1:], ".:)") {
				t.Errorf("%s: %s: a title is no sentence, a detail is made of sentences", lang, code)
			}
			if got, want := placeholders(tx.Detail), placeholders(base.Problems[code].Detail); !slices.Equal(got, want) {
				t.Errorf("%s: %s: parameters %v, in %s %v", lang, code, got, Default, want)
			}
		}
		for kind, words := range base.Words {
			if got, want := slices.Sorted(maps.Keys(l.Words[kind])), slices.Sorted(maps.Keys(words)); !slices.Equal(got, want) {
				t.Errorf("%s: words of kind %s differ: %v", lang, kind, difference(got, want))
			}
			for key, word := range words {
				if got, want := placeholders(l.Words[kind][key]), placeholders(word); !slices.Equal(got, want) {
					t.Errorf("%s: %s %s: parameters %v, in %s %v", lang, kind, key, got, Default, want)
				}
			}
		}
	}
}

// placeholders lists the names of a text's parameters, each once, in order.
func placeholders(s string) []string {
	var names []string
	for _, p := range placeholder.FindAllString(s, -1) {
		names = append(names, p[1:len(p)-1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func difference(a, b []string) (only []string) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			only = append(only, "+"+x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			only = append(only, "-"+x)
		}
	}
	return only
}
