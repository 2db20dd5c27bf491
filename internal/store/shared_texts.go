package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/winprest/facteur/internal/mail"
)

// The mails of a batch mostly say the same: their texts differ in a name, a number, a date. What they have in common is stored once
// for a submission, as a sharedText, and a mail's own texts are then its values alone. Nobody else knows: a content is read whole.

// hole stands in a shared text where each mail has a value of its own, and between the values of a mail. It is a noncharacter, so
// that no text has it (Unicode 23.7).
const hole = "\uFDD2"

// leastShared is from how many bytes, saved for each mail, a text is worth a row of its own.
const leastShared = 256

// sharedText is the text and the HTML of several mails, with a hole for each value.
type sharedText struct {
	id         string // empty: no message was written with it
	text, html string
}

// textShape tells most texts apart that do not fit the same sharedText.
type textShape struct{ text, textValues, html, htmlValues int }

func shapeOf(c *mail.Content) textShape {
	shape := textShape{len(c.Text), len(c.TextValues), len(c.HTML), len(c.HTMLValues)}
	for _, v := range c.TextValues {
		shape.text -= v.To - v.From
	}
	for _, v := range c.HTMLValues {
		shape.html -= v.To - v.From
	}
	return shape
}

// shapeTexts is what a submission knows of the texts of one shape.
type shapeTexts struct {
	first                  int // the row that came first
	textValues, htmlValues []mail.Span
	shared                 *sharedText // of it; nil until there is a second: a text that nobody shares is not copied
}

// addTexts gives the latest row its texts: whole, or what it shares with a row before and its own values.
func (s *Submission) addTexts(c *mail.Content) {
	i := len(s.rows) - 1
	s.rows[i].bodyText, s.rows[i].bodyHTML = c.Text, c.HTML
	s.size += len(c.Text) + len(c.HTML)
	shape := shapeOf(c)
	if shape.text+shape.html-len(hole)*(shape.textValues+shape.htmlValues) < leastShared || strings.Contains(c.Text, hole) || strings.Contains(c.HTML, hole) {
		return
	}
	like := s.shapes[shape]
	if like == nil {
		if s.shapes == nil {
			s.shapes = map[textShape]*shapeTexts{}
		}
		s.shapes[shape] = &shapeTexts{first: i, textValues: c.TextValues, htmlValues: c.HTMLValues}
		return
	}
	if like.shared == nil {
		first := &s.rows[like.first]
		like.shared = &sharedText{text: withHoles(first.bodyText, like.textValues), html: withHoles(first.bodyHTML, like.htmlValues)}
	}
	if !fits(like.shared.text, c.Text, c.TextValues) || !fits(like.shared.html, c.HTML, c.HTMLValues) {
		return
	}
	if like.shared.id == "" {
		like.shared.id = NewID("txt")
		s.shared = append(s.shared, like.shared)
		s.size += len(like.shared.text) + len(like.shared.html)
		s.share(like.first, like.shared, like.textValues, like.htmlValues)
	}
	s.share(i, like.shared, c.TextValues, c.HTMLValues)
}

// share leaves a row its values and the name of what it shares.
func (s *Submission) share(i int, t *sharedText, textValues, htmlValues []mail.Span) {
	r := &s.rows[i]
	s.size -= len(r.bodyText) + len(r.bodyHTML)
	r.sharedText, r.bodyText, r.bodyHTML = &t.id, valuesOf(r.bodyText, textValues), valuesOf(r.bodyHTML, htmlValues)
	s.size += len(r.bodyText) + len(r.bodyHTML)
}

// withHoles is the text with a hole in the place of each value.
func withHoles(text string, values []mail.Span) string {
	var b strings.Builder
	at := 0
	for _, v := range values {
		b.WriteString(text[at:v.From])
		b.WriteString(hole)
		at = v.To
	}
	b.WriteString(text[at:])
	return b.String()
}

// fits says whether shared is withHoles of the text.
func fits(shared, text string, values []mail.Span) bool {
	at := 0
	for _, v := range values {
		rest, ok := strings.CutPrefix(shared, text[at:v.From])
		if !ok {
			return false
		}
		if shared, ok = strings.CutPrefix(rest, hole); !ok {
			return false
		}
		at = v.To
	}
	return shared == text[at:]
}

