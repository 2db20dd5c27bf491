package mail

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// HTMLToText makes the plain text alternative of an HTML mail. Nothing is wrapped: mail programs do that. Paragraphs are
// separated by an empty line, list items marked, links followed by their address in parentheses, the cells of a table's row
// separated by " | ", images replaced by their alternative text. What a reader does not see (head, style, script, elements
// hidden by an inline style) is left out. HTML nested too deep to be parsed gives its text alone.
func HTMLToText(s string) string {
	text, err := htmlToText(s)
	if err != nil {
		return bareText(s)
	}
	return text
}

func htmlToText(s string) (string, error) {
	doc, err := html.Parse(strings.NewReader(s))
	if err != nil {
		return "", err
	}
	var w textWriter
	w.node(doc)
	return w.String(), nil
}

// bareText is every text of the HTML, one per line.
func bareText(s string) string {
	var w textWriter
	unseen := false
	for z := html.NewTokenizer(strings.NewReader(s)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return w.String()
		case html.StartTagToken:
			name, _ := z.TagName()
			unseen = slices.Contains(skipped, atom.Lookup(name))
		case html.EndTagToken:
			unseen = false
		case html.TextToken:
			if !unseen {
				w.block(1)
				w.text(string(z.Text()))
			}
		}
	}
}

// textWriter lays out text. It holds back spaces and line breaks until something follows them.
type textWriter struct {
	b      strings.Builder
	breaks int    // line breaks due before the next text
	space  bool   // a space is due, unless a line break is
	prefix string // of every line: "> " in a quotation, spaces in a list
	last   string // the prefix of the last line written
	marker string // replaces the end of the prefix on the next line: "- "
	pre    bool
}

