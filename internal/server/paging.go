package server

import (
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// query reads the parameters of a request's query and gathers what is wrong with them.
type query struct {
	values   url.Values
	known    map[string]bool
	problems mail.Problems
}

func newQuery(c *gin.Context) *query {
	q := &query{known: map[string]bool{}}
	var err error
	if q.values, err = url.ParseQuery(c.Request.URL.RawQuery); err != nil {
		q.problems.Add("?", codeParameter, "value", mail.Shown(c.Request.URL.RawQuery))
	}
	return q
}

// text is a parameter of at most 200 printable bytes; "" when it is not there.
func (q *query) text(name string) string {
	q.known[name] = true
	v := q.values.Get(name)
	if len(q.values[name]) > 1 || len(v) > 200 || !utf8.ValidString(v) || !noControls(v) {
		q.problems.Add("?"+name, codeParameter, "value", mail.Shown(v))
		return ""
	}
	return v
}

func noControls(s string) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// oneOf is a parameter with a fixed set of values.
func (q *query) oneOf(name string, allowed ...string) string {
	v := q.text(name)
	if v == "" {
		return ""
	}
	list := ""
	for _, a := range allowed {
		if v == a {
			return v
		}
		if list != "" {
			list += ", "
		}
		list += a
	}
	q.problems.Add("?"+name, mail.CodeValueUnknown, "value", mail.Shown(v), "allowed", list)
	return ""
}

// time is a parameter in RFC 3339; the zero time when it is not there.
func (q *query) time(name string) time.Time {
	v := q.text(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		q.problems.Add("?"+name, codeTimeInvalid, "value", mail.Shown(v))
		return time.Time{}
	}
	return t.UTC()
}

// number is a whole number from 1 to most; 0 when it is not there.
func (q *query) number(name string, most int64) int64 {
	v := q.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > most {
		q.problems.Add("?"+name, mail.CodeNumberRange, "min", "1", "max", strconv.FormatInt(most, 10))
		return 0
	}
	return n
}

// wait is a duration, in seconds or as "30s", of at most most; 0 when it is not there.
func (q *query) wait(name string, most time.Duration) time.Duration {
	v := q.text(name)
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if s, errSeconds := strconv.ParseUint(v, 10, 16); errSeconds == nil {
		d, err = time.Duration(s)*time.Second, nil //nolint:gosec // 16 bits
	}
	switch {
	case err != nil:
		q.problems.Add("?"+name, codeParameter, "value", mail.Shown(v))
	case d < 0 || d > most:
		q.problems.Add("?"+name, mail.CodeNumberRange, "min", "0", "max", strconv.Itoa(int(most.Seconds())))
	}
	return d
}

// page reads the parameters that every list has.
func (q *query) page() store.Page {
	return store.Page{Cursor: q.text("cursor"), Limit: int(q.number("limit", store.MaxPage))}
}

// err is what is wrong, unknown parameters included: a filter that is misspelt must not list everything.
func (q *query) err() error {
	for name := range q.values {
		if !q.known[name] {
			q.problems.Add("?"+mail.Shown(name), codeFieldUnknown)
		}
	}
	return q.problems.Err()
}

// listOf is one page of the wire's items.
func listOf[S, T any](l *store.List[S], convert func(S) T) api.List[T] {
	page := api.List[T]{Items: make([]T, len(l.Items)), NextCursor: l.Next}
	for i, item := range l.Items {
		page.Items[i] = convert(item)
	}
	return page
}
