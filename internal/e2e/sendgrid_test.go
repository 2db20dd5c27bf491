package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// secondKey is one that a tenant's mails go with only when its add-on names it.
const secondKey = "SG.second-key-id.second-key-secret"

// installSendGrid is an installation whose SendGrid is sg, with the add-on.
func installSendGrid(t *testing.T, url string, sg *transporttest.SendGrid) *installation {
	t.Helper()
	in := installBareSendGrid(t, url, sg)
	if _, err := in.store.PutAddOn(t.Context(), &store.AddOn{TenantID: in.tenant.ID, Name: store.AddOnSendGrid}, nil); err != nil {
		t.Fatal(err)
	}
	return in
}

// installBareSendGrid is one without the add-on.
func installBareSendGrid(t *testing.T, url string, sg *transporttest.SendGrid) *installation {
	t.Helper()
	return install(t, url, "FACTEUR_LOG_LEVEL=debug", "FACTEUR_SENDGRID_WEBHOOK_KEYS=main="+sg.EventKey(),
		fmt.Sprintf(`FACTEUR_SENDGRID_KEYS=[{"name":"main","key":%q,"url":%q,"default":true},{"name":"second","key":%q,"url":%q}]`,
			transporttest.SendGridTestKey, sg.URL(), secondKey, sg.URL()))
}

// sendGridProfile is one whose sender an operator has granted, whatever SendGrid knows of it.
func (s *service) sendGridProfile(owner, from string, connections int, settings map[string]any) string {
	s.in.t.Helper()
	if _, err := s.in.store.GrantIdentity(s.in.t.Context(), &store.Identity{TenantID: s.in.tenant.ID, Name: from}, nil); err != nil {
		s.in.t.Fatal(err)
	}
	p := s.must("POST", "/v1/sender-profiles", map[string]any{
		"level": "company", "owner_ref": owner, "name": "Invoices", "default": true, "transport": "sendgrid", "sendgrid": settings,
		"from": map[string]any{"name": "Zoë SRL", "address": from}, "max_connections": connections, "limits": map[string]any{"preset": "none"},
	})
	return p["id"].(string)
}

// noKey stops the process and looks for the key in what it wrote at debug level.
func noKey(t *testing.T, s *service) {
	t.Helper()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(s.log.String(), "SG.") {
		t.Error("the log holds the key")
	}
}

// A batch from an address that nobody has verified is held after a handful of requests, and all of it goes after the verification.
func TestSendGridSenderUnverified(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{DiscardData: true})
		s := installSendGrid(t, url, sg).start()
		profile := s.sendGridProfile("C001", "billing@firm.example", 4, map[string]any{})
		job := s.batch(profile, 500)
		s.until(job, map[string]int{"held": 500})
		if n := sg.Calls("upload"); n < 1 || n > 8 {
			t.Errorf("%d requests for a batch that nobody takes", n)
		}
		p := s.must("GET", "/v1/sender-profiles/"+profile, nil)
		if problem, _ := p["problem"].(map[string]any); p["status"] != "held" || problem["code"] != "sendgrid_sender_unverified" {
			t.Errorf("the profile is %v: %v", p["status"], p["problem"])
		}
		check := s.must("POST", "/v1/sender-profiles/"+profile+"/check", nil)
		if check["ok"] != false || sg.Accepted() != 0 {
			t.Errorf("check %v, %d mails", check, sg.Accepted())
		}
		sg.Verify("", "firm.example")
		if check = s.must("POST", "/v1/sender-profiles/"+profile+"/check", nil); check["ok"] != true {
			t.Fatalf("check %v", check)
		}
		s.until(job, map[string]int{"sent": 500})
		if ids := sg.ByMessageID(); sg.Accepted() != 500 || len(ids) != 500 || sg.Duplicates() != 0 {
			t.Errorf("SendGrid has %d mails, %d twice", sg.Accepted(), sg.Duplicates())
		}
		for _, m := range sg.Mails() {
			if len(m.CustomArgs) != 2 || !strings.HasPrefix(m.CustomArgs["facteur_message"], "msg_") || !strings.HasPrefix(m.CustomArgs["facteur_tenant"], "tnt_") {
				t.Fatalf("custom_args %v", m.CustomArgs)
			}
		}
		noKey(t, s)
	})
}