func (w *textWriter) String() string {
	lines := strings.Split(w.b.String(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// block makes sure of at least n line breaks before what follows: 1 for a new line, 2 for an empty line between.
func (w *textWriter) block(n int) {
	w.breaks = max(w.breaks, n)
	w.space = false
}

// start writes what is due before a piece of text.
func (w *textWriter) start() {
	if w.b.Len() == 0 || w.breaks > 0 {
		if w.b.Len() > 0 {
			const most = 3 // two empty lines
			for range min(w.breaks, most) - 1 {
				w.b.WriteString("\n" + commonPrefix(w.last, w.prefix))
			}
			w.b.WriteByte('\n')
		}
		w.b.WriteString(w.prefix[:len(w.prefix)-len(w.marker)] + w.marker)
		w.last, w.marker = w.prefix, ""
	} else if w.space {
		w.b.WriteByte(' ')
	}
	w.breaks, w.space = 0, false
}

func (w *textWriter) text(s string) {
	if w.pre {
		for i, line := range strings.Split(newlines(s), "\n") {
			if i > 0 {
				w.breaks++
			}
			if line != "" {
				w.start()
				w.b.WriteString(line)
			}
		}
		return
	}
	for i := 0; i < len(s); {
		n := ordinary(s[i:])
		if n > 0 {
			if w.space || w.breaks > 0 || w.b.Len() == 0 {
				w.start()
			}
			w.b.WriteString(s[i : i+n])
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r == noBreakSpace && !w.space && w.breaks == 0 && w.b.Len() > 0:
			w.b.WriteByte(' ') // within an amount; elsewhere it is a spacer
		case r == noBreakSpace || r < utf8.RuneSelf:
			w.space = true
		}
	}
}

// Characters that are not written as they are: the last three take no room, and hide what they stand in from a search.
const (
	noBreakSpace     = '\u00a0'
	softHyphen       = '\u00ad'
	zeroWidthSpace   = '\u200b'
	zeroWidthNBSpace = '\ufeff'
)

// ordinary is the length of what s begins with that is written as it is.
func ordinary(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t', '\n', '\r', '\f':
			return i
		case 0xC2, 0xE2, 0xEF: // the first bytes of the special characters
			switch r, _ := utf8.DecodeRuneInString(s[i:]); r {
			case noBreakSpace, softHyphen, zeroWidthSpace, zeroWidthNBSpace:
				return i
			}
		}
	}
	return len(s)
}

// skipped elements have no text that a reader of the mail sees.
var skipped = []atom.Atom{
	atom.Head, atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript, atom.Iframe, atom.Object, atom.Embed, atom.Svg,
	atom.Video, atom.Audio, atom.Map,
}

func (w *textWriter) node(n *html.Node) {
	if n.Type == html.TextNode {
		w.text(n.Data)
		return
	}
	if n.Type != html.ElementNode {
		w.children(n)
		return
	}
	if slices.Contains(skipped, n.DataAtom) || hidden(n) {
		return
	}
	switch n.DataAtom {
	case atom.Br:
		w.breaks++
		w.space = false
	case atom.Hr:
		w.block(2)
		w.text("----------")
		w.block(2)
	case atom.Img:
		w.text(attr(n, "alt"))
	case atom.A:
		w.link(n)
	case atom.Pre:
		w.block(2)
		w.pre = true
		w.children(n)
		w.pre = false
		w.block(2)
	case atom.Blockquote:
		w.indented(n, "> ", "", 2)
	case atom.Ul, atom.Ol:
		w.list(n)
	case atom.Table:
		w.block(1)
		w.children(n)
		w.block(1)
	case atom.Tr:
		w.row(n)
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Dl:
		w.block(2)
		w.children(n)
		w.block(2)
	case atom.Dd:
		w.indented(n, "  ", "", 1)
	case atom.Address, atom.Article, atom.Aside, atom.Body, atom.Caption, atom.Center, atom.Div, atom.Dt, atom.Fieldset,
		atom.Figcaption, atom.Figure, atom.Footer, atom.Form, atom.Header, atom.Html, atom.Li, atom.Main, atom.Nav, atom.Option,
		atom.Section, atom.Tbody, atom.Tfoot, atom.Thead:
		w.block(1)
		w.children(n)
		w.block(1)
	default:
		w.children(n)
	}
}

func (w *textWriter) children(n *html.Node) {
	for c := range n.ChildNodes() {
		w.node(c)
	}
}

// indented writes an element with a prefix before each of its lines; marker stands in the first one's instead.
func (w *textWriter) indented(n *html.Node, prefix, marker string, gap int) {
	const deepest = 40
	w.block(gap)
	if len(w.prefix) > deepest {
		w.children(n)
		w.block(gap)
		return
	}
	outer, outerMarker := w.prefix, w.marker
	w.prefix += prefix
	w.marker = outerMarker + marker
	if marker == "" && outerMarker != "" {
		w.marker += prefix
	}
	w.children(n)
	w.prefix = outer
	if w.marker != "" { // nothing was written
		w.marker = outerMarker
	}
	w.block(gap)
}

func commonPrefix(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// list marks the items; a list within a list is not set apart by empty lines.
func (w *textWriter) list(n *html.Node) {
	gap := 2
	for p := n.Parent; p != nil; p = p.Parent {
		if p.DataAtom == atom.Li {
			gap = 1
		}
	}
	w.block(gap)
	number := 1
	if start, err := strconv.Atoi(attr(n, "start")); err == nil {
		number = start
	}
	for c := range n.ChildNodes() {
		if c.DataAtom != atom.Li {
			w.node(c)
			continue
		}
		marker := "- "
		if n.DataAtom == atom.Ol {
			marker = strconv.Itoa(number) + ". "
			number++
		}
		w.indented(c, strings.Repeat(" ", len(marker)), marker, 1)
	}
	w.block(gap)
}

// row writes a table's row on one line. A row that has a cell of several lines is layout, not data: its cells follow one
// another.
func (w *textWriter) row(n *html.Node) {
	var cells []string
	layout := false
	for c := range n.ChildNodes() {
		if c.DataAtom == atom.Td || c.DataAtom == atom.Th {
			var cell textWriter
			cell.children(c)
			s := cell.String()
			layout = layout || strings.Contains(s, "\n")
			cells = append(cells, s)
		}
	}
	for len(cells) > 0 && cells[0] == "" {
		cells = cells[1:]
	}
	for len(cells) > 0 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	w.block(1)
	if layout {
		for _, s := range cells {
			w.block(2)
			w.lines(s)
			w.block(2)
		}
		return
	}
	w.lines(strings.Join(cells, " | "))
	w.block(1)
}

// lines writes text that is laid out already.
func (w *textWriter) lines(s string) {
	outer := w.pre
	w.pre = true
	w.text(s)
	w.pre = outer
}

// link writes a link's address after its text, unless the text says it already or the address is of no use on paper.
func (w *textWriter) link(n *html.Node) {
	before := w.b.Len()
	w.children(n)
	text, href := strings.TrimSpace(w.b.String()[before:]), strings.TrimSpace(attr(n, "href"))
	scheme, rest, _ := strings.Cut(href, ":")
	switch strings.ToLower(scheme) {
	case "http", "https":
	case "mailto", "tel":
		if href, _, _ = strings.Cut(rest, "?"); href == "" || strings.Contains(text, href) {
			return
		}
	default:
		if !strings.HasPrefix(href, tokenOpen) { // the address is a token
			return
		}
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(href, "https://"), "http://"), "/")
	switch text {
	case href, bare:
	case "":
		w.text(href)
	default:
		w.text(" (" + href + ")")
	}
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key && a.Namespace == "" {
			return a.Val
		}
	}
	return ""
}

// hidden finds what mail templates hide: the preview line that only the list of mails shows.
func hidden(n *html.Node) bool {
	for _, a := range n.Attr {
		if a.Key == "hidden" {
			return true
		}
		if a.Key == "style" {
			style := strings.ToLower(strings.Join(strings.Fields(a.Val), ""))
			if strings.Contains(style, "display:none") || strings.Contains(style, "mso-hide:all") && strings.Contains(style, "max-height:0") {
				return true
			}
		}
	}
	return false
}
