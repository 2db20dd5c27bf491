package mail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// memFiles are files by attachment id.
type memFiles map[string][]byte

func (m memFiles) Open(_ context.Context, a Attachment) (io.ReadCloser, error) {
	data, ok := m[a.ID]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// add stores a file and describes it.
func (m memFiles) add(name, mediaType string, data []byte) Attachment {
	id := "att_" + name
	m[id] = data
	sum := sha256.Sum256(data)
	return Attachment{ID: id, SHA256: hex.EncodeToString(sum[:]), Filename: name, MediaType: mediaType, Size: int64(len(data))}
}

func plainContent() *Content {
	return &Content{
		Format: 1, MessageIDHeader: "<01jdf2q8@winprest.example>", Date: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC),
		From: Address{Name: "Études & Conseils SRL", Address: "factures@etudes.example"}, To: []Address{{Address: "compta@zoe.example"}},
		Language: "fr", Subject: "Facture 2026/0042", Text: "Bonjour,\n\nVoici votre facture.",
	}
}

// mustRender renders and writes a mail and checks what holds for every mail.
func mustRender(t testing.TB, c *Content, env Envelope, files Files) (*Rendered, string) {
	t.Helper()
	r, err := Render(context.Background(), c, nil, env, files)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := RenderedSize(c); err != nil || size != r.Size() {
		t.Errorf("RenderedSize is %d, %v; Size says %d", size, err, r.Size())
	}
	var b, again strings.Builder
	n, err := r.WriteTo(&b)
	if err != nil {
		t.Fatal(err)
	}
	if n != r.Size() || n != int64(b.Len()) {
		t.Errorf("wrote %d bytes and said %d; Size says %d", b.Len(), n, r.Size())
	}
	if _, err := r.WriteTo(&again); err != nil || again.String() != b.String() {
		t.Errorf("the second time it wrote other bytes, or: %v", err)
	}
	checkLines(t, b.String(), r.NeedsSMTPUTF8())
	return r, b.String()
}

// checkLines checks the promises of Rendered.
func checkLines(t testing.TB, s string, utf8Header bool) {
	t.Helper()
	inHeader := true
	for len(s) > 0 {
		line, rest, ok := strings.Cut(s, "\r\n")
		switch {
		case !ok:
			t.Errorf("the last line does not end: %q", line)
		case strings.ContainsAny(line, "\r\n"):
			t.Errorf("bare CR or LF: %q", line)
		case len(line) > 998:
			t.Errorf("line of %d octets: %q", len(line), line)
		case strings.HasPrefix(line, "."):
			t.Errorf("line begins with a dot: %q", line)
		case !isASCII(line) && !(inHeader && utf8Header):
			t.Errorf("8-bit line: %q", line)
		case !inHeader && len(line) > foldAt && !strings.Contains(line, "name"):
			t.Errorf("body line of %d columns: %q", len(line), line)
		case inHeader && len(line) > foldAt && strings.Contains(line, "=?utf-8?"):
			t.Errorf("line of %d columns with an encoded word: %q", len(line), line)
		case inHeader && line != "" && strings.TrimSpace(line) == "":
			t.Errorf("header line of nothing but space: %q", line)
		}
		inHeader = inHeader && line != ""
		s = rest
	}
}

