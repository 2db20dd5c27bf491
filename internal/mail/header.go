package mail

import (
	"fmt"
	"strings"
	"unicode"
)

const (
	foldAt = 76 // columns; RFC 2047 section 2 wants it of lines with encoded words, RFC 5322 section 2.1.1 would take 78
	// maxVerbatim is the longest text that stands in a header as it is: with the longest field name it fits in a line of 998
	// octets (RFC 5322 section 2.1.1) even when it has no space to fold at. A longer one goes in encoded words.
	maxVerbatim = 900
)

// headerWriter appends header fields (RFC 5322 section 2.2) to b. A field is started by field, gets its words, and is ended by
// end. Whatever the words hold, none of them can end the field: texts lose their control characters, everything else is
// checked.
type headerWriter struct {
	b     []byte
	line  int  // where the current line begins in b
	first bool // nothing follows the field's name yet
	utf8  bool // something is in UTF-8 as it is (RFC 6532)
}

func (h *headerWriter) field(name string) {
	h.line, h.first = len(h.b), true
	h.b = append(append(h.b, name...), ':')
}

func (h *headerWriter) end() { h.b = append(h.b, "\r\n"...) }

// fold breaks the line; a space must follow.
func (h *headerWriter) fold() {
	h.b = append(h.b, "\r\n"...)
	h.line = len(h.b)
}

func (h *headerWriter) column() int { return len(h.b) - h.line }

// space begins a word of n columns: on a new line when it does not fit on this one. The first word stays with its field's
// name, so that there is never a line without anything to see.
func (h *headerWriter) space(n int) {
	if !h.first && h.column()+1+n > foldAt {
		h.fold()
	}
	h.first = false
	h.b = append(h.b, ' ')
}

func (h *headerWriter) word(s string) {
	h.space(len(s))
	h.b = append(h.b, s...)
}

// words writes a text, folded at its single spaces: a fold beside another space would change the text for some readers.
func (h *headerWriter) words(s string) {
	for s != "" {
		cut := 1
		for ; cut < len(s); cut++ {
			if s[cut] == ' ' && s[cut-1] != ' ' && cut+1 < len(s) && s[cut+1] != ' ' {
				break
			}
		}
		h.word(s[:cut])
		s = s[min(cut+1, len(s)):]
	}
}

// text writes an unstructured field (RFC 5322 section 3.6.5), in encoded words when it has to be.
func (h *headerWriter) text(name, value string) {
	h.field(name)
	if s := cleanLine(value); isVerbatim(s) {
		h.words(s)
	} else {
		h.encoded(s, inText, ' ')
	}
	h.end()
}

// plain writes a field whose value is ours and short.
func (h *headerWriter) plain(name, value string) {
	h.b = append(append(h.b, name...), ": "...)
	h.b = append(append(h.b, value...), "\r\n"...)
}

// ids writes a field of message ids (RFC 5322 section 3.6.4).
func (h *headerWriter) ids(name string, ids ...string) error {
	h.field(name)
	for _, id := range ids {
		if !isMessageID(id) {
			return fmt.Errorf("mail: %s: %q is not a message id", name, Shown(id))
		}
		h.word(id)
	}
	h.end()
	return nil
}

// addresses writes a field of mailboxes (RFC 5322 section 3.4). Domains are given as A-labels; a local part that is not ASCII
// is written in UTF-8, for which the whole mail needs SMTPUTF8 (RFC 6532 section 3.2).
func (h *headerWriter) addresses(name string, addresses ...Address) error {
	h.field(name)
	for i := range addresses {
		a := &addresses[i]
		local, domain, code := parseAddress(a.Address)
		if code != "" {
			return fmt.Errorf("mail: %s: %q: %s", name, Shown(a.Address), code)
		}
		h.utf8 = h.utf8 || !isASCII(local)
		if i > 0 {
			h.b = append(h.b, ',')
		}
		const around = len("<@>,")
		if n := len(local) + len(domain) + around; h.phrase(a.Name) {
			h.space(n)
			h.b = append(append(append(append(append(h.b, '<'), local...), '@'), domain...), '>')
		} else {
			h.space(n)
			h.b = append(append(append(h.b, local...), '@'), domain...)
		}
	}
	h.end()
	return nil
}

// phrase writes a display name: as it is, quoted, or in encoded words. It says whether there was one.
func (h *headerWriter) phrase(name string) bool {
	s := cleanLine(name)
	switch {
	case s == "":
		return false
	case !isVerbatim(s):
		h.encoded(s, inPhrase, ' ')
	case isAtoms(s):
		h.words(s)
	default:
		h.words(`"` + escapeQuoted(s) + `"`)
	}
	return true
}

// escapeQuoted is RFC 5322 section 3.2.4.
var escapeQuoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace

// isVerbatim says whether a text can stand in a header as it is: short printable ASCII that nobody takes for encoded words.
func isVerbatim(s string) bool {
	return len(s) <= maxVerbatim && isLine(s) && !strings.Contains(s, "=?")
}

// isAtoms says whether s is atoms with single spaces between (RFC 5322 section 3.2.3).
func isAtoms(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c == ' ' && s[i-1] == ' ' || c != ' ' && !isLetterOrDigit(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return true
}

// cleanLine makes any text one line of valid UTF-8 without spaces around it. Texts were checked when the mail was accepted;
// this is what makes it impossible for one to end a header field.
func cleanLine(s string) string {
	if !isLine(s) {
		s = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(s, "\uFFFD"))
	}
	return strings.Trim(s, " ")
}
