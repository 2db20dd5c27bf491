package mail

import (
	"html"
	"strconv"
	"strings"
)

// Limits of texts, in bytes.
const (
	maxSubject = 500
	maxBody    = 512 << 10 // of the text and of the HTML
)

// body is a mail's texts, split into parts once and filled for every mail.
type body struct {
	subject, text []part
	html, tail    []part   // the signature goes between them; both nil without HTML
	images        []string // content ids that the HTML shows
}

// compile checks a mail's texts and splits them. declared are the template's own tokens. The problems' pointers are
// "/subject", "/text" and "/html" under at. With thorough set everything is looked at that one mail can do without: a
// template is compiled so before it is stored.
func compile(ps *Problems, at string, texts Translation, declared []string, thorough bool) *body {
	requireLine(ps, at+"/subject", texts.Subject, maxSubject)
	blankHTML := strings.TrimSpace(texts.HTML) == ""
	if blankHTML && strings.TrimSpace(texts.Text) == "" {
		ps.Add(at+"/text", CodeContentMissing)
	}
	checkText(ps, at+"/text", texts.Text, maxBody)
	checkText(ps, at+"/html", texts.HTML, maxBody)
	if len(texts.Text) > maxBody || len(texts.HTML) > maxBody {
		return &body{}
	}

	c := body{subject: split(nil, texts.Subject, placeSubject)}
	for _, p := range c.subject {
		if p.builtin == tokenReminder {
			ps.Add(at+"/subject", CodeTokenMisplaced, "token", p.word)
		}
	}
	if text := strings.TrimRight(newlines(texts.Text), " \t\n"); text != "" {
		c.text = split(nil, text, placeText)
	}
	if blankHTML {
		return &c
	}

	found := scanHTML(newlines(texts.HTML))
	c.images = found.images
	if found.active != "" {
		ps.Add(at+"/html", CodeHTMLActiveContent, "found", found.active)
	}
	for _, p := range found.parts {
		if p.builtin == tokenReminder && p.place == placeAttribute {
			found.misplaced = append(found.misplaced, p)
		}
	}
	var misplaced []string
	for _, p := range found.misplaced {
		if isToken(p, declared) {
			note(&misplaced, p.word)
		}
	}
	for _, word := range misplaced {
		ps.Add(at+"/html", CodeTokenMisplaced, "token", word)
	}
	if c.text == nil || thorough {
		derived, ok := derivedText(found.parts)
		if !ok {
			ps.Add(at+"/html", CodeHTMLInvalid)
		}
		for _, word := range hiddenTokens(derived, declared) {
			ps.Add(at+"/html", CodeTokenSplit, "token", word)
		}
		if c.text == nil {
			if c.text = derived; literalSize(derived) == 0 && len(derived) == 1 {
				c.text = split(nil, texts.Subject, placeText) // a mail of nothing but an image
			}
		}
	}
	c.html = found.parts
	if found.tail > 0 {
		c.html, c.tail = found.parts[:found.tail], found.parts[found.tail:]
	}
	return &c
}

// isToken says whether a word is a token whatever the mail: built in, the template's own, or in braces.
func isToken(p part, declared []string) bool {
	return p.word != "" && (p.builtin != ownToken || p.braced() || contains(declared, p.name))
}

// hiddenTokens finds tokens that a reader of the HTML would see, but that markup or entities hide from the split:
// "NUM<b>FACT</b>".
func hiddenTokens(derived []part, declared []string) (words []string) {
	var seen strings.Builder
	for _, p := range derived {
		seen.WriteString(p.literal)
		if isToken(p, declared) {
			seen.WriteString(tokenOpen)
		} else {
			seen.WriteString(p.word)
		}
	}
	for _, p := range split(nil, seen.String(), placeText) {
		if isToken(p, declared) {
			note(&words, p.word)
		}
	}
	return words
}

// Marks around a token's number while HTML is turned into text: noncharacters, which checkText refuses in any input.
const (
	tokenOpen  = "\uFDD0"
	tokenClose = "\uFDD1"
)

// derivedText turns the parts of an HTML text into those of its plain text alternative; ok is false when the HTML cannot be
// parsed. The words that may be tokens survive the conversion as numbers, so that a word is a token in the text exactly when
// it is one in the HTML.
func derivedText(htmlParts []part) (parts []part, ok bool) {
	var b strings.Builder
	for i, p := range htmlParts {
		b.WriteString(p.literal)
		if p.word == "" {
			continue
		}
		mark := tokenOpen + strconv.Itoa(i) + tokenClose
		if p.builtin == tokenReminder && p.place == placeHTML {
			mark = "<div>" + mark + "</div>"
		}
		b.WriteString(mark)
	}
	rest, err := htmlToText(b.String())
	for {
		literal, after, found := strings.Cut(rest, tokenOpen)
		if !found {
			return append(parts, part{literal: literal}), err == nil
		}
		number, after, _ := strings.Cut(after, tokenClose)
		p := part{literal: literal}
		if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(htmlParts) {
			p.word, p.name, p.builtin = htmlParts[i].word, htmlParts[i].name, htmlParts[i].builtin
		}
		parts, rest = append(parts, p), after
	}
}

// signature is both forms of a profile's signature, each ready to be appended.
type signature struct {
	text, html string
	images     []string
}

func newSignature(s Signature) signature {
	text, markup := strings.TrimSpace(newlines(s.Text)), strings.TrimSpace(newlines(s.HTML))
	switch {
	case text == "" && markup == "":
		return signature{}
	case text == "":
		text = HTMLToText(markup)
	case markup == "":
		markup = strings.ReplaceAll(html.EscapeString(text), "\n", "<br>\n")
	}
	return signature{text: "\n\n" + text, html: "\n<br>\n<div>" + markup + "</div>\n", images: scanHTML(markup).images}
}
