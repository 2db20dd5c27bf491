// Package demo does the main job once, for a person to watch: a firm sends a letter and a batch of invoices to a small mail
// server, or through a stand-in for Gmail or SendGrid, and what arrives is compared with what was sent. Everything goes through the
// public HTTP API and the public client, as it would from another machine; the samples are made here and belong to nobody.
package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
)

// Config says what to run against.
type Config struct {
	URL         string // of a running service that may connect to MailServer
	OperatorKey string
	MailServer  string                   // host:port, SMTP in clear without a login
	Inbox       func() ([][]byte, error) // every mail that MailServer, or the stand-in, has accepted, as its recipients get it
	// Consent, when it is not nil, has the profiles send through Gmail instead: it does at an authorization URL what a person does
	// there who agrees, and gives the URL that Google sends his browser back to.
	Consent func(ctx context.Context, authURL string) (*url.URL, error)
	// SendGrid, when it is not nil, has the profiles send through SendGrid instead.
	SendGrid *SendGrid
	Count    int // invoices
	Out      io.Writer
	Terminal bool // Out shows a moving bar
}

// Result is what a person needs to go on by hand.
type Result struct {
	Key                string
	JobID, MessageID   string // the batch and one of its messages
	ProfileID, Invoice string // the company's profile; an uploaded PDF
}

const (
	companyRef = "C001"
	userRef    = "jdupont"
	letterTo   = "zoe.lambert@zoe.example"
)

// run is one demonstration on its way.
type run struct {
	Config
	screen screen
	c      *client.Client // with the tenant's key
	result Result

	invoices []invoice
	files    []upload // of the invoice with the same index
}

// upload is the two files of an invoice.
type upload struct {
	pdf, ubl             string // attachment ids
	pdfSHA256, ublSHA256 string
}

// Run does it all. The error is not nil when anything is not exactly as it should be.
func Run(ctx context.Context, cfg Config) (Result, error) {
	r := &run{Config: cfg, screen: screen{cfg.Out, cfg.Terminal}}
	steps := []func(context.Context) error{r.tenant, r.profiles, r.templates, r.upload, r.letter, r.batch, r.compare}
	if r.SendGrid != nil {
		steps = append(steps, r.reported, r.usage)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return r.result, err
		}
	}
	return r.result, nil
}

func (r *run) tenant(ctx context.Context) error {
	operator, err := client.New(r.URL, r.OperatorKey)
	if err != nil {
		return err
	}
	t, err := operator.CreateTenant(ctx, api.TenantRequest{Name: seller.Name})
	if err != nil {
		return fmt.Errorf("make a tenant: %w", err)
	}
	key, err := operator.CreateAPIKey(ctx, t.ID, api.APIKeyRequest{Name: "demo", Scopes: []string{"send", "read", "manage"}})
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	r.result.Key = key.Key
	r.screen.done("tenant %q with an API key", t.Name)
	if r.c, err = client.New(r.URL, key.Key); err != nil || r.SendGrid == nil {
		return err
	}
	return r.switchOn(ctx, operator, t.ID)
}

func (r *run) profiles(ctx context.Context) error {
	company := api.SenderProfileRequest{
		Level: "company", OwnerRef: companyRef, Name: "Invoices", Default: true,
		From: api.Address{Name: seller.Name, Address: seller.Mail}, Signatures: map[string]api.Signature{},
		MaxConnections: 4,
	}
	for language, text := range signatures {
		company.Signatures[language] = api.Signature{Text: text}
	}
	user := api.SenderProfileRequest{
		Level: "user", OwnerRef: userRef, Name: seller.Contact, Default: true,
		From:       api.Address{Name: seller.Contact, Address: "jeanne@dupont.example"},
		Signatures: map[string]api.Signature{"fr": {Text: seller.Contact + "\n" + sellerCard}},
	}
	for _, req := range []api.SenderProfileRequest{company, user} {
		if err := r.transport(&req); err != nil {
			return err
		}
		p, err := r.c.CreateSenderProfile(ctx, req)
		if err != nil {
			return fmt.Errorf("make the %s's profile: %w", req.Level, err)
		}
		if r.Consent != nil {
			if err := r.connect(ctx, p); err != nil {
				return fmt.Errorf("connect the %s's profile: %w", req.Level, err)
			}
		}
		if r.SendGrid != nil {
			if err := r.prove(ctx, p); err != nil {
				return fmt.Errorf("verify the %s's sender: %w", req.Level, err)
			}
		}
		check, err := r.c.CheckSenderProfile(ctx, p.ID)
		if err != nil {
			return fmt.Errorf("check the %s's profile: %w", req.Level, err)
		}
		if !check.OK {
			return fmt.Errorf("the %s's profile does not work: %+v", req.Level, check.Steps)
		}
		if req.Level == "company" {
			r.result.ProfileID = p.ID
		}
		r.screen.done("%-7s profile checked: %s <%s>", req.Level, p.From.Name, p.From.Address)
	}
	return nil
}