// SendGrid lets one sender wait for an hour: the other's mails go as fast as ever, and the first is not asked for again and again.
func TestSendGridLimitsOneSender(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{AnySender: true, DiscardData: true, Hook: func(step transporttest.SendGridStep) transporttest.SendGridAction {
			if step.Endpoint == "send" && step.From == "billing@slow.example" {
				return transporttest.SendGridAction{Status: http.StatusTooManyRequests, Message: "too many requests", Header: map[string]string{
					"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(time.Now().Add(time.Hour).Unix()),
				}}
			}
			return transporttest.SendGridAction{}
		}})
		s := installSendGrid(t, url, sg).start()
		slow := s.sendGridProfile("C001", "billing@slow.example", 2, map[string]any{})
		fast := s.sendGridProfile("C002", "billing@fast.example", 2, map[string]any{})
		waiting := s.batch(slow, 100)
		eventually(t, time.Minute, func() error {
			if p := s.must("GET", "/v1/sender-profiles/"+slow, nil); p["status"] != "paused" {
				return fmt.Errorf("the profile is %v", p["status"])
			}
			return nil
		})
		p := s.must("GET", "/v1/sender-profiles/"+slow, nil)
		until, err := time.Parse(time.RFC3339Nano, fmt.Sprint(p["paused_until"]))
		if err != nil || time.Until(until) < 50*time.Minute {
			t.Errorf("paused until %v, %v", p["paused_until"], err)
		}
		s.until(s.batch(fast, 300), map[string]int{"sent": 300})
		counts, err := s.counts(waiting)
		if err != nil || counts["sent"]+counts["failed"]+counts["uncertain"] != 0 {
			t.Errorf("counts are %v, %v", counts, err)
		}
		if refused := sg.Calls("upload") - 300; refused > 4 || sg.Accepted() != 300 || sg.Duplicates() != 0 {
			t.Errorf("%d refused requests, %d mails", refused, sg.Accepted())
		}
		noKey(t, s)
	})
}

// SendGrid takes a mail and says nothing, or 500: it is uncertain and never posted again. A careful profile takes it back and
// sends it again.
func TestSendGridAcceptsAndDoesNotSaySo(t *testing.T) {
	for name, action := range map[string]transporttest.SendGridAction{
		"drop": {Accept: true, Drop: true}, "500": {Accept: true, Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			pgtest.Both(t, func(t *testing.T, url string) {
				sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{AnySender: true})
				hook := func(step transporttest.SendGridStep) transporttest.SendGridAction {
					if step.Endpoint == "send" && step.N <= 3 {
						return action
					}
					return transporttest.SendGridAction{}
				}
				sg.SetHook(hook)
				in := installSendGrid(t, url, sg)
				s := in.start()
				profile := s.sendGridProfile("C001", "billing@firm.example", 2, map[string]any{})
				s.until(s.batch(profile, 20), map[string]int{"sent": 17, "uncertain": 3})
				if sg.Accepted() != 20 || sg.Calls("upload") != 20 || sg.Duplicates() != 0 {
					t.Errorf("SendGrid has %d mails of %d requests, %d twice", sg.Accepted(), sg.Calls("upload"), sg.Duplicates())
				}
				if action.Drop { // with the other it would be the same
					sg.SetHook(func(step transporttest.SendGridStep) transporttest.SendGridAction {
						if step.Endpoint == "send" && step.N > 20 && step.N <= 23 {
							return action
						}
						return transporttest.SendGridAction{}
					})
					careful := s.sendGridProfile("C002", "billing@firm.example", 2, map[string]any{"careful": true})
					job := s.batch(careful, 20)
					s.until(job, map[string]int{"sent": 17, "deferred": 3})
					in.due(job)
					s.until(job, map[string]int{"sent": 20})
					canceled := 0
					for _, m := range sg.Mails() {
						if m.Canceled {
							canceled++
						}
					}
					if ids := sg.ByMessageID(); canceled != 3 || len(ids) != 40 || sg.Duplicates() != 0 {
						t.Errorf("%d canceled, %d different mails, %d twice", canceled, len(ids), sg.Duplicates())
					}
				}
				noKey(t, s)
			})
		})
	}
}

// Two processes send a batch over 20 connections: each mail is there once.
func TestSendGridTwoProcesses(t *testing.T) {
	const n = 1000
	pgtest.Both(t, func(t *testing.T, url string) {
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{AnySender: true, DiscardData: true})
		in := installSendGrid(t, url, sg)
		s, other := in.start(), in.start("worker")
		s.until(s.batch(s.sendGridProfile("C001", "billing@firm.example", 20, map[string]any{}), n), map[string]int{"sent": n})
		if ids := sg.ByMessageID(); sg.Accepted() != n || len(ids) != n || sg.Duplicates() != 0 || sg.Calls("upload") != n {
			t.Errorf("SendGrid has %d mails of %d requests, %d twice", sg.Accepted(), sg.Calls("upload"), sg.Duplicates())
		}
		noKey(t, s)
		noKey(t, other)
	})
}

