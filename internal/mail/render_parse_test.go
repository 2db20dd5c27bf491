package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"
	"github.com/jhillyerd/enmime"
)

// fullContent has one of everything.
func fullContent(files memFiles) *Content {
	c := plainContent()
	c.Subject = "Rappel : facture n° 2026/0042 – échéance dépassée, 請求書, счёт на оплату"
	c.To = []Address{{"Café Zoë", "compta@zoe.example"}, {`Dupont, "Jean"`, "jean@zoe.example"}, {"", "bare@zoe.example"}}
	c.Text = "Bonjour,\n\n.un point\nFrom ici\n" + strings.Repeat("très long ", 50) + "\n\nÀ bientôt"
	c.HTML = "<p class=\"x\">Très <b>bien</b> <img src=\"cid:logo\"></p>\n" + strings.Repeat("<td>&nbsp;</td>", 50) + "\n"
	logo := files.add("logo.png", "image/png", randomBytes(300))
	logo.ContentID = "logo"
	c.Attachments = []Attachment{
		files.add("Facture n° 2026-0042 – Café Zoë.pdf", "application/pdf", randomBytes(100_000)),
		logo,
		files.add("facture.xml", "text/xml", []byte("<?xml version=\"1.0\"?>\n<Invoice>é</Invoice>\r\n")),
		files.add("conditions générales "+strings.Repeat("très longues ", 8)+".pdf", "application/pdf", randomBytes(57*3)),
		files.add("plan.zip", "", randomBytes(maxHeldFile+1000)),
		files.add("vide.txt", "text/plain", nil),
	}
	return c
}

// found is what a parser found in a mail.
type found struct {
	subject, text, html string
	names               []string          // of To
	files               map[string]string // SHA-256 by name
}

func (got *found) check(t *testing.T, c *Content) {
	t.Helper()
	if got.subject != c.Subject {
		t.Errorf("subject: %q", got.subject)
	}
	if newlines(got.text) != c.Text {
		t.Errorf("text: %q", got.text)
	}
	if newlines(got.html) != c.HTML {
		t.Errorf("html: %q", got.html)
	}
	if len(got.names) != len(c.To) {
		t.Fatalf("recipients: %q", got.names)
	}
	for i := range c.To {
		if got.names[i] != c.To[i].Name {
			t.Errorf("recipient: %q, want %q", got.names[i], c.To[i].Name)
		}
	}
	if len(got.files) != len(c.Attachments) {
		t.Errorf("%d files: %v", len(got.files), got.files)
	}
	for _, a := range c.Attachments {
		if got.files[a.Filename] != a.SHA256 {
			t.Errorf("file %q: %q", a.Filename, got.files[a.Filename])
		}
	}
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestReadByEnmime(t *testing.T) {
	files := memFiles{}
	c := fullContent(files)
	_, raw := mustRender(t, c, Envelope{}, files)
	e, err := enmime.ReadEnvelope(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range e.Errors {
		t.Errorf("enmime: %v", problem)
	}
	got := found{subject: e.GetHeader("Subject"), text: e.Text, html: e.HTML, files: map[string]string{}}
	to, err := e.AddressList("To")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		got.names = append(got.names, a.Name)
	}
	for _, p := range append(e.Attachments, e.Inlines...) {
		got.files[p.FileName] = hexSum(p.Content)
	}
	got.check(t, c)
	if len(e.Inlines) != 1 || e.Inlines[0].ContentID != "logo" {
		t.Errorf("inline images: %v", e.Inlines)
	}
}

func TestReadByGoMessage(t *testing.T) {
	files := memFiles{}
	c := fullContent(files)
	_, raw := mustRender(t, c, Envelope{}, files)
	r, err := gomail.CreateReader(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	got := found{files: map[string]string{}}
	if got.subject, err = r.Header.Subject(); err != nil {
		t.Fatal(err)
	}
	to, err := r.Header.AddressList("To")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		got.names = append(got.names, a.Name)
	}
	if date, err := r.Header.Date(); err != nil || !date.Equal(c.Date) {
		t.Errorf("date: %v, %v", date, err)
	}
	if id, err := r.Header.MessageID(); err != nil || "<"+id+">" != c.MessageIDHeader {
		t.Errorf("message id: %q, %v", id, err)
	}
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		switch h := p.Header.(type) {
		case *gomail.AttachmentHeader:
			name, err := h.Filename()
			if err != nil {
				t.Error(err)
			}
			got.files[name] = hexSum(body)
		case *gomail.InlineHeader:
			switch kind, _, _ := h.ContentType(); kind {
			case "text/plain":
				got.text = string(body)
			case "text/html":
				got.html = string(body)
			default:
				_, params, err := h.ContentDisposition()
				if err != nil || h.Get("Content-Id") != "<logo>" {
					t.Errorf("inline image: %q, %v", h.Get("Content-Id"), err)
				}
				got.files[params["filename"]] = hexSum(body)
			}
		}
	}
	got.check(t, c)
}

// The layers of the mail, as a mail program walks them.
func TestLayers(t *testing.T) {
	files := memFiles{}
	_, raw := mustRender(t, fullContent(files), Envelope{}, files)
	e, err := gomessage.Read(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = e.Walk(func(path []int, e *gomessage.Entity, err error) error {
		kind, _, _ := e.Header.ContentType()
		got = append(got, strings.Repeat(" ", len(path))+kind)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `multipart/mixed
 multipart/alternative
  text/plain
  multipart/related
   text/html
   image/png
 application/pdf
 application/xml
 application/pdf
 application/octet-stream
 text/plain`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got:\n%s", s)
	}
}

func TestAppendBase64(t *testing.T) {
	data := randomBytes(1000)
	for n := range data {
		got := appendBase64(make([]byte, 0, base64Size(int64(n))), data[:n])
		if int64(len(got)) != base64Size(int64(n)) {
			t.Fatalf("%d bytes: %d, and base64Size says %d", n, len(got), base64Size(int64(n)))
		}
		leaves := readParts(t, map[string][]string{"Content-Type": {"a/b"}, "Content-Transfer-Encoding": {"base64"}}, bytes.NewReader(got))
		if !bytes.Equal(leaves[0].body, data[:n]) {
			t.Fatalf("%d bytes come back otherwise", n)
		}
	}
}
