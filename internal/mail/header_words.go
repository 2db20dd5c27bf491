package mail

import (
	"encoding/base64"
	"unicode/utf8"
)

// wordPlace says where an encoded word stands: it decides which characters the Q encoding may leave as they are.
type wordPlace byte

const (
	inText   wordPlace = 1 << iota // RFC 2047 section 5 (1)
	inPhrase                       // section 5 (3), the strictest
)

// wordBytes has the places where a byte stands for itself in the Q encoding.
var wordBytes = func() (t [256]wordPlace) {
	for c := byte('!'); c <= '~'; c++ {
		if c != '=' && c != '?' && c != '_' {
			t[c] = inText
		}
		if isLetterOrDigit(c) || c == '!' || c == '*' || c == '+' || c == '-' || c == '/' {
			t[c] |= inPhrase
		}
	}
	t[' '] = inText | inPhrase // as "_"
	return t
}()

const (
	openQ     = "=?utf-8?Q?"
	openB     = "=?utf-8?B?"
	closeWord = "?="
	// wordFrame is what surrounds the text of an encoded word. A word has 75 columns at most (RFC 2047 section 2), which it has
	// on a folded line of 76.
	wordFrame = len(openQ) + len(closeWord)
	runeRoom  = 3 * utf8.UTFMax // columns that the longest character takes
)

// encoded writes a text of valid UTF-8 as encoded words (RFC 2047), none of which splits a character. It uses the encoding that
// makes the text shorter, Q when they are equal. lead is written before the first word: a space, or the quote of a parameter's
// value, where the words may not stand by the standard and everybody reads them all the same.
func (h *headerWriter) encoded(s string, place wordPlace, lead byte) {
	q := 0
	for i := range len(s) {
		q += widthQ(s[i], place)
	}
	useQ := q <= base64.StdEncoding.EncodedLen(len(s))
	if lead == ' ' && h.column()+1+wordFrame+runeRoom > foldAt {
		h.fold()
	}
	h.first = false
	for {
		room := foldAt - h.column() - 1 - wordFrame
		h.b = append(h.b, lead)
		if useQ {
			s = s[h.wordQ(s, place, room):]
		} else {
			s = s[h.wordB(s, room):]
		}
		if s == "" {
			return
		}
		h.fold()
		lead = ' '
	}
}

// wordQ writes one encoded word of the beginning of s and returns how much it took.
func (h *headerWriter) wordQ(s string, place wordPlace, room int) int {
	h.b = append(h.b, openQ...)
	n := 0
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		width := 0
		for _, c := range []byte(s[n : n+size]) {
			width += widthQ(c, place)
		}
		if room -= width; room < 0 {
			break
		}
		for _, c := range []byte(s[n : n+size]) {
			switch {
			case c == ' ':
				h.b = append(h.b, '_')
			case wordBytes[c]&place != 0:
				h.b = append(h.b, c)
			default:
				h.b = append(h.b, '=', upperHex[c>>4], upperHex[c&15])
			}
		}
		n += size
	}
	h.b = append(h.b, closeWord...)
	return n
}

func (h *headerWriter) wordB(s string, room int) int {
	n := min(len(s), room/4*3)
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	h.b = append(h.b, openB...)
	h.b = base64.StdEncoding.AppendEncode(h.b, []byte(s[:n]))
	h.b = append(h.b, closeWord...)
	return n
}

func widthQ(c byte, place wordPlace) int {
	if wordBytes[c]&place != 0 {
		return 1
	}
	return len("=XX")
}

const upperHex = "0123456789ABCDEF"