// One firm's way with SendGrid, from the add-on to the invoice for it, as its reseller, its user and SendGrid go it. Nobody is shown
// the key on the way.
func TestSendGridFromAddOnToInvoice(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{})
		in := install(t, url, "FACTEUR_LOG_LEVEL=debug", "FACTEUR_SENDGRID_WEBHOOK_KEYS=main="+sg.EventKey(),
			fmt.Sprintf(`FACTEUR_SENDGRID_KEYS=[{"name":"main","key":%q,"url":%q}]`, transporttest.SendGridTestKey, sg.URL()))
		_, operatorKey, err := in.store.CreateKey(t.Context(), "", "operator", []store.Scope{store.ScopeOperator})
		if err != nil {
			t.Fatal(err)
		}
		s := in.start()
		operator := []string{"Authorization", "Bearer " + operatorKey}
		settings := map[string]any{
			"level": "company", "owner_ref": "C001", "name": "Invoices", "default": true, "transport": "sendgrid",
			"from": map[string]any{"name": "Zoë SRL", "address": "billing@zoe.example"},
		}
		if status, answer, err := s.call("POST", "/v1/sender-profiles", settings); status != http.StatusForbidden || answer["code"] != "add_on_required" {
			t.Fatalf("%d %v %v", status, answer, err)
		}
		s.must("PUT", "/v1/tenants/"+in.tenant.ID+"/add-ons/sendgrid", map[string]any{}, operator...)
		profile := s.must("POST", "/v1/sender-profiles", settings)["id"].(string)
		send := func(to ...string) string {
			list := make([]any, len(to))
			for i := range to {
				list[i] = map[string]any{"address": to[i]}
			}
			return s.must("POST", "/v1/messages", map[string]any{"sender_profile_id": profile, "to": list, "subject": "Invoice", "text": "Hello"})["id"].(string)
		}
		is := func(message, field, want string) map[string]any {
			t.Helper()
			var m map[string]any
			eventually(t, 30*time.Second, func() error {
				if m = s.must("GET", "/v1/messages/"+message, nil); m[field] != want {
					return fmt.Errorf("%s is %v, want %s", field, m[field], want)
				}
				return nil
			})
			return m
		}
		first := send("gone@client.example", "fine@client.example")
		is(first, "status", "held")
		verification := s.must("POST", "/v1/sender-profiles/"+profile+"/sender-verification", map[string]any{"method": "domain"})
		if zone, _ := verification["zone_file"].(string); verification["state"] != "pending" || strings.Count(zone, " IN CNAME ") != 3 {
			t.Errorf("%v", verification)
		}
		sg.Publish("", "zoe.example")
		err = in.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error { // whoever asks now asks long after
			const query = `UPDATE sender_identities SET looked_at = 0`
			if tx.PG != nil {
				_, err := tx.PG.Exec(ctx, query)
				return err
			}
			_, err := tx.SQL.ExecContext(ctx, query)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, func() error {
			if v := s.must("GET", "/v1/sender-profiles/"+profile+"/sender-verification", nil); v["state"] != "verified" {
				return fmt.Errorf("%v", v["state"])
			}
			return nil
		})
		is(first, "status", "sent")
		m := sg.Mails()[0]
		status, err := sg.PostEvents(t.Context(), s.base+"/webhooks/sendgrid",
			sg.Event(m, "gone@client.example", "bounce", nil), sg.Event(m, "fine@client.example", "delivered", nil))
		if err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
		is(first, "delivery", "bounced")

		// SendGrid sends to all whom a mail names: not to the one alone, and the reason is the suppression.
		second := send("fine@client.example", "gone@client.example")
		if m := is(second, "status", "failed"); !strings.Contains(fmt.Sprint(m["problem"]), "recipient_suppressed") {
			t.Errorf("%v", m["problem"])
		}
		list := s.must("GET", "/v1/suppressions", nil)["items"].([]any)
		if len(list) != 1 || sg.Accepted() != 1 {
			t.Fatalf("%v, %d mails", list, sg.Accepted())
		}
		if status, answer, err := s.call("DELETE", "/v1/suppressions/"+list[0].(map[string]any)["id"].(string), nil); status != http.StatusNoContent {
			t.Fatal(status, answer, err)
		}
		s.must("POST", "/v1/messages/"+second+"/retry", nil)
		is(second, "status", "sent")

		usage := s.must("GET", "/v1/usage", nil)["total"].(map[string]any)
		if usage["messages"] != 2.0 || usage["recipients"] != 4.0 || usage["recipients_sent"] != 4.0 || usage["sent"] != 2.0 {
			t.Errorf("%v", usage)
		}
		items := s.must("GET", "/v1/usage-report", nil, operator...)["items"].([]any)
		if one := items[0].(map[string]any); len(items) != 1 || one["sendgrid_days"] != 1.0 || one["transport"] != "sendgrid" {
			t.Errorf("%v", items)
		}
		noKey(t, s)
	})
}
