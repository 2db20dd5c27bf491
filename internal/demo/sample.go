package demo

// Sample is an invoice of the sample batch as a program that sends it has it, for tests of the whole program.
type Sample struct {
	Number, FileBase string // 2026/0042 and 2026-0042
	Name, Address    string // of whom it is for
	Language         string // fr, nl, en or de
	PDF, UBL         []byte
}

// NewSample makes invoice n (from 1).
func NewSample(n int) (Sample, error) {
	inv := newInvoice(n)
	ubl, err := inv.ubl()
	return Sample{
		Number: inv.Number, FileBase: inv.FileBase(), Name: inv.Buyer.Contact, Address: inv.Buyer.Mail, Language: inv.Buyer.Language,
		PDF: inv.pdf(), UBL: ubl,
	}, err
}
