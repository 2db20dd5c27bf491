package texts

import (
	"maps"
	"regexp"
	"slices"
	"testing"
)

var (
	snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	// A far end's reply codes are called codes too.
	foreign = regexp.MustCompile(`^[0-9]+$`)
)

// Every code that the program can give has texts, no text is left over, and the texts want no parameter that their code does
// not come with. The codes are found in the program's own sources, see flow.
func TestEveryCodeHasTexts(t *testing.T) {
	f := sources(t, "./api/...", "./internal/...", "./cmd/...")
	found := f.find()
	if len(found) < 20 {
		t.Fatalf("only %d codes found in the sources: the search is broken", len(found))
	}
	for _, code := range slices.Sorted(maps.Keys(found)) {
		u := found[code]
		if foreign.MatchString(code) {
			continue
		}
		if !snake.MatchString(code) {
			t.Errorf("%s: the code %q is not in snake case", u.at, code)
			continue
		}
		tx, ok := languages[Default].Problems[code]
		if !ok {
			t.Errorf("%s: the code %q has no texts; its params are %q", u.at, code, u.given())
			continue
		}
		for _, p := range placeholders(tx.Detail) {
			if !u.anyParams && !slices.Contains(u.given(), p) {
				t.Errorf("%s: the texts of %q want the parameter %q; it comes with %q", u.at, code, p, u.given())
			}
		}
	}
	for _, code := range Codes() {
		if _, ok := found[code]; !ok && code != unknown {
			t.Errorf("%q has texts and is given nowhere", code)
		}
	}
}
