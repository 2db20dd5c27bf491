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

func (r *reader) pointer(more ...string) string {
	var b strings.Builder
	for _, s := range r.path {
		b.WriteByte('/')
		if s.name == "" {
			b.WriteString(strconv.Itoa(s.index))
		} else {
			b.WriteString(mail.EscapePointer(mail.Shown(s.name)))
		}
	}
	for _, m := range more {
		b.WriteString("/" + mail.EscapePointer(mail.Shown(m)))
	}
	return b.String()
}

func (r *reader) problem(code string, params ...string) {
	r.found.add(r.pointer(), code, params...)
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

func (r *reader) time(v reflect.Value, s []byte) {
	t, err := time.Parse(time.RFC3339, string(s))
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		r.problem(codeTimeInvalid, "value", mail.Shown(string(s)))
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
			r.problem(mail.CodeValueUnknown, "value", mail.Shown(text), "allowed", strings.Join(ru.enums, ", "))
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
