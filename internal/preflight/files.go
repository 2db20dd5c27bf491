package preflight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/winprest/facteur/internal/inspect"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Kinds of attachments that say what a file must be.
const (
	kindInvoicePDF = "invoice_pdf"
	kindFacturX    = "facturx_pdf"
	kindUBL        = "ubl"
	kindEFFF       = "e_fff"
	kindTerms      = "terms"
)

// look is how much of a file has to be seen.
type look int

const (
	lookNot  look = iota
	lookEnds      // of a PDF
	lookAll
)

func lookFor(a *mail.Attachment) look {
	switch {
	case a.Size == 0:
		return lookNot
	case a.Kind == kindFacturX, isXML(a):
		return lookAll
	case isPDF(a):
		return lookEnds
	}
	return lookNot
}

func isPDF(a *mail.Attachment) bool {
	return a.Kind == kindInvoicePDF || a.Kind == kindFacturX || a.Kind != kindUBL && a.Kind != kindEFFF && a.MediaType == "application/pdf"
}

func isUBL(a *mail.Attachment) bool { return a.Kind == kindUBL || a.Kind == kindEFFF }

func isXML(a *mail.Attachment) bool {
	return isUBL(a) || !isPDF(a) && (a.MediaType == "application/xml" || a.MediaType == "text/xml")
}

// ofOneClient says that a file of this kind is made for one client.
func ofOneClient(kind string) bool {
	return kind == kindInvoicePDF || kind == kindFacturX || kind == kindUBL || kind == kindEFFF
}

// facts are what a file turned out to be.
type facts struct {
	fault  string // code; empty: nothing is wrong with it
	number string // of its document; empty: not known
}

// factsOf looks at a whole file, or at the ends of one when that is all that there is to see.
func factsOf(a *mail.Attachment, head, tail, whole []byte) facts {
	switch {
	case a.Size == 0:
		return facts{fault: CodeFileEmpty}
	case isPDF(a):
		if !inspect.IsPDF(head, tail) {
			return facts{fault: CodeFileNotPDF}
		}
		if a.Kind == kindFacturX {
			return facts{number: inspect.FacturX(whole)}
		}
	case isXML(a):
		d, err := inspect.XML(bytes.NewReader(whole))
		switch {
		case errors.Is(err, inspect.ErrDoctype):
			return facts{fault: CodeFileDoctype}
		case errors.Is(err, inspect.ErrNotWellFormed):
			return facts{fault: CodeFileNotXML}
		case err != nil: // nothing is known of it
			return facts{}
		case isUBL(a) && !d.UBL:
			return facts{fault: CodeFileNotUBL}
		}
		return facts{number: d.Number}
	}
	return facts{}
}

// bears says whether a file with this number belongs to the mail: to its document, or to one that it reminds of.
func bears(d *mail.Draft, number string) bool {
	found := inspect.Number(number)
	if found == "" || inspect.Number(d.Document.Number) == "" || found == inspect.Number(d.Document.Number) {
		return true
	}
	return slices.ContainsFunc(d.Reminder, func(r mail.ReminderItem) bool { return inspect.Number(r.Number) == found })
}

// files are those of the batch.
type files struct {
	facts   map[fileKey]facts
	holders map[string]*holders // by SHA-256
}

// fileKey is a file as one kind: the same bytes can be a good PDF and no UBL.
type fileKey struct{ sha256, kind, mediaType string }

func keyOf(a *mail.Attachment) fileKey { return fileKey{a.SHA256, a.Kind, a.MediaType} }

// holders are the mails that have the same file as their own.
type holders struct {
	first   place
	client  string   // of the first; empty: not said
	reaches []string // addresses that the first one's client has
	mails   int
	others  []place // those for another client, as many as can be listed
	more    int     // of them that are not
	kind    string
}

type place struct {
	ref               Ref
	at, name, pointer string
}

// checkFiles looks into the files of the messages, each of them once.
func (c *Check) checkFiles(ctx context.Context, messages []Message, inline map[string][]byte) error {
	if c.files.facts == nil {
		c.files = files{facts: map[fileKey]facts{}, holders: map[string]*holders{}}
	}
	if err := c.inspect(ctx, messages, inline); err != nil {
		return err
	}
	for i := range messages {
		m := &messages[i]
		seen := map[string]bool{} // a mail may have a file twice
		for k := range m.Draft.Attachments {
			a := &m.Draft.Attachments[k]
			if a.SHA256 == "" { // it is not there, which is said
				continue
			}
			at, all := m.pointer(k)
			c.fileProblems(m, a, at, all)
			if !all && a.ContentID == "" && a.Kind != kindTerms && !seen[a.SHA256] {
				seen[a.SHA256] = true
				c.files.hold(m, a, at)
			}
		}
	}
	return nil
}

func (c *Check) fileProblems(m *Message, a *mail.Attachment, at string, all bool) {
	f := c.files.facts[keyOf(a)]
	name := mail.Shown(a.Filename)
	switch {
	case f.fault != "" && !all:
		c.problems.add(m, Blocking, at, f.fault, "filename", name)
	case f.fault != "":
		if c.problems.first(at+" "+a.SHA256, f.fault) {
			c.problems.add(nil, Blocking, at, f.fault, "filename", name)
		}
	case !all && !bears(m.Draft, f.number):
		c.problems.add(m, Blocking, at, CodeFileOfAnotherDocument, "filename", name, "found", mail.Shown(f.number), "number", mail.Shown(m.Draft.Document.Number))
	}
}

