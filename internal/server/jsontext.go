package server

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func (r *reader) space() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// next is the first byte of the next token, 0 at the end.
func (r *reader) next() byte {
	r.space()
	if r.pos == len(r.data) {
		return 0
	}
	return r.data[r.pos]
}

func (r *reader) literal(word string) error {
	if len(r.data)-r.pos < len(word) || string(r.data[r.pos:r.pos+len(word)]) != word {
		return errMalformed
	}
	r.pos += len(word)
	return nil
}

// number passes over a number (RFC 8259 section 6).
func (r *reader) number() error {
	digits := func() bool {
		start := r.pos
		for r.pos < len(r.data) && '0' <= r.data[r.pos] && r.data[r.pos] <= '9' {
			r.pos++
		}
		return r.pos > start
	}
	at := func(chars string) bool { return r.pos < len(r.data) && strings.IndexByte(chars, r.data[r.pos]) >= 0 }
	if at("-") {
		r.pos++
	}
	if at("0") {
		r.pos++
	} else if !digits() {
		return errMalformed
	}
	if at(".") {
		r.pos++
		if !digits() {
			return errMalformed
		}
	}
	if at("eE") {
		r.pos++
		if at("+-") {
			r.pos++
		}
		if !digits() {
			return errMalformed
		}
	}
	return nil
}

func printable(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// text reads a string. The result is valid until the next call. What is no Unicode (a lone surrogate, a bad byte) comes back as
// bytes that are no UTF-8, so that the caller can say so.
func (r *reader) text() ([]byte, error) {
	r.pos++
	start := r.pos
	for ; r.pos < len(r.data); r.pos++ {
		switch c := r.data[r.pos]; {
		case c == '"':
			s := r.data[start:r.pos]
			r.pos++
			return s, nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return nil, errMalformed
		}
	}
	return nil, errMalformed
}

func (r *reader) escaped(start int) ([]byte, error) {
	b := append(r.buf[:0], r.data[start:r.pos]...)
	defer func() { r.buf = b[:0] }()
	for r.pos < len(r.data) {
		c := r.data[r.pos]
		r.pos++
		switch {
		case c == '"':
			return b, nil
		case c < ' ':
			return nil, errMalformed
		case c != '\\':
			b = append(b, c)
			continue
		}
		if r.pos == len(r.data) {
			return nil, errMalformed
		}
		c = r.data[r.pos]
		r.pos++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			u, ok := r.hex4()
			if !ok {
				return nil, errMalformed
			}
			if utf16.IsSurrogate(u) {
				low := rune(utf8.RuneError)
				if r.pos+1 < len(r.data) && r.data[r.pos] == '\\' && r.data[r.pos+1] == 'u' {
					back := r.pos
					r.pos += 2
					if low, ok = r.hex4(); !ok {
						return nil, errMalformed
					}
					if utf16.DecodeRune(u, low) == utf8.RuneError {
						r.pos = back
					}
				}
				if u = utf16.DecodeRune(u, low); u == utf8.RuneError {
					b = append(b, 0xff) // no UTF-8
					continue
				}
			}
			b = utf8.AppendRune(b, u)
		default:
			return nil, errMalformed
		}
	}
	return nil, errMalformed
}

func (r *reader) hex4() (rune, bool) {
	if r.pos+4 > len(r.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.data[r.pos:r.pos+4]), 16, 16)
	r.pos += 4
	return rune(n), err == nil
}

const maxDepth = 100

// skip passes over one value of whatever type.
func (r *reader) skip(depth int) error {
	if depth > maxDepth {
		return errMalformed
	}
	switch c := r.next(); {
	case c == '{':
		return r.members(func([]byte) error { return r.skip(depth + 1) })
	case c == '[':
		r.pos++
		if r.next() == ']' {
			r.pos++
			return nil
		}
		for {
			if err := r.skip(depth + 1); err != nil {
				return err
			}
			switch r.next() {
			case ',':
				r.pos++
			case ']':
				r.pos++
				return nil
			default:
				return errMalformed
			}
		}
	case c == '"':
		_, err := r.text()
		return err
	case c == 't':
		return r.literal("true")
	case c == 'f':
		return r.literal("false")
	case c == 'n':
		return r.literal("null")
	case c == '-' || '0' <= c && c <= '9':
		return r.number()
	}
	return errMalformed
}
