package inspect

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Namespaces of UBL 2, which e-FFF is a use of, and of the Cross Industry Invoice that a Factur-X file holds.
const (
	ublInvoice    = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
	ublCreditNote = "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2"
	ublBasic      = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"
	ciiInvoice    = "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100"
)

// What may be wrong with an XML file.
var (
	ErrNotWellFormed = errors.New("inspect: XML is not well-formed")
	// ErrDoctype: a document type declaration, which invoices never have and attackers like.
	ErrDoctype = errors.New("inspect: XML has a document type declaration")
	// ErrUnknown: too large, too deep or in a character set that is not known here. Nothing is said of the file.
	ErrUnknown = errors.New("inspect: XML is beyond the bounds")
)

const (
	maxXML    = 8 << 20
	maxDepth  = 100
	maxNumber = 200 // bytes of a document number
)

// Document is what an XML file is.
type Document struct {
	UBL    bool   // an Invoice or a CreditNote of UBL 2
	CII    bool   // a Cross Industry Invoice
	Number string // of a UBL or CII document; empty when it has none
}

// XML reads a whole XML file. Errors that are none of this package's are the reader's.
func XML(r io.Reader) (Document, error) {
	in := &bounded{r: r, left: maxXML}
	var labels charsets
	// A byte order mark decides, and UTF-16 has one; else the declaration does, and it is UTF-8 when there is none.
	dec := xml.NewDecoder(bufio.NewReader(transform.NewReader(in, unicode.BOMOverride(transform.Nop))))
	dec.CharsetReader = labels.reader
	var d Document
	err := d.read(dec)
	switch {
	case err == nil, errors.Is(err, ErrDoctype):
		return d, err
	case in.err != nil:
		return Document{}, in.err
	case labels.unknown || errors.Is(err, ErrUnknown):
		return Document{}, ErrUnknown
	}
	return Document{}, ErrNotWellFormed
}

// charsets decodes what an XML declaration names.
type charsets struct{ unknown bool }

func (c *charsets) reader(label string, input io.Reader) (io.Reader, error) {
	if strings.HasPrefix(strings.ToLower(label), "utf-16") {
		return input, nil // its mark was seen, or the declaration could not have been read
	}
	out, err := charset.NewReaderLabel(label, input)
	c.unknown = c.unknown || err != nil
	return out, err
}

// read goes through the tokens. encoding/xml does not mind a second root, or none, or text outside of it.
func (d *Document) read(dec *xml.Decoder) error {
	var path []xml.Name
	var number strings.Builder
	rooted, inNumber := false, false
	for {
		token, err := dec.Token()
		if err == io.EOF {
			if !rooted {
				return ErrNotWellFormed
			}
			d.Number = strings.TrimSpace(number.String())
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.Directive:
			if len(t) >= 7 && strings.EqualFold(string(t[:7]), "DOCTYPE") {
				return ErrDoctype
			}
		case xml.StartElement:
			if len(path) == 0 {
				if rooted {
					return ErrNotWellFormed
				}
				rooted = true
				d.root(t.Name)
			}
			if len(path) >= maxDepth {
				return ErrUnknown
			}
			path = append(path, t.Name)
			inNumber = number.Len() == 0 && d.isNumber(path)
		case xml.EndElement:
			path, inNumber = path[:len(path)-1], false
		case xml.CharData:
			if len(path) == 0 && len(bytes.TrimSpace(t)) > 0 {
				return ErrNotWellFormed
			}
			if inNumber && number.Len()+len(t) <= maxNumber {
				number.Write(t)
			}
		}
	}
}

func (d *Document) root(name xml.Name) {
	d.UBL = name == xml.Name{Space: ublInvoice, Local: "Invoice"} || name == xml.Name{Space: ublCreditNote, Local: "CreditNote"}
	d.CII = name == xml.Name{Space: ciiInvoice, Local: "CrossIndustryInvoice"}
}

// isNumber says whether an element holds the document's number: cbc:ID of a UBL document, the ID of a CII's ExchangedDocument.
func (d *Document) isNumber(path []xml.Name) bool {
	switch {
	case d.UBL:
		return len(path) == 2 && path[1] == xml.Name{Space: ublBasic, Local: "ID"}
	case d.CII:
		return len(path) == 3 && path[1].Local == "ExchangedDocument" && path[2].Local == "ID"
	}
	return false
}

// bounded is a reader that fails after too much.
type bounded struct {
	r    io.Reader
	left int64
	err  error // of the reader itself
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = ErrUnknown
		return 0, ErrUnknown
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}
