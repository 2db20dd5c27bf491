package inspect

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const ublOf = `<?xml version="1.0" encoding="%s"?>
<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2" xmlns:b="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2">
<b:CustomizationID>x</b:CustomizationID><b:ID> 2026/0042 </b:ID><b:Line><b:ID>1</b:ID></b:Line><b:ID>second</b:ID></Invoice>`

const ciiOf = `<?xml version='1.0' encoding='UTF-8'?><rsm:CrossIndustryInvoice xmlns:rsm="urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100" xmlns:ram="r">` +
	`<rsm:ExchangedDocumentContext><ram:GuidelineSpecifiedDocumentContextParameter><ram:ID>urn:factur-x</ram:ID></ram:GuidelineSpecifiedDocumentContextParameter></rsm:ExchangedDocumentContext>` +
	`<rsm:ExchangedDocument><ram:ID>F-%s</ram:ID></rsm:ExchangedDocument></rsm:CrossIndustryInvoice>`

func utf16le(s string) string {
	out := "\xff\xfe"
	for i := range len(s) {
		out += s[i:i+1] + "\x00"
	}
	return out
}

func TestXML(t *testing.T) {
	utf8 := fmt.Sprintf(ublOf, "UTF-8")
	for name, tc := range map[string]struct {
		in   string
		want Document
		err  error
	}{
		"UBL":                    {utf8, Document{UBL: true, Number: "2026/0042"}, nil},
		"with a mark":            {"\xef\xbb\xbf" + utf8, Document{UBL: true, Number: "2026/0042"}, nil},
		"latin 1":                {strings.Replace(fmt.Sprintf(ublOf, "ISO-8859-1"), "x</b", "caf\xe9</b", 1), Document{UBL: true, Number: "2026/0042"}, nil},
		"utf-16":                 {utf16le(fmt.Sprintf(ublOf, "UTF-16")), Document{UBL: true, Number: "2026/0042"}, nil},
		"credit note":            {strings.NewReplacer("Invoice-2", "CreditNote-2", "Invoice", "CreditNote").Replace(utf8), Document{UBL: true, Number: "2026/0042"}, nil},
		"CII":                    {fmt.Sprintf(ciiOf, "7"), Document{CII: true, Number: "F-7"}, nil},
		"no invoice":             {"<a/>", Document{}, nil},
		"an Invoice of no space": {"<Invoice><ID>1</ID></Invoice>", Document{}, nil},
		"comment after":          {"<a/>\n<!-- end -->\n", Document{}, nil},
		"predefined entities":    {"<a>&lt;&amp;&#233;</a>", Document{}, nil},
		"unknown charset":        {`<?xml version="1.0" encoding="x-secret"?><a/>`, Document{}, ErrUnknown},
		"too deep":               {strings.Repeat("<a>", 101) + strings.Repeat("</a>", 101), Document{}, ErrUnknown},
		"too large":              {"<a>" + strings.Repeat(" ", maxXML) + "</a>", Document{}, ErrUnknown},
		"empty":                  {"", Document{}, ErrNotWellFormed},
		"text":                   {"hello", Document{}, ErrNotWellFormed},
		"PDF":                    {"%PDF-1.7", Document{}, ErrNotWellFormed},
		"cut":                    {utf8[:len(utf8)-5], Document{}, ErrNotWellFormed},
		"two roots":              {"<a/><b/>", Document{}, ErrNotWellFormed},
		"text behind":            {"<a/>b", Document{}, ErrNotWellFormed},
		"unknown entity":         {"<a>&b;</a>", Document{}, ErrNotWellFormed},
		"crossed":                {"<a><b></a></b>", Document{}, ErrNotWellFormed},
		"bad UTF-8":              {"<a>\xe9</a>", Document{}, ErrNotWellFormed},
		"doctype":                {`<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>`, Document{}, ErrDoctype},
		"laughs":                 {`<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a>&c;</a>`, Document{}, ErrDoctype},
	} {
		got, err := XML(strings.NewReader(tc.in))
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, tc.want, tc.err)
		}
	}
	if _, err := XML(io.MultiReader(strings.NewReader("<a>"), iotest.ErrReader(io.ErrUnexpectedEOF))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that breaks: %v", err)
	}
}

