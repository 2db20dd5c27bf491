package server

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/winprest/facteur/internal/mail"
)

// Codes of what is wrong with a request's shape.
const (
	codeJSONMalformed  = "json_malformed"
	codeFieldUnknown   = "field_unknown"
	codeFieldDuplicate = "field_duplicate"
	codeFieldType      = "field_type" // expected
	codeTimeInvalid    = "time_invalid"
	codeBase64Invalid  = "base64_invalid"
)

// maxListed is how many problems one answer lists; the rest is counted.
const maxListed = 1000

// findings are the problems of one request.
type findings struct {
	list    mail.Problems
	omitted int
}

func (f *findings) add(pointer, code string, params ...string) {
	var ps mail.Problems
	ps.Add(pointer, code, params...)
	f.put(ps[0])
}

func (f *findings) put(p mail.Problem) {
	if len(f.list) >= maxListed {
		f.omitted++
		return
	}
	f.list = append(f.list, p)
}

// errMalformed: the text is not JSON.
var errMalformed = errors.New("malformed JSON")

// readJSON decodes one JSON document into dst, a pointer to a struct of package api, by the rules of that package. It finds
// every problem of shape in one pass: unknown, doubled and missing fields, wrong types, values out of bounds, control characters
// and damaged text, each with its pointer. What is wrong is left as it was in dst.
//
// It is stricter than encoding/json: names are compared exactly, text must be valid UTF-8, and nothing may follow. With patch,
// null sets a pointer field to the zero value and a map's entry to nil; otherwise null is the same as an absent field.
// The error is errMalformed or nil.
func readJSON(data []byte, dst any, patch bool) (findings, error) {
	r := reader{data: data, patch: patch}
	v := reflect.ValueOf(dst).Elem()
	if err := r.object(v, planFor(v.Type())); err != nil {
		return findings{}, err
	}
	if r.space(); r.pos != len(data) {
		return findings{}, errMalformed
	}
	return r.found, nil
}

type reader struct {
	data  []byte
	pos   int
	patch bool
	path  []step
	found findings
	buf   []byte // for texts with escapes
}

