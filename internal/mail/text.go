package mail

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkText checks a text of several lines: valid UTF-8 of at most max bytes, no control characters but line breaks and tabs.
func checkText(ps *Problems, at, s string, max int) {
	if len(s) > max {
		ps.Add(at, CodeFieldTooLong, "max", strconv.Itoa(max))
		return
	}
	switch code, r := flaw(s); code {
	case "":
	case CodeControlCharacter:
		ps.Add(at, code, "character", fmt.Sprintf("%U", r))
	default:
		ps.Add(at, code)
	}
}

// checkLine checks a text that goes into a header: as checkText, and one line without tabs.
func checkLine(ps *Problems, at, s string, max int) {
	switch i := strings.IndexAny(s, "\r\n\t"); {
	case i < 0:
		checkText(ps, at, s, max)
	case s[i] == '\t':
		ps.Add(at, CodeControlCharacter, "character", "U+0009")
	default:
		ps.Add(at, CodeLineBreak)
	}
}

// requireLine is checkLine for a field that must not be blank.
func requireLine(ps *Problems, at, s string, max int) {
	if strings.Trim(s, " ") == "" {
		ps.Add(at, CodeFieldRequired)
		return
	}
	checkLine(ps, at, s, max)
}

// flaw finds the first thing that no text may hold: the problem's code and, for a control character, which one.
func flaw(s string) (code string, character rune) {
	if isPlain(s) {
		return "", 0
	}
	if !utf8.ValidString(s) {
		return CodeInvalidUTF8, 0
	}
	for _, r := range s {
		if refused(r) {
			return CodeControlCharacter, r
		}
	}
	return "", 0
}

// isPlain is the quick answer for nearly every text: printable ASCII, line breaks and tabs.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// isLine is isPlain for one line without tabs.
func isLine(s string) bool {
	return isPlain(s) && !strings.ContainsAny(s, "\r\n\t")
}

// refused says that a rune has no place in any text: control characters, and the noncharacters, which are for a program's own
// use (Unicode 23.7; htmlToText uses two of them).
func refused(r rune) bool {
	switch {
	case r == '\n', r == '\r', r == '\t':
		return false
	case unicode.IsControl(r):
		return true
	}
	return 0xFDD0 <= r && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

// newlines makes every line break a single LF.
func newlines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// Shown is the caller's input as a problem's parameter repeats it: short and printable.
func Shown(s string) string {
	const most = 100
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// EscapePointer makes any text one step of a JSON pointer (RFC 6901 section 3).
var EscapePointer = strings.NewReplacer("~", "~0", "/", "~1").Replace