// facturx is a hand-made PDF that embeds files.
func facturx(compressed bool, files ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n2 0 obj\n<< /Length 9 >>\nstream\nq Q q Q q\nendstream\nendobj\n")
	for i, f := range files {
		filter := ""
		if compressed {
			var z bytes.Buffer
			w := zlib.NewWriter(&z)
			_, _ = io.WriteString(w, f)
			_ = w.Close()
			f, filter = z.String(), "/Filter /FlateDecode"
		}
		fmt.Fprintf(&b, "%d 0 obj\n<< /Type /EmbeddedFile /Subtype /text#2Fxml %s /Length 99 0 R >>\nstream\r\n%s\r\nendstream\nendobj\n", i+3, filter, f)
	}
	b.WriteString("trailer\n<<>>\nstartxref\n0\n%%EOF\n")
	return b.Bytes()
}

func TestFacturX(t *testing.T) {
	cii := fmt.Sprintf(ciiOf, "12")
	for name, tc := range map[string]struct {
		pdf  []byte
		want string
	}{
		"compressed":    {facturx(true, cii), "F-12"},
		"plain":         {facturx(false, cii), "F-12"},
		"second file":   {facturx(true, "<readme/>", cii), "F-12"},
		"none":          {facturx(true), ""},
		"another XML":   {facturx(true, "<a/>"), ""},
		"too many":      {facturx(true, append(strings.Split(strings.Repeat("<a/> ", maxEmbedded-1)+"<a/>", " "), cii)...), ""},
		"a bomb":        {facturx(true, "<a>"+strings.Repeat(" ", 50<<20)), ""},
		"cut":           {facturx(true, cii)[:300], ""},
		"no dictionary": {[]byte("EmbeddedFile stream\n" + cii), ""},
	} {
		if got := FacturX(tc.pdf); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestIsPDF(t *testing.T) {
	whole := facturx(true, "<a/>")
	for name, tc := range map[string]struct {
		file []byte
		want bool
	}{
		"whole":       {whole, true},
		"junk before": {append([]byte("\r\n\r\n"), whole...), true},
		"cut":         {whole[:len(whole)-10], false},
		"text":        {[]byte("%%EOF"), false},
		"html":        {[]byte("<html>"), false},
		"empty":       {nil, false},
	} {
		if IsPDF(tc.file, tc.file) != tc.want {
			t.Errorf("%s: %v", name, !tc.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]string{"2026/0042": "20260042", " fa-7é ": "FA7É", "": "", "//": ""} {
		if got := Number(in); got != want {
			t.Errorf("Number(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzXML(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(ublOf, "UTF-8")))
	f.Add([]byte(fmt.Sprintf(ciiOf, "1")))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>`))
	f.Add([]byte(utf16le("<a/>")))
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := XML(bytes.NewReader(in))
		if len(d.Number) > maxNumber || err != nil && d != (Document{}) {
			t.Fatalf("%+v, %v", d, err)
		}
		switch {
		case err == nil, err == ErrDoctype, err == ErrNotWellFormed, err == ErrUnknown: //nolint:errorlint // exactly these
		default:
			t.Fatalf("an error of nobody's: %v", err)
		}
	})
}

func FuzzFacturX(f *testing.F) {
	f.Add(facturx(true, fmt.Sprintf(ciiOf, "1")))
	f.Add(facturx(false, "<a/>", fmt.Sprintf(ciiOf, "2")))
	f.Fuzz(func(t *testing.T, in []byte) {
		if n := FacturX(in); len(n) > maxNumber {
			t.Fatalf("%d bytes", len(n))
		}
	})
}
