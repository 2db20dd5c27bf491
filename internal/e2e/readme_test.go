//go:build readme

package e2e

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// The README's commands about SendGrid, as they stand there, against a stand-in.
func TestReadmeSendGrid(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal("the README's commands need " + tool)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- sendgrid tour: [a-z]+ -->\n```sh\n(.*?)```\n<!-- end -->").FindAllSubmatch(readme, -1)
	if len(blocks) != 4 {
		t.Fatalf("the README has %d blocks of commands about SendGrid", len(blocks))
	}
	var script strings.Builder
	for _, block := range blocks {
		script.Write(block[1])
	}
	sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{Subusers: []string{"dupont"}})
	sg.Publish("dupont", "dupont.example")
	in := installBareSendGrid(t, pgtest.SQLite(t), sg)
	s := in.start()
	_, operator, err := in.store.CreateKey(t.Context(), "", "e2e", []store.Scope{store.ScopeOperator})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script.String()) //nolint:gosec // our own README
	cmd.Env = append(os.Environ(), "URL="+s.base, "TENANT="+in.tenant.ID, "KEY="+in.key, "OPERATOR="+operator)
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		done <- result{out, err}
	}()
	told := 0 // mails that SendGrid has told of
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case r := <-done:
			out := string(r.out)
			if r.err != nil {
				t.Fatalf("%v\n%s", r.err, out)
			}
			for _, want := range []string{"IN CNAME", `"status": "sent"`, `"delivery": "delivered"`, `"messages": 1`, "old.example", in.tenant.ID} {
				if !strings.Contains(out, want) {
					t.Errorf("no %s in\n%s", want, out)
				}
			}
			return
		case <-tick.C: // the world outside goes on
			in.look()
			for _, m := range sg.Mails()[told:] {
				s.reports(sg, sg.Event(m, m.To[0].Email, "delivered", nil))
				told++
			}
		}
	}
}
