package demo

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestCheckDigits(t *testing.T) {
	for n := 1; n <= 200; n++ {
		inv := newInvoice(n)
		ref, _ := strconv.ParseInt(inv.Reference[:10], 10, 64)
		check, _ := strconv.ParseInt(inv.Reference[10:], 10, 64)
		if (ref-check)%97 != 0 {
			t.Errorf("reference %s: check digits are wrong", inv.Reference)
		}
		base, _ := strconv.Atoi(inv.Buyer.Enterprise[:8])
		check2, _ := strconv.Atoi(inv.Buyer.Enterprise[8:])
		if 97-base%97 != check2 {
			t.Errorf("enterprise number %s: check digits are wrong", inv.Buyer.Enterprise)
		}
	}
	// ISO 7064: country and check moved to the end, letters as numbers, remainder 1.
	iban := newInvoice(1).IBAN
	n, ok := new(big.Int).SetString(iban[4:]+"1114"+iban[2:4], 10)
	if !ok || new(big.Int).Mod(n, big.NewInt(97)).Int64() != 1 {
		t.Errorf("IBAN %s: check digits are wrong", iban)
	}
	if len(iban) != 16 {
		t.Errorf("IBAN %s: has %d characters, want 16", iban, len(iban))
	}
}

func TestAmountsIn(t *testing.T) {
	for lang, want := range map[string]string{"fr": "1.234.567,05 €", "en": "1,234,567.05 €"} {
		if got := cents(123456705).In(lang); got != want {
			t.Errorf("In(%s) = %q, want %q", lang, got, want)
		}
	}
	if got := cents(99905).In("nl"); got != "999,05 €" {
		t.Errorf("999.05 in nl = %q", got)
	}
}

// The cross-reference table is what a strict reader uses: each offset must hit its object.
func TestPDFCrossReferences(t *testing.T) {
	for n := 1; n <= 40; n++ {
		pdf := newInvoice(n).pdf()
		start := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(pdf)
		if start == nil {
			t.Fatalf("invoice %d: no startxref", n)
		}
		at, _ := strconv.Atoi(string(start[1]))
		entries := regexp.MustCompile(`(\d{10}) 00000 n `).FindAllSubmatch(pdf[at:], -1)
		if len(entries) != 7 {
			t.Fatalf("invoice %d: %d cross references, want 7", n, len(entries))
		}
		for i, e := range entries {
			off, _ := strconv.Atoi(string(e[1]))
			if want := fmt.Sprintf("%d 0 obj\n", i+1); !bytes.HasPrefix(pdf[off:], []byte(want)) {
				t.Errorf("invoice %d: offset %d is not %q", n, off, want)
			}
		}
		length := regexp.MustCompile(`(?s)/Length (\d+) >>\nstream\n(.*?)\nendstream`).FindSubmatch(pdf)
		if want, _ := strconv.Atoi(string(length[1])); want != len(length[2]) {
			t.Errorf("invoice %d: stream of %d bytes says %d", n, len(length[2]), want)
		}
	}
}

func TestUBL(t *testing.T) {
	type amounts struct {
		ID    string `xml:"ID"`
		Total struct {
			Net   string `xml:"TaxExclusiveAmount"`
			Gross string `xml:"PayableAmount"`
		} `xml:"LegalMonetaryTotal"`
		VAT   string `xml:"TaxTotal>TaxAmount"`
		Lines []struct {
			Net string `xml:"LineExtensionAmount"`
		} `xml:"InvoiceLine"`
		Buyer string `xml:"AccountingCustomerParty>Party>PartyLegalEntity>RegistrationName"`
	}
	seen := map[string]bool{}
	for n := 1; n <= 200; n++ {
		inv := newInvoice(n)
		doc, err := inv.ubl()
		if err != nil {
			t.Fatal(err)
		}
		var got amounts
		if err := xml.Unmarshal(doc, &got); err != nil {
			t.Fatalf("invoice %d: %v", n, err)
		}
		var sum float64
		for _, l := range got.Lines {
			net, _ := strconv.ParseFloat(l.Net, 64)
			sum += net
		}
		if want := fmt.Sprintf("%.2f", sum); got.Total.Net != want {
			t.Errorf("invoice %d: net %s, lines make %s", n, got.Total.Net, want)
		}
		net, _ := strconv.ParseFloat(got.Total.Net, 64)
		vat, _ := strconv.ParseFloat(got.VAT, 64)
		if want := fmt.Sprintf("%.2f", net+vat); got.Total.Gross != want {
			t.Errorf("invoice %d: gross %s, want %s", n, got.Total.Gross, want)
		}
		if got.Buyer != inv.Buyer.Name {
			t.Errorf("invoice %d: buyer %q, want %q", n, got.Buyer, inv.Buyer.Name)
		}
		if seen[got.ID] {
			t.Errorf("invoice number %s twice", got.ID)
		}
		seen[got.ID] = true
	}
}

func TestUBLEscapes(t *testing.T) {
	inv := newInvoice(1)
	inv.Buyer.Name = `A < B & "C"`
	doc, err := inv.ubl()
	if err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(bytes.NewReader(doc))
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(string(doc), "A &lt; B &amp; &#34;C&#34;") {
		t.Error("the buyer's name is not escaped")
	}
}
