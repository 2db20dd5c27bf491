package server

import (
	"strings"

	"github.com/winprest/facteur/internal/mail"
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
