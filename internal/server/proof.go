package server

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// getProof gives the proof of dispatch.
//
//	@Summary		Get the proof of dispatch of a message
//	@Description	A zip with message.eml, the exact mail as it was handed over; proof.json, what was asked by whom, each attempt with the far end's replies, and what was decided; proof.txt, the same for a person's files, in the language asked for; and SHA256SUMS over them. The same message in the same state gives the same bytes. Of a message that was not sent, or by the sandbox alone, it says so plainly. When the content was erased, message.eml is left out and its SHA-256 stays.
//	@ID				getMessageProof
//	@Tags			messages
//	@Produce		application/zip
//	@Param			id	path		string	true	"Id of the message."
//	@Success		200	{file}		binary
//	@Header			200	{string}	Content-Disposition	"A file name for it."
//	@Router			/v1/messages/{id}/proof [get]
func (s *Server) getProof(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	ctx, lang := c.Request.Context(), language(c)
	p, rendered, err := s.proofOf(ctx, lang, tenantOf(c), id)
	if err != nil {
		return err
	}
	name := id + ".not-a-proof.zip"
	if p.ProvesDispatch {
		name = id + ".proof.zip"
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", disposition(name))
	c.Writer.WriteHeader(http.StatusOK)
	if err := writeProof(writerOnly{c.Writer}, lang, p, rendered); err != nil {
		panic(http.ErrAbortHandler) // the caller must see that it is not whole
	}
	return nil
}

// proofOf gathers what is known of a message, and the mail itself, nil when its content was erased.
func (s *Server) proofOf(ctx context.Context, lang, tenant, id string) (*api.Proof, *mail.Rendered, error) {
	m, err := s.store.Message(ctx, tenant, id)
	if err != nil {
		return nil, nil, err
	}
	attempts, err := s.store.Attempts(ctx, tenant, id)
	if err != nil {
		return nil, nil, err
	}
	content, err := s.store.MessageContent(ctx, tenant, id)
	if err != nil {
		return nil, nil, err
	}
	job, err := s.store.Job(ctx, tenant, m.JobID)
	if err != nil {
		return nil, nil, err
	}
	firm, err := s.store.Tenant(ctx, tenant)
	if err != nil {
		return nil, nil, err
	}
	events, err := s.store.AuditOf(ctx, tenant, id)
	if err != nil {
		return nil, nil, err
	}
	p := &api.Proof{
		Format: 1, Message: messageOf(lang, m), MessageIDHeader: content.MessageIDHeader, From: api.Address(content.From),
		Attempts: make([]api.Attempt, len(attempts)), Decisions: make([]api.ProofDecision, len(events)),
		Firm: api.ProofParty{ID: firm.ID, Name: firm.Name}, RequestedBy: api.ProofParty{ID: job.CreatedBy}, Job: jobSummary(lang, job),
	}
	for i := range attempts {
		p.Attempts[i] = attemptOf(lang, &attempts[i])
	}
	for i, e := range events {
		var d struct{ As, Note, Reason string }
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			return nil, nil, fmt.Errorf("audit event %s: %w", e.ID, err)
		}
		p.Decisions[i] = api.ProofDecision{Action: e.Action, As: d.As, Actor: e.Actor, Note: d.Note + d.Reason, At: e.CreatedAt}
	}
	key, err := s.store.KeyByID(ctx, job.CreatedBy)
	if err == nil && key.TenantID == tenant {
		p.RequestedBy.Name = key.Name
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil, err
	}
	p.ProvesDispatch = provesDispatch(m, attempts, events)
	n := len(attempts)
	p.Trial = n > 0 && attempts[n-1].Detail.Transport == sandboxTransport && !p.ProvesDispatch
	if e := m.Detail.Erased; e != nil {
		p.Mail = api.ProofMail{SHA256: e.SHA256, Size: e.Size, ErasedAt: &e.At}
		return p, nil, nil
	}
	rendered, err := s.outbox.Render(ctx, tenant, id)
	if err != nil {
		return nil, nil, err
	}
	p.Mail = api.ProofMail{File: "message.eml", Size: rendered.Size()}
	return p, rendered, nil
}

// sandboxTransport keeps what it is given and delivers nothing, whatever it answers.
const sandboxTransport = "sandbox"

// provesDispatch says that the far end confirmed the mail: it said so when it took it or in a report later, or the mail was found in its
// mailbox. A person's word is none, nor is a trial in the sandbox.
func provesDispatch(m *store.Message, attempts []store.Attempt, events []*store.AuditEvent) bool {
	if m.Status != mail.StatusSent || len(attempts) == 0 {
		return false
	}
	found, word := false, false
	for _, e := range events {
		switch {
		case !strings.Contains(string(e.Detail), `"as":"`+outbox.ResolveSent+`"`):
		case e.Actor == outbox.ActorReconciliation, e.Actor == outbox.ActorEvents:
			found = true
		default: // for a recipient at least; another one may have had it from the server
			word = true
		}
	}
	taken := slices.ContainsFunc(attempts, func(a store.Attempt) bool {
		return a.Outcome == mail.OutcomeSent && a.Detail.Transport != sandboxTransport
	})
	return found || taken && !word && attempts[len(attempts)-1].Outcome != mail.OutcomeUncertain
}

// writeProof writes the zip. Nothing of it depends on when it is asked for. The files are stored as they are: how well they
// would be compressed is not for ever.
func writeProof(w io.Writer, lang string, p *api.Proof, rendered *mail.Rendered) error {
	z := zip.NewWriter(w)
	sums := ""
	add := func(name string, write func(io.Writer) error) (sum string, err error) {
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: p.Message.CreatedAt.UTC().Truncate(time.Second)})
		if err != nil {
			return "", err
		}
		hash := sha256.New()
		if err := write(io.MultiWriter(f, hash)); err != nil {
			return "", err
		}
		sum = hex.EncodeToString(hash.Sum(nil))
		sums += sum + "  " + name + "\n"
		return sum, nil
	}
	if rendered != nil {
		sum, err := add(p.Mail.File, func(w io.Writer) error { _, err := rendered.WriteTo(w); return err })
		if err != nil {
			return err
		}
		p.Mail.SHA256 = sum
	}
	if _, err := add("proof.json", func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(p)
	}); err != nil {
		return err
	}
	if _, err := add("proof.txt", func(w io.Writer) error { _, err := io.WriteString(w, proofText(lang, p)); return err }); err != nil {
		return err
	}
	if _, err := add("SHA256SUMS", func(w io.Writer) error { _, err := io.WriteString(w, sums); return err }); err != nil {
		return err
	}
	return z.Close()
}

// eraseContent forgets what a message said.
//
//	@Summary		Erase the content of a message
//	@Description	Forgets the texts of a message that has come to its end, its own headers and which files it had. Its recipients, its subject, what became of it and the SHA-256 of the exact mail stay, so that its proof still stands; the mail itself can be neither shown nor sent again. Uploaded files stay, because other mails may have them. Doing it again changes nothing.
//	@ID				eraseMessageContent
//	@Tags			messages
//	@Param			id	path	string	true	"Id of the message."
//	@Success		204	"It is erased."
//	@Failure		409	{object}	api.Problem	"The message is still to be sent or resolved."
//	@Router			/v1/messages/{id}/content [delete]
func (s *Server) eraseContent(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := s.outbox.Erase(c.Request.Context(), tenantOf(c), apiKey(c).ID, id); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}
