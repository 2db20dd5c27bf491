package demo

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
)

// compare holds what arrived against what was sent: each mail once, to its own client, with its own two files and no other.
func (r *run) compare(context.Context) error {
	byNumber := make(map[string]int, len(r.invoices))
	for i, inv := range r.invoices {
		byNumber[inv.Number] = i
	}
	arrived := make(map[int]received, len(r.invoices))
	letters, files := 0, 0
	inbox, err := r.Inbox()
	if err != nil {
		return err
	}
	for _, raw := range inbox {
		m, err := parseMail(raw)
		if err != nil {
			return err
		}
		subject := m.field("Subject")
		i, isInvoice := byNumber[subject[strings.LastIndex(subject, " ")+1:]]
		if !isInvoice {
			if to, err := mail.ParseAddress(m.Header.Get("To")); err != nil || to.Address != letterTo {
				return fmt.Errorf("a mail that nobody sent arrived: %s", subject)
			}
			letters++
			continue
		}
		if _, twice := arrived[i]; twice {
			return fmt.Errorf("invoice %s arrived twice", r.invoices[i].Number)
		}
		arrived[i] = m
		if err := r.sameAsSent(i, m); err != nil {
			return fmt.Errorf("invoice %s: %w", r.invoices[i].Number, err)
		}
		files += len(m.Files)
	}
	if letters != 1 || len(arrived) != len(r.invoices) {
		return fmt.Errorf("%d letters and %d invoices arrived, 1 and %d were sent", letters, len(arrived), len(r.invoices))
	}
	r.screen.title("One of the mails, as " + r.invoices[0].Buyer.Contact + " gets it:")
	r.screen.letter(arrived[0])
	r.screen.title("What arrived, compared with what was sent:")
	r.screen.done("%d of %d mails arrived, each once and at its own client", letters+len(arrived), 1+len(r.invoices))
	r.screen.done("%d of %d attachments are byte for byte what was uploaded (SHA-256)", files, 2*len(r.invoices))
	return nil
}

func (r *run) sameAsSent(i int, m received) error {
	inv, sent := r.invoices[i], r.files[i]
	to, err := mail.ParseAddress(m.Header.Get("To"))
	if err != nil {
		return err
	}
	if to.Address != inv.Buyer.Mail {
		return fmt.Errorf("went to %s instead of %s", to.Address, inv.Buyer.Mail)
	}
	want := []file{
		{Name: inv.FileBase() + ".pdf", SHA256: sent.pdfSHA256},
		{Name: inv.FileBase() + ".xml", SHA256: sent.ublSHA256},
	}
	if len(m.Files) != len(want) {
		return fmt.Errorf("has %d files", len(m.Files))
	}
	for n, f := range m.Files {
		if f.Name != want[n].Name || f.SHA256 != want[n].SHA256 {
			return fmt.Errorf("%s with SHA-256 %s is not what was sent", f.Name, f.SHA256)
		}
	}
	return nil
}