// step is one part of the pointer of the value at hand.
type step struct {
	name  string
	index int // when name is empty
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1").Replace

func (r *reader) pointer(more ...string) string {
	var b strings.Builder
	for _, s := range r.path {
		b.WriteByte('/')
		if s.name == "" {
			b.WriteString(strconv.Itoa(s.index))
		} else {
			b.WriteString(escapePointer(shown(s.name)))
		}
	}
	for _, m := range more {
		b.WriteString("/" + escapePointer(shown(m)))
	}
	return b.String()
}

func (r *reader) problem(code string, params ...string) {
	r.found.add(r.pointer(), code, params...)
}

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

func (r *reader) value(v reflect.Value, p *plan, ru *rules) error {
	if r.next() == 'n' {
		return r.null(v, p)
	}
	switch p.kind {
	case kindPointer:
		// Only what is good sets the pointer, so that a wrong value is not taken for a given one.
		e := reflect.New(v.Type().Elem())
		before := len(r.found.list) + r.found.omitted
		if err := r.value(e.Elem(), p.elem, ru); err != nil {
			return err
		}
		if p.elem.kind == kindStruct || len(r.found.list)+r.found.omitted == before {
			v.Set(e)
		}
		return nil
	case kindStruct:
		return r.object(v, p)
	case kindMap:
		return r.mapping(v, p, ru)
	case kindList:
		return r.list(v, p, ru)
	case kindBool:
		return r.boolean(v)
	case kindInt:
		return r.integer(v, ru)
	}
	if r.next() != '"' {
		return r.mismatch("string")
	}
	s, err := r.text()
	if err != nil {
		return err
	}
	switch p.kind {
	case kindTime:
		r.time(v, s)
	case kindBytes:
		b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
		n, err := base64.StdEncoding.Decode(b, s)
		if err != nil {
			r.problem(codeBase64Invalid)
			return nil
		}
		v.SetBytes(b[:n])
	default:
		r.str(v, s, ru)
	}
	return nil
}

func (r *reader) null(v reflect.Value, p *plan) error {
	if err := r.literal("null"); err != nil || !r.patch || p.kind != kindPointer {
		return err
	}
	if p.elem.kind == kindStruct {
		return r.typeProblem("object")
	}
	v.Set(reflect.New(v.Type().Elem()))
	return nil
}

func (r *reader) literal(word string) error {
	if len(r.data)-r.pos < len(word) || string(r.data[r.pos:r.pos+len(word)]) != word {
		return errMalformed
	}
	r.pos += len(word)
	return nil
}

// mismatch reports a value of another type and passes over it.
func (r *reader) mismatch(expected string) error {
	if err := r.skip(0); err != nil {
		return err
	}
	return r.typeProblem(expected)
}

func (r *reader) typeProblem(expected string) error {
	r.problem(codeFieldType, "expected", expected)
	return nil
}

func (r *reader) object(v reflect.Value, p *plan) error {
	if r.next() != '{' {
		return r.mismatch("object")
	}
	var seen uint64
	err := r.members(func(name []byte) error {
		i, ok := p.byName[string(name)]
		if !ok {
			r.path = append(r.path, step{name: string(name)})
			r.problem(codeFieldUnknown)
			err := r.skip(0)
			r.path = r.path[:len(r.path)-1]
			return err
		}
		f := &p.fields[i]
		r.path = append(r.path, step{name: f.name})
		err := r.member(v, f, &seen, 1<<i)
		r.path = r.path[:len(r.path)-1]
		return err
	})
	if err != nil {
		return err
	}
	for i := range p.fields {
		// Of the other kinds the domain says better what is missing.
		if f := &p.fields[i]; f.rules.required && f.plan.kind == kindString && f.rules.text != textRaw && seen&(1<<i) == 0 {
			r.found.add(r.pointer(f.name), mail.CodeFieldRequired)
		}
	}
	return nil
}

// member reads the value of a field.
func (r *reader) member(v reflect.Value, f *field, seen *uint64, bit uint64) error {
	if *seen&bit != 0 {
		r.problem(codeFieldDuplicate)
		return r.skip(0)
	}
	if r.next() == 'n' && !r.patch {
		return r.literal("null")
	}
	*seen |= bit
	if len(f.index) == 1 {
		return r.value(v.Field(f.index[0]), f.plan, &f.rules)
	}
	return r.value(v.FieldByIndex(f.index), f.plan, &f.rules)
}

// members reads an object and gives each name; the callback reads the value.
func (r *reader) members(member func(name []byte) error) error {
	r.pos++
	if r.next() == '}' {
		r.pos++
		return nil
	}
	for {
		if r.next() != '"' {
			return errMalformed
		}
		name, err := r.text()
		if err != nil {
			return err
		}
		if r.next() != ':' {
			return errMalformed
		}
		r.pos++
		if err := member(name); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			return nil
		default:
			return errMalformed
		}
	}
}

func (r *reader) mapping(v reflect.Value, p *plan, ru *rules) error {
	if r.next() != '{' {
		return r.mismatch("object")
	}
	m := reflect.MakeMap(v.Type())
	item := ru.item()
	tooMany := false
	err := r.members(func(name []byte) error {
		key := string(name)
		r.path = append(r.path, step{name: key})
		if key == "" {
			r.path[len(r.path)-1].name = " "
		}
		defer func() { r.path = r.path[:len(r.path)-1] }()
		if tooMany = ru.max > 0 && m.Len() >= ru.max; tooMany {
			return r.skip(0)
		}
		if !r.fits(name, &rules{max: 200}) {
			return r.skip(0)
		}
		k := reflect.ValueOf(key)
		if m.MapIndex(k).IsValid() {
			r.problem(codeFieldDuplicate)
			return r.skip(0)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if r.next() == 'n' {
			if r.patch && p.elem.kind == kindPointer {
				m.SetMapIndex(k, e)
			} else {
				r.problem(codeFieldType, "expected", "string")
			}
			return r.literal("null")
		}
		if err := r.value(e, p.elem, &item); err != nil {
			return err
		}
		m.SetMapIndex(k, e)
		return nil
	})
	if tooMany {
		r.problem(mail.CodeTooMany, "max", strconv.Itoa(ru.max))
	}
	v.Set(m)
	return err
}

func (r *reader) list(v reflect.Value, p *plan, ru *rules) error {
	if r.next() != '[' {
		return r.mismatch("array")
	}
	r.pos++
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	if r.next() == ']' {
		r.pos++
		return nil
	}
	item := ru.item()
	r.path = append(r.path, step{})
	tooMany := false
	for i := 0; ; i++ {
		r.path[len(r.path)-1].index = i
		if tooMany = ru.max > 0 && i >= ru.max; tooMany {
			if err := r.skip(0); err != nil {
				return err
			}
		} else {
			if i == v.Cap() {
				v.Grow(max(i, 4))
			}
			v.SetLen(i + 1)
			if r.next() == 'n' {
				if err := r.mismatch(typeName(p.elem)); err != nil {
					return err
				}
			} else if err := r.value(v.Index(i), p.elem, &item); err != nil {
				return err
			}
		}
		switch r.next() {
		case ',':
			r.pos++
			continue
		case ']':
			r.pos++
		default:
			return errMalformed
		}
		break
	}
	r.path = r.path[:len(r.path)-1]
	if tooMany {
		r.problem(mail.CodeTooMany, "max", strconv.Itoa(ru.max))
	}
	return nil
}

func typeName(p *plan) string {
	if p.kind == kindStruct {
		return "object"
	}
	return "string"
}

func (r *reader) boolean(v reflect.Value) error {
	switch r.next() {
	case 't':
		v.SetBool(true)
		return r.literal("true")
	case 'f':
		v.SetBool(false)
		return r.literal("false")
	}
	return r.mismatch("boolean")
}

func (r *reader) integer(v reflect.Value, ru *rules) error {
	if c := r.next(); c != '-' && (c < '0' || c > '9') {
		return r.mismatch("integer")
	}
	start := r.pos
	if err := r.number(); err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(r.data[start:r.pos]), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return r.typeProblem("integer")
	case err != nil, ru.ranged && (n < ru.lowest || n > ru.utmost):
		r.problem(mail.CodeNumberRange, "min", strconv.FormatInt(ru.lowest, 10), "max", strconv.FormatInt(ru.utmost, 10))
		return nil
	}
	v.SetInt(n)
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

func (r *reader) time(v reflect.Value, s []byte) {
	t, err := time.Parse(time.RFC3339, string(s))
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		r.problem(codeTimeInvalid, "value", shown(string(s)))
		return
	}
	v.Set(reflect.ValueOf(t.UTC()))
}