// transport says how a profile's mail leaves.
func (r *run) transport(req *api.SenderProfileRequest) error {
	if r.Consent != nil {
		req.Transport, req.Gmail = "gmail", &api.GmailSettings{Reconcile: true}
		req.Limits = &api.LimitsRequest{Preset: "none"} // a real Google takes 60 mails a minute
		return nil
	}
	if r.SendGrid != nil {
		req.Transport = "sendgrid"
		return nil
	}
	host, port, err := net.SplitHostPort(r.MailServer)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	req.Transport, req.SMTP = "smtp", &api.SMTPSettingsRequest{Host: host, Port: n, Security: "none", Auth: "none"}
	return nil
}

func (r *run) templates(ctx context.Context) error {
	for _, t := range []struct {
		name, documentType string
		texts              map[string]text
		tokens             []string
	}{
		{"Invoices", "invoice", invoiceTexts, []string{"MONTANT", "ECHEANCE"}},
		{"Letters", "letter", letterTexts, nil},
	} {
		req := api.TemplateRequest{
			Name: t.name, DocumentType: t.documentType, Default: true, DefaultLanguage: "fr", Tokens: t.tokens,
			Translations: map[string]api.Translation{},
		}
		for language, text := range t.texts {
			req.Translations[language] = api.Translation{Subject: text.Subject, Text: text.Text, HTML: text.HTML}
		}
		if _, err := r.c.CreateTemplate(ctx, req); err != nil {
			return fmt.Errorf("make the template %q: %w", t.name, err)
		}
	}
	r.screen.done("templates for invoices and letters, each in fr, nl, en and de")
	return nil
}

