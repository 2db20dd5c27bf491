package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
)

// jobOn sends a batch through the sandbox of a running service, whose addresses say what becomes of it.
func jobOn(t *testing.T, c *client.Client, profile string, locals ...string) string {
	t.Helper()
	var mails []api.Mail
	for i, local := range locals {
		mails = append(mails, api.Mail{
			To: []api.Address{{Address: local + "@zoe.example"}}, Subject: "Facture", Text: "Bonjour",
			Document: &api.Document{Type: "invoice", Number: fmt.Sprintf("%s-%d", locals[0], i)},
		})
	}
	return ok(c.SendBatch(t.Context(), api.SendJobRequest{SenderProfileID: profile, Name: "Novembre", Messages: mails}))(t).ID
}

func TestSendJobCommands(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	p := launch(t, dir, nil, "serve")
	tenant := must(t, dir, "tenant", "create", "Zoë")
	key := must(t, dir, "key", "create", tenant)
	c := newClient(t, p.url, key)
	profile := ok(c.CreateSenderProfile(ctx, api.SenderProfileRequest{
		Level: "company", OwnerRef: "C001", Name: "p", Default: true, From: api.Address{Address: "a@firm.example"}, Transport: "sandbox",
	}))(t).ID
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"FACTEUR_URL=" + p.url, "FACTEUR_KEY_FILE=" + keyFile}

	good := jobOn(t, c, profile, "a", "b", "c")
	stdout, stderr, code := facteur(t, dir, env, "send-job", "watch", good)
	if code != 0 || !strings.HasSuffix(stdout, "3 sent of 3 messages. It is over.\n") || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	mixed := jobOn(t, c, profile, "d", "permanent", "uncertain")
	stdout, stderr, code = facteur(t, dir, env, "send-job", "watch", mixed)
	if code != 3 || !strings.HasSuffix(stdout, "1 sent, 1 failed, 1 uncertain of 3 messages. It is over.\n") || !strings.Contains(stderr, "send-job report "+mixed) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = facteur(t, dir, env, "send-job", "report", mixed)
	if code != 0 || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "permanent@zoe.example") || !strings.Contains(stdout, "uncertain") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = facteur(t, dir, env, "send-job", "report", mixed, "--csv", "--language", "nl")
	r := csv.NewReader(strings.NewReader(stdout))
	r.Comma = ';'
	rows, err := r.ReadAll()
	if code != 0 || err != nil || len(rows) != 4 || rows[0][1] != "Nummer" {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if report := ok(c.SendJobReport(ctx, mixed))(t); len(report.Lines) != 3 || report.Job.ID != mixed {
		t.Errorf("report %+v", report)
	}
	if _, stderr, code := facteur(t, dir, env, "send-job", "watch", "job_none"); code != 1 || !strings.Contains(stderr, "404 not_found") {
		t.Errorf("an unknown job: exit code %d\n%s", code, stderr)
	}
	if _, stderr, code := facteur(t, dir, nil, "send-job", "watch", good); code != 1 || !strings.Contains(stderr, "FACTEUR_KEY") {
		t.Errorf("no key: exit code %d\n%s", code, stderr)
	}

	// A service that stops does not wait for those who follow a job.
	waiting := jobOn(t, c, profile, "temporary")
	for _, err := range c.WatchSendJob(ctx, waiting) {
		if err != nil {
			t.Fatal(err)
		}
		p.signal(t, os.Interrupt) // while this stream is open
		if code := p.exit(t); code != 0 {
			t.Errorf("exit code %d\n%s", code, p.rest())
		}
		break
	}
}

func TestOutcomeInWords(t *testing.T) {
	for _, tt := range []struct {
		job  api.SendJob
		want string
	}{
		{api.SendJob{}, "0 sent"},
		{api.SendJob{Counts: api.JobCounts{Sent: 5}, Partial: 2}, "5 sent (2 not to every recipient)"},
		{api.SendJob{Counts: api.JobCounts{Sent: 5, Failed: 1, Uncertain: 2, Canceled: 3, Held: 4, Deferred: 6, Queued: 7}},
			"5 sent, 1 failed, 2 uncertain, 3 canceled, 4 on hold, 6 to be tried again"},
	} {
		if got := outcome(tt.job); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
