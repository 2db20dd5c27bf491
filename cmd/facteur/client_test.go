package main

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
)

// Every call of the public client is made once on the real program: paths, parameters and answers are those of the service.
func TestClientSpeaksTheAPI(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	p := launch(t, dir, nil, "serve")
	operator := newClient(t, p.url, must(t, dir, "key", "create", "--operator"))
	tenant := ok(operator.CreateTenant(ctx, api.TenantRequest{Name: "Zoë"}))(t)
	if got := ok(operator.Tenant(ctx, tenant.ID))(t); got != tenant {
		t.Errorf("tenant is %+v, was made as %+v", got, tenant)
	}
	if all := collect(t, operator.Tenants(ctx)); len(all) != 1 {
		t.Errorf("%d tenants", len(all))
	}
	key := ok(operator.CreateAPIKey(ctx, tenant.ID, api.APIKeyRequest{Name: "k", Scopes: []string{"send", "read", "manage"}}))(t)
	c := newClient(t, p.url, key.Key)

	profile := ok(c.CreateSenderProfile(ctx, api.SenderProfileRequest{
		Level: "company", OwnerRef: "C001", Name: "p", Default: true, From: api.Address{Address: "a@firm.example"}, Transport: "sandbox",
	}))(t)
	name := "q"
	profile = ok(c.UpdateSenderProfile(ctx, profile.ID, api.SenderProfilePatch{Name: &name}, client.IfVersion(profile.Version)))(t)
	if got := ok(c.SenderProfile(ctx, profile.ID))(t); got.Name != "q" || got.Version != 2 {
		t.Errorf("profile is %+v", got)
	}
	_, err := c.UpdateSenderProfile(ctx, profile.ID, api.SenderProfilePatch{Name: &name}, client.IfVersion(1))
	if problem := new(client.Error); !errors.As(err, &problem) || problem.Status != http.StatusPreconditionFailed {
		t.Errorf("an edit of an old version: %v", err)
	}
	if all := collect(t, c.SenderProfiles(ctx, "company", "C001")); len(all) != 1 {
		t.Errorf("%d profiles", len(all))
	}
	if check := ok(c.CheckSenderProfile(ctx, profile.ID))(t); !check.OK {
		t.Errorf("check is %+v", check)
	}
	ok(c.SendTestMessage(ctx, profile.ID, api.TestMessageRequest{To: api.Address{Address: "z@zoe.example"}}))(t)

	template := ok(c.CreateTemplate(ctx, api.TemplateRequest{
		Name: "t", DocumentType: "invoice", Default: true, Translations: map[string]api.Translation{"fr": {Subject: "NUMFACT", Text: "DATEFACT"}},
	}))(t)
	ok(c.PutTranslation(ctx, template.ID, "nl", api.Translation{Subject: "NUMFACT", Text: "x"}))(t)
	if err := c.DeleteTranslation(ctx, template.ID, "nl"); err != nil {
		t.Error(err)
	}
	ok(c.UpdateTemplate(ctx, template.ID, api.TemplatePatch{Name: &name}))(t)
	ok(c.Template(ctx, template.ID))(t)
	ok(c.PreviewTemplate(ctx, template.ID, api.PreviewRequest{Language: "fr"}))(t)
	if tokens := ok(c.TemplateTokens(ctx))(t); len(tokens) < 5 {
		t.Errorf("tokens are %v", tokens)
	}
	if all := collect(t, c.Templates(ctx, "invoice", "")); len(all) != 1 {
		t.Errorf("%d templates", len(all))
	}

	content := strings.Repeat("content", 100_000)
	file := ok(c.Upload(ctx, strings.NewReader(content), client.File{Name: "é.txt", MediaType: "text/plain"}))(t)
	if got := ok(c.Attachment(ctx, file.ID))(t); got != file || got.Filename != "é.txt" {
		t.Errorf("attachment is %+v, was made as %+v", got, file)
	}
	if got := readAll(t)(c.Download(ctx, file.ID)); got != content {
		t.Errorf("%d bytes came back of %d", len(got), len(content))
	}

	mail := func(to string) api.Mail {
		return api.Mail{
			To: []api.Address{{Address: to + "@zoe.example"}}, ExternalID: to, Language: "fr",
			Document: &api.Document{Type: "invoice", Number: "1", Date: "2026-11-23"}, Attachments: []api.MessageAttachment{{ID: file.ID}},
		}
	}
	later := time.Now().Add(time.Hour)
	one := mail("later")
	one.SendAt = &later
	waiting := ok(c.Send(ctx, api.MessageRequest{SenderProfileID: profile.ID, Mail: one}))(t)
	if got := ok(c.CancelMessage(ctx, waiting.ID))(t); got.Status != "canceled" {
		t.Errorf("a canceled message is %s", got.Status)
	}
	batch := api.SendJobRequest{CompanyRef: "C001", Messages: []api.Mail{mail("zoe"), mail("permanent"), mail("uncertain")}}
	job := ok(c.SendBatch(ctx, batch, client.IdempotencyKey("once")))(t)
	if again := ok(c.SendBatch(ctx, batch, client.IdempotencyKey("once")))(t); again.ID != job.ID {
		t.Error("one idempotency key made two jobs")
	}
	for j, err := range c.FollowJob(ctx, job.ID, 20*time.Millisecond) {
		if err != nil {
			t.Fatal(err)
		}
		if j.Done == 2 && j.Counts.Uncertain == 1 { // not finished: a person has to decide
			break
		}
	}
	byName := map[string]string{}
	for _, m := range collect(t, c.JobMessages(ctx, job.ID, "")) {
		byName[m.ExternalID] = m.ID
	}
	if raw := readAll(t)(c.Raw(ctx, byName["zoe"])); !strings.Contains(raw, "Subject: 1\r\n") {
		t.Errorf("the mail as sent is\n%.500s", raw)
	}
	if tries := ok(c.Attempts(ctx, byName["permanent"]))(t); len(tries) != 1 || tries[0].Outcome != "permanent" {
		t.Errorf("attempts are %+v", tries)
	}
	ok(c.RetryMessage(ctx, byName["permanent"]))(t)
	if got := ok(c.ResolveMessage(ctx, byName["uncertain"], api.ResolveRequest{As: "sent", Note: "he has it"}))(t); got.Status != "sent" {
		t.Errorf("a resolved message is %s", got.Status)
	}
	ok(c.Message(ctx, byName["zoe"]))(t)
	if got := collect(t, c.Messages(ctx, client.MessageFilter{Status: "sent", SenderProfileID: profile.ID, ExternalID: "zoe"})); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
	if jobs := collect(t, c.SendJobs(ctx)); len(jobs) != 3 {
		t.Errorf("%d jobs", len(jobs))
	}
	ok(c.CancelJob(ctx, job.ID))(t)
	if events := collect(t, c.AuditEvents(ctx)); len(events) == 0 {
		t.Error("no audit events")
	}
	if err := errors.Join(c.DeleteTemplate(ctx, template.ID), c.DeleteSenderProfile(ctx, profile.ID)); err != nil {
		t.Error(err)
	}
	if keys := collect(t, operator.APIKeys(ctx, tenant.ID)); len(keys) != 1 {
		t.Errorf("%d keys", len(keys))
	}
	if err := operator.RevokeAPIKey(ctx, tenant.ID, key.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Message(ctx, byName["zoe"]); err == nil {
		t.Error("a revoked key still works")
	}
}

func newClient(t *testing.T, url, key string) *client.Client {
	t.Helper()
	c, err := client.New(url, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ok wraps a call that has to work.
func ok[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func collect[T any](t *testing.T, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func readAll(t *testing.T) func(io.ReadCloser, error) string {
	return func(r io.ReadCloser, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
}
