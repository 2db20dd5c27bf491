package mail

import (
	"bytes"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// FuzzRender renders any texts, also those that Compose would have refused, and reads the mail back with the standard library.
func FuzzRender(f *testing.F) {
	f.Add("Zoé", "Facture n° 42", "Bonjour", "<p>Bonjour</p>", "facture é.pdf", "application/pdf", "C001", []byte("%PDF"))
	f.Add("a\r\nBcc: x@y", "s\r\n\r\nbody", ".\r\n..\rx\n.", "", "a\r\nb", "a/b\r\nc: d", "v\r\nBcc: x@y.example", []byte(nil))
	f.Add(`"Q" \ , ;`, "=?utf-8?Q?x?=", "From me\n--=_a\nend ", "=", `a"b=?utf-8?q?.txt`, "text/plain; charset=x", "  two  spaces ", []byte{0})
	f.Add("\xff\xfe", strings.Repeat("x", 2000), strings.Repeat("é", 500), strings.Repeat(" ", 200), "..", "multipart/mixed", "\t", []byte("."))
	f.Add(strings.Repeat("a b ", 99), strings.Repeat("日", 99), "tab\t\n\t", "\x00", strings.Repeat("日", 99), "text/xml", strings.Repeat("ab ", 99), []byte("\r\n"))
	f.Fuzz(checkRoundTrip)
}

// TestRoundTrip has texts of all lengths from pieces that are special somewhere, for what depends on columns.
func TestRoundTrip(t *testing.T) {
	pieces := []string{"a", "word", " ", "  ", ".", "=", "?", "_", `"`, `\`, ",", "é", "日", "🙂", "=?", "?=", "\t", "\n", "\r\n", "From ", "--", "=_"}
	r := rand.New(rand.NewPCG(3, 4))
	random := func(kinds int) string {
		var b strings.Builder
		for range r.IntN(120) {
			b.WriteString(pieces[r.IntN(kinds)])
		}
		return b.String()
	}
	for range 2000 {
		ascii, any := 11, len(pieces)
		kinds := []int{ascii, any}[r.IntN(2)]
		checkRoundTrip(t, random(kinds), random(kinds), random(any), random(any), random(kinds), "application/pdf", random(kinds), randomBytes(r.IntN(200)))
		if t.Failed() {
			return
		}
	}
}

func checkRoundTrip(t *testing.T, name, subject, text, html, filename, mediaType, value string, data []byte) {
	c, files := plainContent(), memFiles{}
	c.From.Name, c.Subject, c.Text, c.HTML = name, subject, text, html
	c.To = []Address{{name + subject, "a@b.example"}, {value, "c@d.example"}}
	c.Headers = []Header{{"X-Value", value}, {"X-" + strings.Repeat("Long-Name", 8), subject}}
	if data != nil {
		c.Attachments = []Attachment{files.add(filename, mediaType, data)}
		image := files.add(filename, mediaType, data)
		image.ContentID = "image"
		c.Attachments = append(c.Attachments, image)
	}
	_, raw := mustRender(t, c, Envelope{}, files)
	msg, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}

	allowed := []string{"Date", "From", "To", "Subject", "Message-Id", "X-Value", "X-" + "Long-Name" + strings.Repeat("long-Name", 7),
		"Mime-Version", "Content-Type", "Content-Transfer-Encoding"}
	for key, values := range msg.Header {
		if !slices.Contains(allowed, key) || len(values) != 1 {
			t.Errorf("header %q: %q", key, values)
		}
	}
	words := mime.WordDecoder{}
	for key, want := range map[string]string{"Subject": subject, "X-Value": value, allowed[6]: subject} {
		if got, err := words.DecodeHeader(msg.Header.Get(key)); err != nil || got != cleanLine(want) {
			t.Errorf("%s: %q, %v; want %q", key, got, err, cleanLine(want))
		}
	}
	for key, want := range map[string][]string{"From": {name}, "To": {name + subject, value}} {
		got, err := msg.Header.AddressList(key)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %v, %v", key, got, err)
		}
		for i := range want {
			if got[i].Name != cleanLine(want[i]) {
				t.Errorf("%s: %q, want %q", key, got[i].Name, cleanLine(want[i]))
			}
		}
	}

	parts := readParts(t, textproto.MIMEHeader(msg.Header), msg.Body)
	texts := []string{text}
	if html != "" {
		texts = append(texts, html)
	}
	for i, want := range texts {
		want = strings.ReplaceAll(newlines(strings.ToValidUTF8(want, "\uFFFD")), "\n", "\r\n")
		if got := string(parts[i].body); got != want && !(len(parts) == 1 && got == want+"\r\n") {
			t.Errorf("text %d: %q, want %q", i, got, want)
		}
	}
	if len(parts) != len(texts)+len(c.Attachments) {
		t.Fatalf("%d parts", len(parts))
	}
	for _, p := range parts[len(texts):] {
		if !bytes.Equal(p.body, data) {
			t.Errorf("file: %q, want %q", p.body, data)
		}
		if _, params, err := mime.ParseMediaType(p.header.Get("Content-Disposition")); err != nil || params["filename"] != cleanFilename(filename) {
			t.Errorf("file name: %q, %v; want %q", params["filename"], err, cleanFilename(filename))
		}
		_, params, err := mime.ParseMediaType(p.header.Get("Content-Type"))
		if got, err := words.DecodeHeader(params["name"]); err != nil || got != cleanFilename(filename) {
			t.Errorf("name: %q, %v; want %q", got, err, cleanFilename(filename))
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// leaf is a part of a mail that has no parts.
type leaf struct {
	header textproto.MIMEHeader
	body   []byte // decoded
}

// readParts gives the leaves of a mail, in order.
func readParts(t *testing.T, header textproto.MIMEHeader, body io.Reader) []leaf {
	mediaType, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(mediaType, "multipart/") {
		var leaves []leaf
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return leaves
			}
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, readParts(t, p.Header, p)...)
		}
	}
	switch encoding := header.Get("Content-Transfer-Encoding"); encoding {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	default:
		t.Fatalf("encoding %q", encoding)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return []leaf{{header, data}}
}