// inspect finds the facts of the files that were not seen before, several at a time.
func (c *Check) inspect(ctx context.Context, messages []Message, inline map[string][]byte) error {
	var todo []*mail.Attachment
	for i := range messages {
		for k := range messages[i].Draft.Attachments {
			a := &messages[i].Draft.Attachments[k]
			if _, known := c.files.facts[keyOf(a)]; known || a.SHA256 == "" {
				continue
			}
			c.files.facts[keyOf(a)] = facts{} // so that it is looked at once
			todo = append(todo, a)
		}
	}
	const (
		workers = 4
		atOnce  = 100 // files whose ends are one query
	)
	work := make(chan []*mail.Attachment)
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range workers {
		all.Go(func() {
			for list := range work {
				found, err := c.look(ctx, list, inline)
				mu.Lock()
				if err != nil && failed == nil {
					failed = err
					cancel()
				}
				for i := range found {
					c.files.facts[keyOf(list[i])] = found[i]
				}
				mu.Unlock()
			}
		})
	}
	for list := range slices.Chunk(todo, atOnce) {
		work <- list
	}
	close(work)
	all.Wait()
	return failed
}

// look gives the facts of files, in their order.
func (c *Check) look(ctx context.Context, list []*mail.Attachment, inline map[string][]byte) ([]facts, error) {
	var sums []string
	for _, a := range list {
		if _, here := inline[a.SHA256]; !here && lookFor(a) == lookEnds {
			sums = append(sums, a.SHA256)
		}
	}
	var ends map[string]store.FileEnds
	if len(sums) > 0 {
		var err error
		if ends, err = c.cfg.Store.FileEnds(ctx, c.cfg.TenantID, sums, inspect.EndSize); err != nil {
			return nil, err
		}
	}
	found := make([]facts, len(list))
	for i, a := range list {
		whole, here := inline[a.SHA256]
		switch how := lookFor(a); {
		case !here && how == lookEnds:
			e, there := ends[a.SHA256]
			if !there {
				return nil, fmt.Errorf("preflight: the bytes of attachment %s are not there", a.ID)
			}
			found[i] = factsOf(a, e.Head, e.Tail, nil)
			continue
		case !here && how == lookAll:
			var err error
			if whole, err = c.read(ctx, a); err != nil {
				return nil, err
			}
		}
		found[i] = factsOf(a, whole[:min(len(whole), inspect.EndSize)], whole[max(0, len(whole)-inspect.EndSize):], whole)
	}
	return found, nil
}

func (c *Check) read(ctx context.Context, a *mail.Attachment) ([]byte, error) {
	r, err := c.cfg.Store.OpenAttachment(ctx, c.cfg.TenantID, a.SHA256)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	whole := make([]byte, a.Size)
	_, err = io.ReadFull(r, whole)
	return whole, err
}

// hold notes that a mail has a file, and whether the one that had it first is for the same client: it has the same reference, or one
// of the same recipients.
func (f *files) hold(m *Message, a *mail.Attachment, at string) {
	p := place{ref: m.Ref, at: m.At, name: mail.Shown(a.Filename), pointer: at}
	h := f.holders[a.SHA256]
	if h == nil {
		h = &holders{first: p, client: m.Draft.Client.Ref, kind: a.Kind}
		for _, to := range m.Draft.To {
			form, _ := mail.EnvelopeForm(to.Address)
			h.reaches = append(h.reaches, form)
		}
		f.holders[a.SHA256] = h
	}
	h.mails++
	if ofOneClient(a.Kind) {
		h.kind = a.Kind
	}
	if h.mails == 1 || h.client != "" && h.client == m.Draft.Client.Ref {
		return
	}
	for _, to := range m.Draft.To {
		if form, _ := mail.EnvelopeForm(to.Address); slices.Contains(h.reaches, form) {
			return
		}
	}
	if len(h.others) < maxPerCode {
		h.others = append(h.others, p)
	} else {
		h.more++
	}
}

// forAll says whether a file that so many of the mails have is one that goes to everybody: nearly everybody, for some mails may lack it.
func forAll(mails, of int) bool {
	return of >= 3 && mails == of || mails >= 10 && 2*mails > of
}

// sharedFiles names the mails that have another client's file. It comes last: a file that the mails have in common, such as a leaflet, is
// nobody's own, unless it is an invoice.
func (c *Check) sharedFiles() {
	for _, h := range c.files.holders {
		severity := Warning
		if ofOneClient(h.kind) {
			severity = Blocking
		} else if forAll(h.mails, c.messages) {
			continue
		}
		other := h.first.ref.Document
		if other == "" {
			other = h.first.ref.Recipient
		}
		for _, p := range h.others {
			m := Message{Ref: p.ref, At: p.at}
			c.problems.add(&m, severity, p.pointer, CodeFileOfAnotherClient, "filename", p.name, "other", mail.Shown(other))
		}
		c.problems.more(severity, CodeFileOfAnotherClient, h.more)
	}
}
