package mail

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// scanned is what one pass over an HTML text finds.
type scanned struct {
	parts     []part
	images    []string // the content ids of "cid:" references, each once
	active    string   // the first thing that runs or leaves the mail: "script", "onclick"; "" when nothing
	misplaced []part   // words of a tag where no value can be put safely
}

// activeElements run, load or submit something, or are read differently by different programs. Receivers drop a mail for
// them, or show it as dangerous.
var activeElements = []atom.Atom{
	atom.Script, atom.Noscript, atom.Iframe, atom.Frame, atom.Frameset, atom.Noframes, atom.Form, atom.Object, atom.Embed,
	atom.Noembed, atom.Applet, atom.Base, atom.Xmp, atom.Plaintext,
}

// scanHTML splits an HTML text at the words that may be tokens, leaving every other byte as it is. Words are looked for in
// texts, comments (Outlook shows the conditional ones) and quoted attribute values; not in styles.
func scanHTML(s string) scanned {
	var out scanned
	z := html.NewTokenizer(strings.NewReader(s))
	var inside atom.Atom // the element that holds only text
	for pos := 0; ; {
		kind := z.Next()
		raw := s[pos : pos+len(z.Raw())]
		pos += len(raw)
		switch kind {
		case html.ErrorToken:
			out.add(part{literal: s[pos-len(raw):]})
			return out
		case html.TextToken:
			switch inside {
			case atom.Style, atom.Script:
				out.findImages(raw)
				out.add(part{literal: raw})
			case atom.Title, atom.Textarea:
				out.parts = split(out.parts, raw, placeAttribute)
			default:
				out.parts = split(out.parts, raw, placeHTML)
			}
		case html.CommentToken:
			out.parts = split(out.parts, raw, placeHTML)
		case html.StartTagToken, html.SelfClosingTagToken:
			out.tag(raw)
			inside = out.check(z)
		case html.EndTagToken:
			inside = 0
			out.add(part{literal: raw})
		default:
			out.add(part{literal: raw})
		}
	}
}

func (out *scanned) add(p part) { out.parts = append(out.parts, p) }

// tag splits a start tag: only its quoted values can take a token's value.
func (out *scanned) tag(raw string) {
	start := 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if (c != '"' && c != '\'') || !strings.HasSuffix(strings.TrimRight(raw[:i], " \t\r\n\f"), "=") {
			continue
		}
		end := strings.IndexByte(raw[i+1:], c)
		if end < 0 {
			break
		}
		end += i + 1
		out.unquoted(raw[start : i+1])
		out.parts = split(out.parts, raw[i+1:end], placeAttribute)
		start, i = end, end
	}
	out.unquoted(raw[start:])
}

func (out *scanned) unquoted(raw string) {
	out.add(part{literal: raw})
	for _, p := range split(nil, raw, placeAttribute) {
		if p.word != "" {
			out.misplaced = append(out.misplaced, p)
		}
	}
}

// check looks at a start tag's name and attributes and returns its element.
func (out *scanned) check(z *html.Tokenizer) atom.Atom {
	name, more := z.TagName()
	element := atom.Lookup(name)
	if slices.Contains(activeElements, element) {
		out.found(element.String())
	}
	for more {
		var key, val []byte
		key, val, more = z.TagAttr()
		k, v := string(key), string(val)
		switch {
		case len(k) > 2 && strings.HasPrefix(k, "on"):
			out.found(shown(k))
		case element == atom.Meta && k == "http-equiv" && strings.EqualFold(strings.TrimSpace(v), "refresh"):
			out.found("meta refresh")
		case strings.IndexByte(v, ':') >= 0:
			if s := scriptScheme(v); s != "" {
				out.found(s)
			}
			out.findImages(v)
		}
	}
	return element
}

func (out *scanned) found(what string) {
	if out.active == "" {
		out.active = what
	}
}

// scriptScheme finds an address that is a program. Browsers ignore white space and control characters in a scheme.
func scriptScheme(v string) string {
	scheme, _, _ := strings.Cut(v, ":")
	scheme = strings.ToLower(strings.Map(func(r rune) rune {
		if r <= ' ' {
			return -1
		}
		return r
	}, scheme))
	if scheme == "javascript" || scheme == "vbscript" {
		return scheme + ":"
	}
	return ""
}

var cssImage = regexp.MustCompile(`(?i)url\(\s*['"]?\s*cid:([^'")\s]+)`)

// findImages collects the content ids (RFC 2392) of an attribute's value or a style.
func (out *scanned) findImages(v string) {
	if len(v) > 4 && strings.EqualFold(v[:4], "cid:") {
		out.image(v[4:])
	} else if strings.Contains(v, "cid:") || strings.Contains(v, "CID:") {
		for _, m := range cssImage.FindAllStringSubmatch(v, -1) {
			out.image(m[1])
		}
	}
}

func (out *scanned) image(id string) {
	if plain, err := url.PathUnescape(id); err == nil {
		id = plain
	}
	if !slices.Contains(out.images, id) {
		out.images = append(out.images, id)
	}
}
