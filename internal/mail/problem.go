package mail

import "strings"

// Problem is one thing that is wrong with one field of the caller's input. It carries no prose: Code and Params select and
// fill a text in the reader's language, which is the server's business.
type Problem struct {
	// Pointer is the JSON pointer (RFC 6901) of the field, relative to the object that was checked: "/to/0/address".
	Pointer string
	// Code is stable and documented: "address_invalid", "token_unfilled".
	Code string
	// Params fill the text: {"token": "NUMFACT"}. They may hold the caller's own input, never a secret.
	Params map[string]string
}

// Problems is every problem of one input. As an error it is meant for a log; people get the texts.
type Problems []Problem

// Add appends a problem; params are key, value pairs.
func (ps *Problems) Add(pointer, code string, params ...string) {
	p := Problem{Pointer: pointer, Code: code}
	if len(params) > 0 {
		p.Params = make(map[string]string, len(params)/2)
		for i := 0; i+1 < len(params); i += 2 {
			p.Params[params[i]] = params[i+1]
		}
	}
	*ps = append(*ps, p)
}

// Under appends the problems of a part of the input, found at prefix.
func (ps *Problems) Under(prefix string, sub Problems) {
	for _, p := range sub {
		p.Pointer = prefix + p.Pointer
		*ps = append(*ps, p)
	}
}

// Err is nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Pointer + ": " + p.Code)
	}
	return b.String()
}