// upload makes the invoices and stores their files, eight at a time as a desktop program might.
func (r *run) upload(ctx context.Context) error {
	const parallel = 8
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.invoices = make([]invoice, r.Count)
	r.files = make([]upload, r.Count)
	step, end := r.screen.progress("uploading", "files", 2*r.Count)
	began := time.Now()
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		stored  int
		bytes   int64
		failure error
	)
	work := make(chan int)
	for range parallel {
		wg.Go(func() {
			for i := range work {
				inv := newInvoice(i + 1)
				up, size, err := r.store(ctx, inv)
				mu.Lock()
				r.invoices[i], r.files[i] = inv, up
				stored += 2
				bytes += size
				step(stored)
				if err != nil && failure == nil {
					failure = err
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	for i := range r.Count {
		work <- i
	}
	close(work)
	wg.Wait()
	end()
	if failure != nil {
		return fmt.Errorf("upload the invoices: %w", failure)
	}
	r.result.Invoice = r.files[0].pdf
	r.screen.done("%d files stored, a PDF and a UBL invoice for each of %d: %d KB in %s", stored, r.Count, bytes/1000, since(began))
	return nil
}

func (r *run) store(ctx context.Context, inv invoice) (up upload, size int64, err error) {
	ubl, err := inv.ubl()
	if err != nil {
		return up, 0, err
	}
	for _, f := range []struct {
		content    []byte
		file       client.File
		id, digest *string
	}{
		{inv.pdf(), client.File{Name: inv.FileBase() + ".pdf", MediaType: "application/pdf", Kind: "invoice_pdf"}, &up.pdf, &up.pdfSHA256},
		{ubl, client.File{Name: inv.FileBase() + ".xml", MediaType: "application/xml", Kind: "ubl"}, &up.ubl, &up.ublSHA256},
	} {
		sum := sha256.Sum256(f.content)
		*f.digest = hex.EncodeToString(sum[:])
		a, err := r.c.Upload(ctx, strings.NewReader(string(f.content)), f.file)
		if err != nil {
			return up, size, err
		}
		if a.SHA256 != *f.digest {
			return up, size, fmt.Errorf("%s was stored with another SHA-256", f.file.Name)
		}
		*f.id = a.ID
		size += a.Size
	}
	return up, size, nil
}

func (r *run) letter(ctx context.Context) error {
	m, err := r.c.Send(ctx, api.MessageRequest{UserRef: userRef, Mail: api.Mail{
		To: []api.Address{{Name: "Zoë Lambert", Address: letterTo}}, Language: "fr-BE",
		Document: &api.Document{Type: "letter", Date: "2026-12-01"}, Client: &api.Client{Name: "Café Zoë"},
	}}, client.IdempotencyKey("demo-letter"))
	if err != nil {
		return fmt.Errorf("send the letter: %w", err)
	}
	r.screen.done("one-off letter accepted, sender chosen by %s, language %s", m.Sender.Reason, m.Language)
	return r.follow(ctx, m.JobID, nil)
}

func (r *run) batch(ctx context.Context) error {
	req := api.SendJobRequest{Purpose: "batch", CompanyRef: companyRef, Name: "Invoices of November"}
	for i, inv := range r.invoices {
		language := inv.Buyer.Language
		req.Messages = append(req.Messages, api.Mail{
			To:          []api.Address{{Name: inv.Buyer.Contact, Address: inv.Buyer.Mail}},
			Language:    language + "-BE",
			Document:    &api.Document{Type: "invoice", Number: inv.Number, Date: inv.Issued.Format(time.DateOnly)},
			Client:      &api.Client{Name: inv.Buyer.Name},
			Tokens:      map[string]string{"MONTANT": inv.Gross().In(language), "ECHEANCE": dayIn(inv.Due, language)},
			Attachments: []api.MessageAttachment{{ID: r.files[i].pdf}, {ID: r.files[i].ubl}},
		})
	}
	began := time.Now()
	job, err := r.c.SendBatch(ctx, req, client.IdempotencyKey("demo-batch"))
	if err != nil {
		return fmt.Errorf("send the batch: %w", err)
	}
	r.result.JobID, r.result.MessageID = job.ID, job.Messages[0].ID
	r.screen.done("batch of %d accepted and on disk in %s, sender chosen by %s", job.Total, since(began), job.Sender.Reason)

	step, end := r.screen.progress("sending  ", "mails", job.Total)
	err = r.follow(ctx, job.ID, step)
	end()
	if err != nil {
		return err
	}
	r.screen.done("batch finished %s after it was accepted", since(began))
	if r.Consent != nil {
		if err := r.reconciled(ctx); err != nil {
			return err
		}
	}

	r.screen.title("What became of the batch, by language:")
	counts := outcomes{}
	for m, err := range r.c.JobMessages(ctx, job.ID, "") {
		if err != nil {
			return fmt.Errorf("list the batch: %w", err)
		}
		counts.add(m.Language, m.Status)
	}
	r.screen.table(counts)
	return nil
}

// follow waits until a job is finished. What only an event can settle, later, is not waited for.
func (r *run) follow(ctx context.Context, jobID string, step func(int)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for job, err := range r.c.FollowJob(ctx, jobID, 50*time.Millisecond) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("job %s is not finished: %+v", jobID, job.Counts)
		}
		if err != nil {
			return fmt.Errorf("follow job %s: %w", jobID, err)
		}
		if step != nil {
			step(job.Done + job.Counts.Uncertain)
		}
		if r.SendGrid != nil && job.Done+job.Counts.Uncertain == job.Total {
			return nil
		}
	}
	return nil
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