var goldens = []struct {
	name string
	make func(c *Content, files memFiles)
	to   string
}{
	{name: "plain", make: func(c *Content, _ memFiles) {
		c.Text = "Bonjour,\n\nVoici votre facture :\n.un point au début\nFrom ici = là\nun espace à la fin \n" + strings.Repeat("très long ", 20)
	}},
	{name: "greek", make: func(c *Content, _ memFiles) {
		c.Subject, c.Text = "Τιμολόγιο", "Αγαπητέ πελάτη,\nεπισυνάπτεται το τιμολόγιο."
	}},
	{name: "alternative", make: func(c *Content, _ memFiles) {
		c.HTML = "<!doctype html>\n<p>Bonjour,</p>\n<p style=\"color: #333\">Voici votre <b>facture</b> de 1.210,00 €.</p>\n"
		c.Automatic = true
		c.ReplyTo = []Address{{Name: "Jean Dupont", Address: "jean@etudes.example"}}
		c.CC = []Address{{Name: `Dupont, "Jean" (copie)`, Address: "copie@etudes.example"}, {Address: "archives@etudes.example"}}
		c.Headers = []Header{{Name: "X-Dossier", Value: "C001"}, {Name: "List-Unsubscribe", Value: "<https://etudes.example/u?" + strings.Repeat("x", 80) + ">, <mailto:stop@etudes.example>"}}
	}},
	{name: "related", make: func(c *Content, files memFiles) {
		c.HTML = `<p><img src="cid:logo@etudes"></p>`
		a := files.add("logo.png", "image/png", []byte("\x89PNG\r\n\x1a\n"))
		a.ContentID = "logo@etudes"
		c.Attachments = []Attachment{a}
	}},
	{name: "mixed", make: func(c *Content, files memFiles) {
		c.HTML = `<p><img src="cid:logo"></p>`
		logo := files.add("logo.png", "image/png", bytes.Repeat([]byte("logo"), 57))
		logo.ContentID = "logo"
		c.Attachments = []Attachment{
			files.add("Café Zoë – facture n° 2026-0042.pdf", "application/pdf", bytes.Repeat([]byte("%PDF"), 30)),
			logo,
			files.add("facture-2026-0042.xml", "text/xml; charset=UTF-8; name=x", []byte("<?xml version=\"1.0\"?>\n<Invoice/>\n")),
			files.add(strings.Repeat("請求書", 12)+".bin", "nonsense", []byte("x")),
			files.add(`a "b" =?c.txt`, "text/plain; charset=iso-8859-15", nil),
		}
	}},
	{name: "scripts", make: func(c *Content, _ memFiles) {
		c.Subject = "Facture n° 42 – Rechnung für Müller – счёт на оплату – 請求書のお知らせ – فاتورة – חשבונית – 👩‍🔧 et encore beaucoup de mots pour finir"
		c.To = []Address{
			{Name: "Café Zoë, Établissements réunis de la Région de Bruxelles-Capitale et environs", Address: "compta@bücher.example"},
			{Name: "山田太郎", Address: "yamada@例え.テスト"},
			{Name: "A. B. C.", Address: "abc@zoe.example"},
		}
	}},
	{name: "smtputf8", make: func(c *Content, _ memFiles) {
		c.To = []Address{{Name: "Zoé", Address: "zoé@bücher.example"}}
	}, to: "zoé@xn--bcher-kva.example"},
	{name: "references", make: func(c *Content, _ memFiles) {
		c.InReplyTo = "<01jd0002@winprest.example>"
		c.References = []string{"<01jd0000@winprest.example>", "<01jd0001@winprest.example>", c.InReplyTo}
	}},
	{name: "only-bcc", make: func(c *Content, _ memFiles) { c.To = nil }, to: "secret@zoe.example"},
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			c, files := plainContent(), memFiles{}
			g.make(c, files)
			env := Envelope{From: "factures@etudes.example", To: []string{"compta@zoe.example"}}
			if g.to != "" {
				env.To = []string{g.to}
			}
			r, got := mustRender(t, c, env, files)
			if r.NeedsSMTPUTF8() != (g.name == "smtputf8") {
				t.Errorf("NeedsSMTPUTF8 is %t", r.NeedsSMTPUTF8())
			}
			if strings.Contains(got, "secret@") {
				t.Error("the header shows a Bcc recipient")
			}
			for line := range strings.Lines(got) {
				if len(line) > 78 && !strings.Contains(line, "name") && !strings.Contains(line, "https:") {
					t.Errorf("line of more than 76 columns: %q", line)
				}
			}
			path := filepath.Join("testdata", "render", g.name+".eml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the mail differs from %s:\n%s", path, got)
			}
		})
	}
}

