package demo

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// pdf is the invoice as a one-page A4 PDF 1.4. Its only font is Helvetica, which every reader has, in the Windows-1252
// encoding, which holds the letters of our four languages and the euro sign.
func (inv invoice) pdf() []byte {
	page := inv.page()
	var out bytes.Buffer
	var offsets []int
	object := func(format string, args ...any) {
		offsets = append(offsets, out.Len())
		fmt.Fprintf(&out, "%d 0 obj\n", len(offsets))
		fmt.Fprintf(&out, format, args...)
		out.WriteString("\nendobj\n")
	}
	out.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n") // four high bytes tell transfer programs that it is binary (ISO 32000-1, 7.5.2)
	object("<< /Type /Catalog /Pages 2 0 R >>")
	object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
	object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>")
	object("<< /Length %d >>\nstream\n%s\nendstream", len(page), page)
	object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
	object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>")
	object("<< /Title (%s) /Author (%s) /Producer (Facteur demo) >>", pdfText(inv.labels.Invoice+" "+inv.Number), pdfText(inv.Seller.Name))

	xref := out.Len()
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, o := range offsets {
		fmt.Fprintf(&out, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root 1 0 R /Info 7 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, xref)
	return out.Bytes()
}

// page draws the invoice. Coordinates are points from the lower left corner.
func (inv invoice) page() string {
	l, lang := inv.labels, inv.Buyer.Language
	var b strings.Builder
	text := func(font string, size, x, y int, s string) {
		fmt.Fprintf(&b, "BT /%s %d Tf %d %d Td (%s) Tj ET\n", font, size, x, y, pdfText(s))
	}
	rule := func(y int) { fmt.Fprintf(&b, "0.5 w 56 %d m 539 %d l S\n", y, y) }
	row := func(font string, y int, cells ...string) {
		for i, x := range []int{56, 330, 390, 470} {
			text(font, 10, x, y, cells[i])
		}
	}

	text("F2", 16, 56, 780, inv.Seller.Name)
	text("F1", 9, 56, 764, fmt.Sprintf("%s, %s %s", inv.Seller.Street, inv.Seller.Zip, inv.Seller.City))
	text("F1", 9, 56, 752, inv.Seller.VAT()+"   "+inv.Seller.Mail)

	text("F2", 13, 56, 700, l.Invoice+" "+inv.Number)
	text("F1", 10, 56, 682, l.Date+": "+dayIn(inv.Issued, lang))
	text("F1", 10, 56, 668, l.Due+": "+dayIn(inv.Due, lang))
	text("F1", 9, 330, 714, l.To)
	text("F2", 11, 330, 700, inv.Buyer.Name)
	text("F1", 10, 330, 685, inv.Buyer.Street)
	text("F1", 10, 330, 671, inv.Buyer.Zip+" "+inv.Buyer.City)
	text("F1", 10, 330, 657, inv.Buyer.VAT())

	y := 610
	row("F2", y, l.Description, l.Hours, l.Price, l.Amount)
	rule(y - 6)
	for _, ln := range inv.Lines {
		y -= 22
		row("F1", y, ln.Text, fmt.Sprint(ln.Quantity), ln.Price.In(lang), ln.Net().In(lang))
	}
	rule(y - 8)
	for _, total := range []struct {
		font, label string
		amount      cents
	}{{"F1", l.Net, inv.Net()}, {"F1", l.VAT, inv.VAT()}, {"F2", l.Total, inv.Gross()}} {
		y -= 24
		text(total.font, 10, 330, y, total.label)
		text(total.font, 10, 470, y, total.amount.In(lang))
	}
	text("F1", 10, 56, y-60, fmt.Sprintf("%s %s", l.Pay, inv.IBAN))
	text("F1", 10, 56, y-76, fmt.Sprintf("%s: %s", l.Reference, inv.FormattedReference()))
	text("F1", 10, 56, y-92, l.Terms)
	return b.String()
}

var pdfEscape = strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`)

// pdfText is s as the inside of a literal PDF string. A letter that Windows-1252 lacks becomes a question mark.
func pdfText(s string) string {
	var b strings.Builder
	for _, r := range s {
		c, ok := charmap.Windows1252.EncodeRune(r)
		if !ok {
			c = '?'
		}
		b.WriteByte(c)
	}
	return pdfEscape.Replace(b.String())
}
