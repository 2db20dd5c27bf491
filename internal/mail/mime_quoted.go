package mail

import "strings"

// quotedWidth is how many columns of quoted-printable have text; one more is for the "=" of a soft line break (RFC 2045
// section 6.7 (5)).
const quotedWidth = foldAt - 1

// quotedEscape is 1 for the bytes that do not stand for themselves in quoted-printable. A number, so that they can be counted
// without a branch.
var quotedEscape = func() (t [256]uint8) {
	for c := range t {
		if (c < ' ' || c > '~' || c == '=') && c != '\t' {
			t[c] = 1
		}
	}
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
			for most := min(len(s), i+quotedWidth-col); end < most && quotedEscape[s[end]] == 0; {
				end++
			}
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

// measureQuoted counts what quoted-printable does to a text: the bytes that it escapes (but for those that only their place
// makes special), and the line breaks.
func measureQuoted(s string) (escaped, breaks int) {
	for i := range len(s) {
		escaped += int(quotedEscape[s[i]])
	}
	breaks = strings.Count(s, "\n") + strings.Count(s, "\r")
	return escaped - breaks, breaks
}
