package store

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/winprest/facteur/internal/mail"
)

func TestTextsAreShared(t *testing.T) {
	long := strings.Repeat("The amount is payable within thirty days. ", 10)
	// A message of pieces: every second one is a value.
	message := func(pieces ...string) NewMessage {
		c := &mail.Content{}
		for i, p := range pieces {
			if i%2 == 1 {
				c.TextValues = append(c.TextValues, mail.Span{From: len(c.Text), To: len(c.Text) + len(p)})
			}
			c.Text += p
		}
		return NewMessage{Content: c}
	}
	var dense []string
	for range 100 {
		dense = append(dense, "abcd", "x")
	}
	html := message(long, "a", "")
	html.Content.HTML, html.Content.HTMLValues = "<p>a</p>", []mail.Span{{From: 3, To: 4}}
	other := message(long, "b", "")
	other.Content.HTML, other.Content.HTMLValues = "<i>b</i>", []mail.Span{{From: 3, To: 4}}
	tests := []struct {
		name     string
		messages []NewMessage
		groups   string // for each message the letter of its shared text; "-" for none
	}{
		{"none", nil, ""},
		{"one", []NewMessage{message(long, "a", "")}, "-"},
		{"two", []NewMessage{message(long, "a", ""), message(long, "bb", "")}, "AA"},
		{"empty values", []NewMessage{message(long, "", ""), message(long, "", "")}, "AA"},
		{"no values", []NewMessage{message(long), message(long)}, "AA"},
		{"value at the start, values side by side", []NewMessage{message("", "x", "", "y", long), message("", "", "", "zz", long)}, "AA"},
		{"short", []NewMessage{message("Dear ", "a", ""), message("Dear ", "b", "")}, "--"},
		{"more holes than text", []NewMessage{message(dense...), message(dense...)}, "--"},
		{"two languages", []NewMessage{message(long, "a", ""), message("Cher "+long, "a", ""), message(long, "b", ""), message("Cher "+long, "c", ""), message("Beste "+long, "d", "")}, "ABAB-"},
		{"alike in size alone", []NewMessage{message(long, "a", "."), message(long, "b", "!"), message(long, "c", ".")}, "A-A"},
		{"a value elsewhere", []NewMessage{message(long+"a", "x", ""), message(long, "x", "a")}, "--"},
		{"a value that the other has as text", []NewMessage{message(long, "x", "x"), message(long+"x", "x", "")}, "--"},
		{"a hole of its own", []NewMessage{message(long, hole, ""), message(long, "a", ""), message(long+hole, "a", "")}, "---"},
		{"other HTML", []NewMessage{html, other, html}, "A-A"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sub, err := NewSubmission(NewJob{})
			if err != nil {
				t.Fatal(err)
			}
			shared, letters := map[string]*sharedText{}, map[string]byte{}
			if err := sub.Add(test.messages...); err != nil {
				t.Fatal(err)
			}
			size := 0
			for i, s := range sub.shared {
				shared[s.id], letters[s.id] = s, byte('A'+i)
				size += len(s.text) + len(s.html)
			}
			var groups []byte
			for i, row := range sub.rows {
				size += len(row.bodyText) + len(row.bodyHTML)
				stored, letter := storedContent{text: row.bodyText, html: row.bodyHTML, doc: "{}"}, byte('-')
				if row.sharedText != nil {
					stored.sharedID, stored.shared, letter = *row.sharedText, shared[*row.sharedText], letters[*row.sharedText]
				}
				groups = append(groups, letter)
				c := test.messages[i].Content
				if got, err := stored.content(); err != nil || got.Text != c.Text || got.HTML != c.HTML {
					t.Errorf("message %d comes back as %+v, %v", i, got, err)
				}
			}
			if string(groups) != test.groups {
				t.Errorf("shared %s, want %s", groups, test.groups)
			}
			if sub.size != size {
				t.Errorf("%d bytes counted, %d there", sub.size, size)
			}
		})
	}
}

// What the messages share counts once; what each says alone has a bound.
func TestTextsHaveABound(t *testing.T) {
	text := strings.Repeat("a", 1<<20-len(hole)) + hole // which nothing can share
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{"shared": {strings.Repeat("a", 1<<20), true}, "each its own": {text, false}} {
		sub, err := NewSubmission(NewJob{})
		if err != nil {
			t.Fatal(err)
		}
		m := NewMessage{Content: &mail.Content{Text: test.text}}
		for range MaxTexts >> 20 {
			if err := sub.Add(m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := sub.Add(m); errors.Is(err, ErrTexts) == test.ok {
			t.Errorf("%s: one more: %v", name, err)
		}
	}
}

// A job of 10,000 mails is composed in the memory of a few: nothing keeps a content that was added.
func TestSubmissionKeepsNoContent(t *testing.T) {
	sub, err := NewSubmission(NewJob{})
	if err != nil {
		t.Fatal(err)
	}
	var contents []weak.Pointer[mail.Content]
	for range 3 {
		c := &mail.Content{Text: strings.Repeat("The amount is payable. ", 100), Subject: "Invoice"}
		contents = append(contents, weak.Make(c))
		if err := sub.Add(NewMessage{ID: NewID("msg"), Content: c, Detail: MessageDetail{ExternalID: "F-1"}}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	for i, c := range contents {
		if c.Value() != nil {
			t.Errorf("the content of message %d is kept", i)
		}
	}
	runtime.KeepAlive(sub)
}

// Values of another text are noticed: a mail with a value in the wrong place would be worse than none.
func TestFillHolesCounts(t *testing.T) {
	for _, test := range []struct {
		shared, values string
		ok             bool
	}{
		{"", "", true},
		{"a", "", true},
		{"a", "b", false},
		{"a", hole, false},
		{"a" + hole, "", true},
		{"a" + hole, "b", true},
		{"a" + hole, "b" + hole + "c", false},
		{hole + hole, "b" + hole + "c", true},
		{hole + hole, "b", false},
	} {
		if got, err := fillHoles(test.shared, test.values); err == nil != test.ok {
			t.Errorf("%q with %q: %q, %v", test.shared, test.values, got, err)
		}
	}
}

func FuzzHoles(f *testing.F) {
	f.Add("Dear Zoé, the invoice 42 of today.", 5, 9, 23, 25)
	f.Add("", 0, 0, 0, 0)
	f.Add("é", 1, 1, 2, 2)
	f.Fuzz(func(t *testing.T, text string, a, b, c, d int) {
		if strings.Contains(text, hole) {
			return
		}
		at, spans := 0, []mail.Span(nil)
		for _, s := range [][2]int{{a, b}, {c, d}} {
			if s[0] < at || s[1] < s[0] || s[1] > len(text) {
				continue
			}
			spans, at = append(spans, mail.Span{From: s[0], To: s[1]}), s[1]
		}
		shared := withHoles(text, spans)
		if strings.Count(shared, hole) != len(spans) { // pieces of broken UTF-8 may make one; no text that was checked has any
			return
		}
		if !fits(shared, text, spans) {
			t.Fatalf("%q does not fit %q", shared, text)
		}
		if got, err := fillHoles(shared, valuesOf(text, spans)); err != nil || got != text {
			t.Errorf("%q with %q gives %q, %v", shared, valuesOf(text, spans), got, err)
		}
	})
}
