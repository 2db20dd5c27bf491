package mail

import (
	"context"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func benchContent() *Content {
	c := plainContent()
	c.To[0].Name = "Café Zoë"
	c.Text = strings.Repeat("Veuillez trouver ci-joint votre facture, à payer avant l'échéance.\n", 15)
	c.HTML = "<html><body>" + strings.Repeat("<p style=\"margin:0\">Veuillez trouver ci-joint votre facture, à payer avant l'échéance.</p>\n", 20) + "</body></html>"
	return c
}

func benchmarkRender(b *testing.B, c *Content, files Files) {
	ctx, env := context.Background(), Envelope{From: "a@b.example", To: []string{"c@d.example"}}
	b.ReportAllocs()
	for b.Loop() {
		r, err := Render(ctx, c, nil, env, files)
		if err != nil {
			b.Fatal(err)
		}
		n, err := r.WriteTo(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

// 3 KB of text and HTML.
func BenchmarkRenderText(b *testing.B) { benchmarkRender(b, benchContent(), nil) }

func BenchmarkRenderPDF100K(b *testing.B) {
	c, files := benchContent(), memFiles{}
	c.Attachments = []Attachment{files.add("facture.pdf", "application/pdf", randomBytes(100<<10))}
	benchmarkRender(b, c, files)
}

func BenchmarkRenderStreamed5M(b *testing.B) {
	c, files := benchContent(), memFiles{}
	c.Attachments = []Attachment{files.add("plan.pdf", "application/pdf", randomBytes(5<<20))}
	benchmarkRender(b, c, files)
}

// The second writing of a mail has nothing to read or hash: it is encoding alone.
func BenchmarkWritePDF100K(b *testing.B) {
	c, files := benchContent(), memFiles{}
	c.Attachments = []Attachment{files.add("facture.pdf", "application/pdf", randomBytes(100<<10))}
	r, err := Render(context.Background(), c, nil, Envelope{}, files)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(100 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// The reference: the standard library without line breaks, into one buffer.
func BenchmarkStandardBase64(b *testing.B) {
	src := randomBytes(100 << 10)
	dst := make([]byte, base64.StdEncoding.EncodedLen(len(src)))
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		base64.StdEncoding.Encode(dst, src)
	}
}

func BenchmarkAppendBase64(b *testing.B) {
	src := randomBytes(100 << 10)
	dst := make([]byte, 0, base64Size(int64(len(src))))
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		appendBase64(dst, src)
	}
}

func BenchmarkAppendQuoted(b *testing.B) {
	src := benchContent().Text
	dst := make([]byte, 0, 2*len(src))
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		appendQuoted(dst, src)
	}
}
