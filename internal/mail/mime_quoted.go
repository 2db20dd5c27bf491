package mail

import (
	"math/bits"
	"strings"
)

// quotedWidth is how many columns of quoted-printable have text; one more is for the "=" of a soft line break (RFC 2045
// section 6.7 (5)).
const quotedWidth = foldAt - 1

// quotedLiteral are the bytes that stand for themselves in quoted-printable.
var quotedLiteral = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = c != '='
	}
	t['\t'] = true
	return t
}()

// appendQuoted appends a text of valid UTF-8 in quoted-printable (RFC 2045 section 6.7), every line break as CRLF. No line is
// longer than 76 columns, splits a character, or begins with "." (which SMTP doubles) or "From " (which mailboxes mangle).
func appendQuoted(dst []byte, s string) []byte {
	col := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c == '\n' || c == '\r' {
			if c == '\r' && i+1 < len(s) && s[i+1] == '\n' {
				i++
			}
			dst = append(dst, "\r\n"...)
			col = 0
			i++
			continue
		}
		if col == quotedWidth {
			dst = append(dst, "=\r\n"...)
			col = 0
		}
		end := i // of what stands for itself
		if col > 0 || c != '.' && (c != 'F' || !strings.HasPrefix(s[i:], "From ")) {
			end = literalEnd(s, i, min(len(s), i+quotedWidth-col))
			if end > i && (s[end-1] == ' ' || s[end-1] == '\t') && (end == len(s) || s[end] == '\n' || s[end] == '\r') {
				end-- // a space at the end of a line is lost on the way
			}
		}
		if end > i {
			dst = append(dst, s[i:end]...)
			col += end - i
			i = end
			continue
		}
		size := runeSize(c)
		if col+3*size > quotedWidth {
			dst = append(dst, "=\r\n"...)
			col = 0
			continue
		}
		for ; size > 0; size-- {
			dst = append(dst, '=', upperHex[s[i]>>4], upperHex[s[i]&15])
			col += 3
			i++
		}
	}
	return dst
}

// runeSize is the length of the UTF-8 character that begins with c.
func runeSize(c byte) int {
	switch {
	case c >= 0xF0:
		return 4
	case c >= 0xE0:
		return 3
	case c >= 0xC0:
		return 2
	}
	return 1
}

// literalEnd finds the end of the literal bytes of s from i, at most at most.
func literalEnd(s string, i, most int) int {
	for i < most {
		if i+8 <= len(s) {
			special := specials(s[i : i+8])
			i += bits.TrailingZeros64(special) / 8
			if special == 0 {
				continue
			}
		}
		if i >= most || !quotedLiteral[s[i]] {
			break
		}
		i++ // a tab, or one of the last bytes
	}
	return min(i, most)
}

// specials looks at eight bytes at once and sets the highest bit of those that are "=" or not printable ASCII. The first byte
// is the lowest of the result.
func specials(s string) uint64 {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
	)
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	// Sums that cannot carry into the next byte: each sets the high bit of the bytes that are good.
	low := x &^ high
	printable := low + (0x80-' ')*each
	notEqual := (low ^ '='*each) + 0x7f*each
	notDelete := (low ^ 0x7f*each) + 0x7f*each
	return (x | ^(printable & notEqual & notDelete)) & high
}

// measureQuoted counts what quoted-printable does to a text: the bytes that it escapes (but for those that only their place
// makes special), and the line breaks.
func measureQuoted(s string) (escaped, breaks int) {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		escaped += bits.OnesCount64(specials(s[i : i+8]))
	}
	for ; i < len(s); i++ {
		if !quotedLiteral[s[i]] || s[i] == '\t' {
			escaped++
		}
	}
	breaks = strings.Count(s, "\n") + strings.Count(s, "\r")
	return escaped - breaks - strings.Count(s, "\t"), breaks
}