func TestRenderErrors(t *testing.T) {
	small, large := make([]byte, 1000), bytes.Repeat([]byte("0123456789"), 250_000)
	wrongHash := func(a *Attachment, _ memFiles) { a.SHA256 = strings.Repeat("0", 64) }
	short := func(a *Attachment, files memFiles) { files[a.ID] = files[a.ID][:a.Size-1] }
	long := func(a *Attachment, files memFiles) { files[a.ID] = append(bytes.Clone(files[a.ID]), 'x') }
	missing := func(a *Attachment, files memFiles) { delete(files, a.ID) }
	for _, test := range []struct {
		name    string
		data    []byte
		spoil   func(*Attachment, memFiles)
		want    error
		atWrite bool
	}{
		{"small, hash", small, wrongHash, ErrFileChanged, false},
		{"small, short", small, short, ErrFileChanged, false},
		{"small, long", small, long, ErrFileChanged, false},
		{"small, missing", small, missing, os.ErrNotExist, false},
		{"empty, long", nil, long, ErrFileChanged, false},
		{"large, missing", large, missing, os.ErrNotExist, false},
		{"large, hash", large, wrongHash, ErrFileChanged, true},
		{"large, short", large, short, ErrFileChanged, true},
		{"large, long", large, long, ErrFileChanged, true},
		{"negative size", small, func(a *Attachment, _ memFiles) { a.Size = -1 }, ErrFileChanged, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, files := plainContent(), memFiles{}
			c.Attachments = []Attachment{files.add("a.pdf", "application/pdf", test.data)}
			test.spoil(&c.Attachments[0], files)
			r, err := Render(context.Background(), c, nil, Envelope{}, files)
			if !test.atWrite {
				if !errors.Is(err, test.want) {
					t.Fatalf("Render: got %v, want %v", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			n, err := r.WriteTo(&b)
			if !errors.Is(err, test.want) || n != int64(b.Len()) || n >= r.Size() {
				t.Fatalf("WriteTo: got %v after %d of %d bytes, want %v", err, n, r.Size(), test.want)
			}
			if bytes.Contains(b.Bytes(), []byte("--\r\n")) {
				t.Error("the final boundary was written")
			}
		})
	}
}

// vanishing lets a file be opened once.
type vanishing struct {
	memFiles
	opened int
}

func (v *vanishing) Open(ctx context.Context, a Attachment) (io.ReadCloser, error) {
	if v.opened++; v.opened > 1 {
		return nil, os.ErrNotExist
	}
	return v.memFiles.Open(ctx, a)
}

func TestFileGoneBeforeWriting(t *testing.T) {
	c, files := plainContent(), &vanishing{memFiles: memFiles{}}
	c.Attachments = []Attachment{files.add("a.pdf", "application/pdf", make([]byte, maxHeldFile+1))}
	r, err := Render(context.Background(), c, nil, Envelope{}, files)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.WriteTo(io.Discard); !errors.Is(err, os.ErrNotExist) || n >= r.Size() {
		t.Fatalf("got %v after %d bytes", err, n)
	}
}

// Many small files are not all held: memory has a bound per mail.
func TestHeldFilesAreBounded(t *testing.T) {
	c, files := plainContent(), memFiles{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		c.Attachments = append(c.Attachments, files.add(name+".pdf", "application/pdf", randomBytes(maxHeldFile)))
	}
	r, raw := mustRender(t, c, Envelope{}, files)
	held := 0
	for _, f := range r.files {
		held += len(f.data)
	}
	if held != maxHeld {
		t.Errorf("%d bytes held", held)
	}
	if len(raw) < 6*maxHeldFile*4/3 {
		t.Errorf("%d bytes written", len(raw))
	}
}

// limited takes so many bytes.
type limited struct{ left int }

var errFull = errors.New("full")

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	if l.left -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestFailingWriter(t *testing.T) {
	c, files := plainContent(), memFiles{}
	withFile := *c
	withFile.Attachments = []Attachment{
		files.add("a.pdf", "application/pdf", make([]byte, 100_000)),
		files.add("b.pdf", "application/pdf", make([]byte, maxHeldFile+1)),
	}
	for _, c := range []*Content{c, &withFile} {
		r, _ := mustRender(t, c, Envelope{}, files)
		for _, most := range []int{0, 1, 100, int(r.Size()) / 2, int(r.Size()) - 1} {
			if n, err := r.WriteTo(&limited{most}); !errors.Is(err, errFull) || n != int64(most) {
				t.Errorf("limit %d: got %d, %v", most, n, err)
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Content){
		"unknown format":  func(c *Content) { c.Format = 2 },
		"no format":       func(c *Content) { c.Format = 0 },
		"no sender":       func(c *Content) { c.From = Address{} },
		"header in To":    func(c *Content) { c.To[0].Address = "a@b.example>\r\nBcc: <x@y.example" },
		"no message id":   func(c *Content) { c.MessageIDHeader = "" },
		"header in an id": func(c *Content) { c.InReplyTo = "<a@b>\r\nX: <c@d>" },
		"bad reference":   func(c *Content) { c.References = []string{"a@b"} },
		"reserved header": func(c *Content) { c.Headers = []Header{{"Bcc", "x@y.example"}} },
		"header name":     func(c *Content) { c.Headers = []Header{{"X-A: b\r\nBcc", "x@y.example"}} },
		"content id":      func(c *Content) { c.Attachments = []Attachment{{ContentID: "a>\r\nX: b"}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := plainContent()
			spoil(c)
			if _, err := Render(context.Background(), c, nil, Envelope{}, memFiles{}); err == nil {
				t.Error("rendered")
			} else if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("line break in the error: %q", err)
			}
		})
	}
}

func TestNeedsSMTPUTF8(t *testing.T) {
	for _, test := range []struct {
		to, envelope string
		want         bool
	}{
		{"zoe@bücher.example", "zoe@xn--bcher-kva.example", false},
		{"zoé@bücher.example", "zoe@zoe.example", true},
		{"zoe@zoe.example", "zoé@zoe.example", true},
	} {
		c := plainContent()
		c.To[0].Address = test.to
		if r, _ := mustRender(t, c, Envelope{From: "a@b.example", To: []string{test.envelope}}, nil); r.NeedsSMTPUTF8() != test.want {
			t.Errorf("%s, %s: %t", test.to, test.envelope, !test.want)
		}
	}
}
