package bounce

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxValue = 4 << 10 // of one field; the rest of it is not looked at

// fields calls take for each field of a text, with its name in lower case and its lines put together; for an empty line after
// fields with no name. A line that is no field is passed over. It ends when take says so.
func fields(text []byte, take func(name, value string) bool) {
	var name string
	var value strings.Builder
	flush := func() bool {
		if name == "" {
			return true
		}
		n := name
		name = ""
		return take(n, strings.TrimSpace(value.String()))
	}
	some := false
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		line = bytes.TrimRight(line, "\r")
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if !flush() || (some && !take("", "")) {
				return
			}
			some = false
		case line[0] == ' ' || line[0] == '\t':
			if name != "" && value.Len() < maxValue {
				value.WriteByte(' ')
				value.Write(bytes.TrimSpace(line))
			}
		default:
			if !flush() {
				return
			}
			n, v, ok := bytes.Cut(line, []byte(":"))
			if !ok || len(n) > 100 {
				continue
			}
			some = true
			name = strings.ToLower(strings.TrimSpace(string(n)))
			value.Reset()
			value.Write(v[:min(len(v), maxValue)])
		}
	}
	flush()
}

// afterType is the value of a field that begins with a type: "smtp; 550 5.1.1 no such user".
func afterType(value string) string {
	kind, rest, ok := strings.Cut(value, ";")
	if !ok || strings.ContainsAny(kind, " :") {
		return value
	}
	return strings.TrimSpace(rest)
}

// recipient is the address in "rfc822; john@example.com" or "utf-8; jos\x{E9}@example.com"; empty when it is none.
func recipient(value string) string {
	kind, rest, ok := strings.Cut(value, ";")
	address := strings.TrimSpace(rest)
	if !ok {
		kind, address = "", strings.TrimSpace(value)
	}
	if strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		address = decodeUnitext(address)
	}
	address = strings.Trim(address, "<>")
	if len(address) > 320 || !strings.Contains(address, "@") || !utf8.ValidString(address) || strings.ContainsAny(address, " \t<>") {
		return ""
	}
	return address
}

// decodeUnitext reads "\x{E9}" (RFC 6533 section 3).
func decodeUnitext(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		hex, after, ok := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(hex, 16, 21)
		if !ok || err != nil {
			b.WriteString(`\x{`)
			s = rest
			continue
		}
		b.WriteRune(rune(n))
		s = after
	}
}
