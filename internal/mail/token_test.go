package mail

import (
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for s, want := range map[string]string{
		"":                                "",
		"NUMFACT":                         "[NUMFACT]",
		"Facture NUMFACT du DATEFACT.":    "Facture [NUMFACT] du [DATEFACT].",
		"NUMFACTURE XNUMFACT NUMFACT2":    "[NUMFACTURE] [XNUMFACT] [NUMFACT2]", // words, but other ones
		"NUMFACTs sNUMFACT éNUMFACT":      "NUMFACTs sNUMFACT éNUMFACT",
		"NUMFACTé NUMFACT\u0301 NUMFACT٣": "NUMFACTé NUMFACT\u0301 NUMFACT٣",
		"_NUMFACT NUMFACT_ 1NUMFACT":      "_NUMFACT [NUMFACT_] 1NUMFACT",
		"l'NUMFACT-(NUMFACT)/NUMFACT":     "l'[NUMFACT]-([NUMFACT])/[NUMFACT]",
		"NUMFACT,NUMFACT":                 "[NUMFACT],[NUMFACT]",
		"{NUMFACT}x{NUMFACT}":             "[{NUMFACT}]x[{NUMFACT}]",
		"{{NUMFACT}}":                     "{[{NUMFACT}]}",
		"{NUMFACT":                        "{[NUMFACT]",
		"REMINDER {REMINDER} {REMINDER":   "REMINDER [{REMINDER}] {REMINDER",
		"{Reminder} {} {A} {1A} { AB }":   "{Reminder} {} {A} {1A} { [AB] }",
		"TVA 2 X IBAN_BE":                 "[TVA] 2 X [IBAN_BE]",
		strings.Repeat("A", 41) + " AB":   strings.Repeat("A", 41) + " [AB]",
		"\xffNUMFACT\xff":                 "\xff[NUMFACT]\xff",
		"日NUMFACT。NUMFACT":                "日NUMFACT。[NUMFACT]",
	} {
		var b strings.Builder
		for _, p := range split(nil, s, placeText) {
			b.WriteString(p.literal)
			if p.word != "" {
				b.WriteString("[" + p.word + "]")
			}
		}
		if b.String() != want {
			t.Errorf("%q is split into %q, want %q", s, b.String(), want)
		}
	}
}

func TestCheckTokenName(t *testing.T) {
	for name, want := range map[string]bool{
		"AB": true, "MONTANT": true, "A1": true, "A_": true, strings.Repeat("A", 40): true,
		"": false, "A": false, "1A": false, "_A": false, "Montant": false, "A B": false, "A-B": false, "É1": false, strings.Repeat("A", 41): false,
	} {
		if got := CheckTokenName(name); got != want {
			t.Errorf("CheckTokenName(%q) = %v", name, got)
		}
	}
}

func TestBuiltinTokens(t *testing.T) {
	want := map[string][2]string{ // French, English
		"NUMFACT":    {"2026/0042", "2026/0042"},
		"DATEFACT":   {"23/11/2026", "23 November 2026"},
		"NOMCLIENT":  {"Café Zoë", "Café Zoë"},
		"TYPEDOC":    {"facture", "invoice"},
		"{REMINDER}": {"Document   Date        Échéance       Montant", "Document   Date               Due date              Amount"},
	}
	infos := BuiltinTokens()
	if len(infos) != len(want) {
		t.Fatalf("%d tokens, want %d", len(infos), len(want))
	}
	for _, info := range infos {
		for i, lang := range []string{"fr-BE", "en"} {
			got, _, _ := strings.Cut(info.Example(lang), "\n")
			if got != want[info.Name][i] {
				t.Errorf("%s in %s: %q, want %q", info.Name, lang, got, want[info.Name][i])
			}
		}
		if !strings.HasPrefix(info.Source, "/") {
			t.Errorf("%s is filled from %q", info.Name, info.Source)
		}
	}
}

func TestLanguages(t *testing.T) {
	for tag, want := range map[string]string{"fr_BE": "fr-be", " NL ": "nl", "zh-Hant-TW": "zh-hant-tw", "": ""} {
		if got := NormalizeLanguage(tag); got != want {
			t.Errorf("NormalizeLanguage(%q) = %q", tag, got)
		}
	}
	for tag, want := range map[string]bool{
		"fr": true, "nl-be": true, "zh-hant-tw": true, "es-419": true, "de-1996": true,
		"": false, "f": false, "fr-": false, "-fr": false, "fr--be": false, "f1": false, "français": false, "fr be": false, "FR": false,
		"fr/be": false, "fr\n": false, "abcdefghi": false, "fr-" + strings.Repeat("abcdefgh-", 4) + "x": false,
	} {
		if got := CheckLanguage(tag); got != want {
			t.Errorf("CheckLanguage(%q) = %v", tag, got)
		}
	}
	have := map[string]int{"fr": 0, "nl": 0, "nl-nl": 0, "zh-hant": 0}
	for asked, want := range map[string]string{
		"fr": "fr", "fr-be": "fr", "nl-nl": "nl-nl", "nl-be": "nl", "zh-hant-tw": "zh-hant", "zh": "fr", "it": "fr", "": "fr", "-": "fr",
	} {
		if got, ok := pickLanguage(have, asked, "fr-fr"); !ok || got != want {
			t.Errorf("%q gives %q, want %q", asked, got, want)
		}
	}
	if _, ok := pickLanguage(have, "it", "es"); ok {
		t.Error("a language out of nowhere")
	}
}

func TestLocale(t *testing.T) {
	for lang, want := range map[string]string{
		"fr": "03/01/2026 facture note de crédit rappel devis lettre contrat",
		"nl": "03-01-2026 factuur creditnota herinnering offerte brief contrat",
		"en": "3 January 2026 invoice credit note reminder quotation letter contrat",
		"de": "03.01.2026 Rechnung Gutschrift Zahlungserinnerung Angebot Brief contrat",
		"it": "2026-01-03 invoice credit note reminder quotation letter contrat",
	} {
		l := localeFor(lang + "-be")
		got := l.day("2026-01-03")
		for _, kind := range []string{"invoice", "credit_note", "reminder", "quote", "letter", "contrat"} {
			got += " " + l.document(kind)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", lang, got, want)
		}
	}
}
