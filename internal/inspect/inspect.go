// Package inspect looks into files to see whether they are what they are said to be: a PDF, a UBL invoice, a Factur-X invoice,
// and which document number they bear.
//
// The files are strangers'. Nothing is followed or expanded, depth and sizes are bounded, and what cannot be understood within
// the bounds is not called wrong: the answer is then that nothing is known. It validates nothing: a file that passes may still
// be a bad invoice.
package inspect

import (
	"bytes"
	"unicode"
)

// EndSize is how much of a file's beginning and end IsPDF wants to see; less only of a shorter file.
const EndSize = 2048

// IsPDF says whether a file that begins and ends so is a PDF: "%PDF-" in the first and "%%EOF" in the last kilobyte or two, as
// readers have always taken it (ISO 32000-1, annex H.3, notes 13 and 18). A file that was cut short has no end.
func IsPDF(head, tail []byte) bool {
	return bytes.Contains(head, []byte("%PDF-")) && bytes.Contains(tail, []byte("%%EOF"))
}

// Number is a document's number without what programs write differently: its letters and digits, in upper case.
func Number(s string) string {
	var b []rune
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			b = append(b, unicode.ToUpper(r))
		}
	}
	return string(b)
}