// valuesOf is what a text has that its withHoles has not.
func valuesOf(text string, values []mail.Span) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(hole)
		}
		b.WriteString(text[v.From:v.To])
	}
	return b.String()
}

// fillHoles makes a text of withHoles and valuesOf it.
func fillHoles(shared, values string) (string, error) {
	holes := strings.Count(shared, hole)
	if more := strings.Count(values, hole); more != max(holes-1, 0) || holes == 0 && values != "" {
		return "", fmt.Errorf("a shared text with %d holes and %d values", holes, more+1)
	}
	var b strings.Builder
	b.Grow(len(shared) + len(values))
	for {
		literal, rest, more := strings.Cut(shared, hole)
		b.WriteString(literal)
		if !more {
			return b.String(), nil
		}
		var value string
		value, values, _ = strings.Cut(values, hole)
		b.WriteString(value)
		shared = rest
	}
}

// storedContent is a message's content as it is stored.
type storedContent struct {
	subject, text, html string // the latter two are values when there is a shared text
	sharedID            string // empty: none
	doc                 string // JSON of the rest
	shared              *sharedText
}

// columns are where subject, text, html, shared_text_id ("" for null) and content are scanned to.
func (s *storedContent) columns() []any {
	return []any{&s.subject, &s.text, &s.html, &s.sharedID, &s.doc}
}

func (s *storedContent) content() (*mail.Content, error) {
	c := &mail.Content{}
	if err := json.Unmarshal([]byte(s.doc), c); err != nil {
		return nil, err
	}
	c.Subject, c.Text, c.HTML = s.subject, s.text, s.html
	if s.sharedID == "" {
		return c, nil
	}
	if s.shared == nil {
		return nil, fmt.Errorf("the shared text %s could not be read", s.sharedID)
	}
	var err error
	if c.Text, err = fillHoles(s.shared.text, s.text); err == nil {
		c.HTML, err = fillHoles(s.shared.html, s.html)
	}
	return c, err
}

// sharedTexts keeps the shared texts that lanes use. They never change.
type sharedTexts struct {
	mu   sync.Mutex
	byID map[sharedKey]*sharedText
	size int
}

type sharedKey struct{ tenant, id string }

// maxSharedTexts is how many bytes of them are kept. A lane that finds its text gone reads it again, once for a claim.
const maxSharedTexts = 2 << 20

func (s *sharedTexts) get(k sharedKey) *sharedText {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[k]
}

func (s *sharedTexts) put(k sharedKey, t *sharedText) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := len(t.text) + len(t.html)
	if s.byID == nil || s.size+size > maxSharedTexts {
		s.byID, s.size = map[sharedKey]*sharedText{}, 0
	}
	s.byID[k] = t
	s.size += size
}

const sharedTextSQL = `SELECT text, html FROM shared_texts WHERE tenant_id = $1 AND id = $2`

// sharedText gives a shared text, from memory if it is there.
func (s *Store) sharedText(ctx context.Context, tenantID, id string) (*sharedText, error) {
	k := sharedKey{tenantID, id}
	if t := s.shared.get(k); t != nil {
		return t, nil
	}
	t := &sharedText{id: id}
	if err := s.row(ctx, sharedTextSQL, []any{tenantID, id}, &t.text, &t.html); err != nil {
		return nil, fmt.Errorf("shared text %s: %w", id, err)
	}
	s.shared.put(k, t)
	return t, nil
}

// findSharedTexts gives the claimed contents what they share. The claim stands already: a text that cannot be read is the trouble of
// its own mails alone, when their turn comes.
func (s *Store) findSharedTexts(ctx context.Context, claimed []Claimed) {
	ctx = context.WithoutCancel(ctx)
	var last *sharedText // the next mail's, nearly always
	for i := range claimed {
		c := &claimed[i]
		if c.stored.sharedID == "" {
			continue
		}
		if last == nil || last.id != c.stored.sharedID {
			t, err := s.sharedText(ctx, c.TenantID, c.stored.sharedID)
			if err != nil {
				s.log.Error("shared text", "message", c.ID, "error", err)
				continue
			}
			last = t
		}
		c.stored.shared = last
	}
}
