package demo

import (
	"fmt"
	"strings"
	"time"
)

// party is a firm on an invoice.
type party struct {
	Name, Street, Zip, City string
	Enterprise              string // Belgian enterprise number, ten digits with their check
	Mail, Contact           string
	Language                string // fr, nl, en, de
}

// VAT is the party's VAT number as it is written on an invoice.
func (p party) VAT() string { return "BE" + p.Enterprise }

type line struct {
	Text     string
	Quantity int   // hours
	Price    cents // for one hour, without VAT
}

func (l line) Net() cents { return cents(l.Quantity) * l.Price }

// invoice is one sample: every number, name and amount follows from its place in the batch, so that a run can be repeated.
type invoice struct {
	Number      string // 2026/0042
	Issued, Due time.Time
	Seller      party
	Buyer       party
	Lines       []line
	IBAN        string
	Reference   string // structured communication, twelve digits
	labels      labels
}

const vatPercent = 21

func (inv invoice) Net() cents {
	var sum cents
	for _, l := range inv.Lines {
		sum += l.Net()
	}
	return sum
}

// VAT is rounded half up on the total, as EN 16931 rule BR-CO-17 computes it per rate.
func (inv invoice) VAT() cents   { return (inv.Net()*vatPercent + 50) / 100 }
func (inv invoice) Gross() cents { return inv.Net() + inv.VAT() }

// FileBase is the name of the invoice's files without an extension: 2026-0042.
func (inv invoice) FileBase() string { return strings.ReplaceAll(inv.Number, "/", "-") }

// FormattedReference is how people write a structured communication: +++260/0000/04223+++.
func (inv invoice) FormattedReference() string {
	r := inv.Reference
	return "+++" + r[:3] + "/" + r[3:7] + "/" + r[7:] + "+++"
}

// cents is an amount in euro cents.
type cents int64

// String is the form that XML wants: 1210.00.
func (c cents) String() string { return fmt.Sprintf("%d.%02d", c/100, c%100) }

// In writes the amount for people who read the language.
func (c cents) In(lang string) string {
	point, group := ",", "."
	if lang == "en" {
		point, group = ".", ","
	}
	whole := fmt.Sprint(int64(c / 100))
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + group + whole[i:]
	}
	return fmt.Sprintf("%s%s%02d €", whole, point, c%100)
}

// dayIn writes a day as people who read the language do.
func dayIn(t time.Time, lang string) string {
	switch lang {
	case "nl":
		return t.Format("02-01-2006")
	case "de":
		return t.Format("02.01.2006")
	case "en":
		return t.Format("2 January 2006")
	}
	return t.Format("02/01/2006")
}

// newInvoice makes invoice n (from 1) of the sample batch.
func newInvoice(n int) invoice {
	buyer := buyerNo(n)
	l := labelsIn[buyer.Language]
	issued := time.Date(2026, time.November, 1+n%23, 0, 0, 0, 0, time.UTC)
	inv := invoice{
		Number:    fmt.Sprintf("2026/%04d", n),
		Issued:    issued,
		Due:       issued.AddDate(0, 0, 30),
		Seller:    seller,
		Buyer:     buyer,
		IBAN:      belgianIBAN(363, 123456*10+7),
		Reference: structuredReference(2600000000 + int64(n)),
		labels:    l,
	}
	for i := range 1 + n%3 {
		inv.Lines = append(inv.Lines, line{
			Text:     l.Services[(n+i)%len(l.Services)],
			Quantity: 1 + (n*7+i*3)%12,
			Price:    cents(8500 + 500*((n+i)%8)),
		})
	}
	return inv
}

// structuredReference adds the two check digits of a Belgian structured communication: the remainder by 97, 97 for none.
func structuredReference(base int64) string {
	check := base % 97
	if check == 0 {
		check = 97
	}
	return fmt.Sprintf("%010d%02d", base, check)
}

// enterpriseNumber adds the check digits of a Belgian enterprise number: 97 minus the remainder by 97.
func enterpriseNumber(base int) string { return fmt.Sprintf("%08d%02d", base, 97-base%97) }

// belgianIBAN makes an account number with both its checks: the national one (remainder by 97) and ISO 7064's.
func belgianIBAN(bank, account int64) string {
	bban := bank*1e7 + account
	national := bban % 97
	if national == 0 {
		national = 97
	}
	// "BE00" moved to the end and spelt in digits is 111400.
	rest := (bban*100 + national) % 97
	check := 98 - (rest*1000000+111400)%97
	return fmt.Sprintf("BE%02d%010d%02d", check, bban, national)
}