func (r *reader) str(v reflect.Value, s []byte, ru *rules) {
	if ru.required && ru.text != textRaw && len(bytes.TrimSpace(s)) == 0 {
		r.problem(mail.CodeFieldRequired)
		return
	}
	if !r.fits(s, ru) {
		return
	}
	text := string(s)
	if len(ru.enums) > 0 && text != "" {
		known := false
		for _, e := range ru.enums {
			known = known || e == text
		}
		if !known {
			r.problem(mail.CodeValueUnknown, "value", shown(text), "allowed", strings.Join(ru.enums, ", "))
			return
		}
	}
	v.SetString(text)
}

// fits checks a text against the rules that need no more than the text.
func (r *reader) fits(s []byte, ru *rules) bool {
	if ru.max > 0 && len(s) > ru.max {
		r.problem(mail.CodeFieldTooLong, "max", strconv.Itoa(ru.max))
		return false
	}
	if ru.text == textRaw || printable(s) {
		return true
	}
	if !utf8.Valid(s) {
		r.problem(mail.CodeInvalidUTF8)
		return false
	}
	for _, c := range string(s) {
		switch {
		case (c == '\n' || c == '\r') && ru.text == textLine:
			r.problem(mail.CodeLineBreak)
			return false
		case (c == '\n' || c == '\r' || c == '\t') && ru.text == textBlock:
		case unicode.IsControl(c), 0xFDD0 <= c && c <= 0xFDEF, c&0xFFFE == 0xFFFE:
			r.problem(mail.CodeControlCharacter, "character", fmt.Sprintf("%U", c))
			return false
		}
	}
	return true
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

// shown is the caller's input as a problem repeats it: short and printable.
func shown(s string) string {
	const most = 100
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return utf8.RuneError
		}
		return c
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

// merge adds the problems that the domain found to those of the shape, and leaves out what is said already: of a field, of a
// part of it, or of what it is a part of.
func (f *findings) merge(more mail.Problems) {
	shape := map[string]bool{} // every pointer with a problem of shape, and all above them
	wrong := map[string]bool{}
	for _, p := range f.list {
		wrong[p.Pointer] = true
		for at := p.Pointer; at != ""; at = at[:strings.LastIndexByte(at, '/')] {
			shape[at] = true
		}
	}
next:
	for _, p := range more {
		if shape[p.Pointer] {
			continue
		}
		for at := p.Pointer; strings.Contains(at, "/"); at = at[:strings.LastIndexByte(at, '/')] {
			if wrong[at] {
				continue next
			}
		}
		f.put(p)
	}
}

// err is nil when there is nothing wrong.
func (f *findings) err() error {
	if len(f.list) == 0 {
		return nil
	}
	return &refusal{status: 422, code: codeValidationFailed, problems: f.list, omitted: f.omitted}
}
