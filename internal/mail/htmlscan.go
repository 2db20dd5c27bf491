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
	html      string
	written   int // how much of html is in parts
	parts     []part
	tail      int      // the part that begins with the last </body>, or else </html>; 0 when there is neither
	images    []string // the content ids of "cid:" references, each once, as many as a mail can have and one
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
	out := scanned{html: s}
	z := html.NewTokenizer(strings.NewReader(s))
	var inside, last atom.Atom // the element that was opened just before; the end tag that the tail begins with
	for pos := 0; ; {
		kind := z.Next()
		from := pos
		pos += len(z.Raw())
		switch kind {
		case html.ErrorToken:
			out.parts = append(out.parts, part{literal: s[out.written:]})
			return out
		case html.TextToken:
			switch inside {
			case atom.Style, atom.Script:
				out.findImages(s[from:pos])
			case atom.Title, atom.Textarea:
				out.split(from, pos, placeAttribute)
			default:
				out.split(from, pos, placeHTML)
			}
		case html.CommentToken:
			out.split(from, pos, placeHTML)
		case html.StartTagToken, html.SelfClosingTagToken:
			out.tag(from, pos)
			inside = out.check(z)
		case html.EndTagToken:
			inside = 0
			name, _ := z.TagName()
			if end := atom.Lookup(name); end == atom.Body || end == atom.Html && last != atom.Body {
				last = end
				out.parts = append(out.parts, part{literal: s[out.written:from]})
				out.tail, out.written = len(out.parts), from
			}
		}
	}
}

// split appends the parts of html[from:to]; what follows its last word is left for the next part.
func (out *scanned) split(from, to int, where place) {
	first := len(out.parts)
	out.parts = split(out.parts, out.html[from:to], where)
	out.parts = out.parts[:len(out.parts)-1]
	if len(out.parts) == first {
		return
	}
	out.parts[first].literal = out.html[out.written : from+len(out.parts[first].literal)]
	written := out.written
	for _, p := range out.parts[first:] {
		written += len(p.literal) + len(p.word)
	}
	out.written = written
}

// tag splits a start tag: only its quoted values can take a token's value.
func (out *scanned) tag(from, to int) {
	raw := out.html[from:to]
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
		out.unquoted(raw[start:i])
		out.split(from+i+1, from+end, placeAttribute)
		start, i = end, end
	}
	out.unquoted(raw[start:])
}

func (out *scanned) unquoted(raw string) {
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
			out.found(Shown(k))
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
	const enough = maxAttachments + 1 // one of them is missing, whatever the others are
	if len(out.images) < enough && !slices.Contains(out.images, id) {
		out.images = append(out.images, id)
	}
}
