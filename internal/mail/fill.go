package mail

import (
	"html"
	"strings"
)

// maxFilled is the size in bytes of a text or HTML with its tokens filled; without it a few long values used many times would
// make a mail of gigabytes.
const maxFilled = 2 << 20

// values are what one mail's tokens become.
type values struct {
	draft    *Draft
	docType  string // the draft's, else the template's
	locale   *locale
	declared []string // the template's own tokens

	reminderText string // both made when first used
	reminderHTML string

	unfilled  []string // names, each once
	multiline []string // names of own tokens whose value cannot stand in the subject
	programs  []string // names whose value would make a link of the HTML run a program
	tooLarge  bool
}

// maxSpans is how many values of a text a content tells the places of. More are told of none: what a text full of words in capitals
// would take is out of all proportion.
const maxSpans = 100

// fill writes the parts with their words replaced, and adds to spans, as far as it has room, where the values stand. What cannot be filled is noted in v.
func (v *values) fill(b *strings.Builder, spans []Span, parts []part) []Span {
	for i := range parts {
		p := &parts[i]
		if b.WriteString(p.literal); b.Len() > maxFilled {
			v.tooLarge = true
			return spans
		}
		if p.word == "" {
			continue
		}
		from := b.Len()
		if p.builtin == tokenReminder && p.place == placeText {
			v.fillTable(b, parts[i+1].literal)
		} else {
			v.fillWord(b, p)
		}
		if len(spans) < cap(spans) {
			spans = append(spans, Span{from, b.Len()})
		}
	}
	return spans
}

func (v *values) fillWord(b *strings.Builder, p *part) {
	value, ok := v.value(p)
	if !ok {
		b.WriteString(p.word) // an ordinary word in capitals; or noted, and the mail is not made
		return
	}
	switch p.place {
	case placeText:
		b.WriteString(newlines(value))
	case placeSubject:
		v.fillSubject(b, p.name, value)
	case placeHTML:
		if _, own := v.own(p.name); p.builtin == tokenReminder && !own {
			b.WriteString(value)
		} else {
			writeHTML(b, value, "<br>\n")
		}
	case placeAttribute:
		if strings.IndexByte(value, ':') >= 0 && scriptScheme(value) != "" {
			note(&v.programs, p.name)
		}
		writeHTML(b, value, " ")
	}
}

// own is the mail's own value of a token; it goes before a built-in one. An empty value fills a token: the caller said so.
func (v *values) own(name string) (value string, ok bool) {
	if len(v.draft.Tokens) > 0 {
		value, ok = v.draft.Tokens[name]
	}
	return value, ok
}

func (v *values) value(p *part) (value string, ok bool) {
	if value, ok = v.own(p.name); ok {
		return value, true
	}
	if p.builtin == tokenReminder {
		if value = v.table(); p.place == placeHTML {
			value = v.reminderHTML
		}
	} else {
		value = v.builtin(p.builtin)
	}
	if strings.TrimSpace(value) == "" {
		if p.builtin != ownToken || p.braced() || contains(v.declared, p.name) {
			note(&v.unfilled, p.name)
		}
		return "", false
	}
	return value, true
}

// builtin gives a built-in token's value as plain text; "" when the mail has none.
func (v *values) builtin(b builtin) string {
	switch b {
	case tokenNumber:
		return v.draft.Document.Number
	case tokenDate:
		return v.locale.day(v.draft.Document.Date)
	case tokenClient:
		return v.draft.Client.Name
	case tokenType:
		return v.locale.document(v.docType)
	case tokenReminder:
		return v.table()
	}
	return ""
}

// table makes both forms of {REMINDER} and gives the plain one; "" when the mail has no unpaid items.
func (v *values) table() string {
	if v.reminderText == "" && len(v.draft.Reminder) > 0 {
		t := newReminderTable(v.draft.Reminder, v.locale)
		v.reminderText, v.reminderHTML = t.text(), t.html()
	}
	return v.reminderText
}

// fillTable writes {REMINDER} into a plain text: on lines of its own, whatever stands around it.
func (v *values) fillTable(b *strings.Builder, next string) {
	value, ok := v.value(&part{word: "{" + nameReminder + "}", name: nameReminder, builtin: tokenReminder})
	if !ok {
		return
	}
	if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteByte('\n')
	}
	b.WriteString(newlines(value))
	if next != "" && !strings.HasPrefix(next, "\n") {
		b.WriteByte('\n')
	}
}

func (v *values) fillSubject(b *strings.Builder, name, value string) {
	if strings.ContainsAny(value, "\r\n") {
		// A built-in's own field is refused for it.
		if _, own := v.own(name); own {
			note(&v.multiline, name)
		}
		return
	}
	b.WriteString(strings.ReplaceAll(value, "\t", " "))
}

// writeHTML writes plain text into HTML. The five characters that HTML has a use for are the only ones escaped.
func writeHTML(b *strings.Builder, value, lineBreak string) {
	if strings.ContainsAny(value, `&<>"'`) {
		value = html.EscapeString(value)
	}
	if strings.ContainsAny(value, "\r\n") {
		value = strings.ReplaceAll(newlines(value), "\n", lineBreak)
	}
	b.WriteString(value)
}

func note(names *[]string, name string) {
	if !contains(*names, name) {
		*names = append(*names, name)
	}
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// literalSize is the size of a text without its tokens' values.
func literalSize(parts []part) int {
	n := 0
	for i := range parts {
		n += len(parts[i].literal)
	}
	return n
}

// build fills head, adds a signature, and fills tail. It says where values stand.
func (v *values) build(head []part, signature string, tail []part) (string, []Span) {
	const perValue = 24 // a guess that saves growing
	var b strings.Builder
	b.Grow(literalSize(head) + len(signature) + literalSize(tail) + perValue*len(head))
	words := max(len(head)+len(tail)-1, 0) // a text's last part has none
	if words > maxSpans {
		words = 0
	}
	spans := v.fill(&b, make([]Span, 0, words), head)
	b.WriteString(signature)
	spans = v.fill(&b, spans, tail)
	return b.String(), spans
}
