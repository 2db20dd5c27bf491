package server

import (
	"encoding"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// plan is how values of one Go type are read from JSON. Plans are made once per type.
type plan struct {
	kind   kind
	elem   *plan // of a pointer, list or map
	fields []field
	byName map[string]int
}

type kind int

const (
	kindString kind = iota
	kindBool
	kindInt
	kindTime
	kindBytes
	kindStruct
	kindPointer
	kindList
	kindMap
)

// field is one member of an object.
type field struct {
	name  string
	index []int
	plan  *plan
	rules rules
}

// rules are what a field's tags say; see package api.
type rules struct {
	required       bool
	max, itemMax   int // bytes of a string, entries of a list or map; 0: no limit
	enums          []string
	ranged         bool
	lowest, utmost int64
	text           textRule
}

type textRule int

const (
	textLine  textRule = iota // one line, no control characters
	textBlock                 // line breaks and tabs may be
	textRaw                   // the domain checks it
)

var (
	plans    sync.Map // reflect.Type → *plan
	timeType = reflect.TypeFor[time.Time]()
)

// planFor makes the plan of a type of package api. A type that it cannot read is a mistake of ours and panics, in the first
// test that uses it.
func planFor(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := newPlan(t)
	actual, _ := plans.LoadOrStore(t, p)
	return actual.(*plan)
}

func newPlan(t reflect.Type) *plan {
	if t == timeType {
		return &plan{kind: kindTime}
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		panic("server: no plan for " + t.String())
	}
	switch t.Kind() {
	case reflect.String:
		return &plan{kind: kindString}
	case reflect.Bool:
		return &plan{kind: kindBool}
	case reflect.Int, reflect.Int64:
		return &plan{kind: kindInt}
	case reflect.Pointer:
		return &plan{kind: kindPointer, elem: planFor(t.Elem())}
	case reflect.Map:
		return &plan{kind: kindMap, elem: planFor(t.Elem())}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &plan{kind: kindBytes}
		}
		return &plan{kind: kindList, elem: planFor(t.Elem())}
	case reflect.Struct:
		p := &plan{kind: kindStruct, byName: map[string]int{}}
		p.addFields(t, nil)
		if len(p.fields) > 64 {
			panic("server: too many fields in " + t.String())
		}
		return p
	}
	panic("server: no plan for " + t.String())
}

func (p *plan) addFields(t reflect.Type, under []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(under), i)
		if f.Anonymous {
			p.addFields(f.Type, index)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p.byName[name] = len(p.fields)
		p.fields = append(p.fields, field{name: name, index: index, plan: planFor(f.Type), rules: readRules(f.Tag)})
	}
}

func readRules(tag reflect.StructTag) (r rules) {
	for _, rule := range strings.Split(tag.Get("validate"), ",") {
		key, value, _ := strings.Cut(rule, "=")
		switch key {
		case "required":
			r.required = true
		case "max":
			r.max = number(value)
		case "itemmax":
			r.itemMax = number(value)
		}
	}
	if e := tag.Get("enums"); e != "" {
		r.enums = strings.Split(e, ",")
	}
	if low, high := tag.Get("minimum"), tag.Get("maximum"); low != "" {
		r.ranged, r.lowest, r.utmost = true, int64(number(low)), int64(number(high))
	}
	switch tag.Get("text") {
	case "block":
		r.text = textBlock
	case "raw":
		r.text = textRaw
	}
	return r
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("server: tag: " + err.Error())
	}
	return n
}

// item gives the rules of an entry of a list or map that has rules r.
func (r *rules) item() rules {
	return rules{max: r.itemMax, enums: r.enums, text: r.text}
}
