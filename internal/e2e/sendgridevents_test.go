package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/sendgrid/events"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// report posts to the event webhook as whoever made the signature, and gives the status and what was taken.
func (s *service) report(body []byte, signature, timestamp string) (status int, taken map[string]int) {
	s.in.t.Helper()
	req, err := http.NewRequest("POST", s.base+"/webhooks/sendgrid", bytes.NewReader(body))
	if err != nil {
		s.in.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if signature != "" {
		req.Header.Set(events.SignatureHeader, signature)
		req.Header.Set(events.TimestampHeader, timestamp)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.in.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&taken); err != nil {
			s.in.t.Fatal(err)
		}
	}
	return resp.StatusCode, taken
}

// reports has SendGrid report, and expects each event to be new.
func (s *service) reports(sg *transporttest.SendGrid, batch ...transporttest.SendGridEvent) {
	s.in.t.Helper()
	body := transporttest.EventBody(batch...)
	signature, timestamp := sg.SignEvents(body, time.Now())
	if status, taken := s.report(body, signature, timestamp); status != http.StatusOK || taken["stored"] != len(batch) {
		s.in.t.Fatalf("%d events: %d, %v", len(batch), status, taken)
	}
}

// known is all that events could change of a job and its tenant.
func (s *service) known(job string) map[string]any {
	s.in.t.Helper()
	return map[string]any{
		"job":          s.must("GET", "/v1/send-jobs/"+job, nil)["counts"],
		"messages":     s.must("GET", "/v1/send-jobs/"+job+"/messages?limit=200", nil),
		"suppressions": s.must("GET", "/v1/suppressions", nil),
		"audit":        s.must("GET", "/v1/audit-events", nil),
	}
}

// SendGrid takes five mails of fifty without saying so. Nothing but its own word, signed and about this firm's mails, proves them
// sent, and they are never posted again.
func TestSendGridEventsProveUncertainMails(t *testing.T) {
	for name, action := range map[string]transporttest.SendGridAction{
		"drop": {Accept: true, Drop: true}, "500": {Accept: true, Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			pgtest.Both(t, func(t *testing.T, url string) {
				sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{AnySender: true, Hook: func(step transporttest.SendGridStep) transporttest.SendGridAction {
					if step.Endpoint == "send" && step.N%10 == 5 {
						return action
					}
					return transporttest.SendGridAction{}
				}})
				s := installSendGrid(t, url, sg).start()
				job := s.batch(s.sendGridProfile("C001", "billing@firm.example", 2, map[string]any{}), 50)
				s.until(job, map[string]int{"sent": 45, "uncertain": 5})

				var batch []transporttest.SendGridEvent
				for _, m := range sg.Mails() {
					batch = append(batch, sg.Event(m, m.To[0].Email, "processed", nil))
				}
				s.nothingComesOf(sg, job, batch)
				s.reports(sg, batch...)
				s.until(job, map[string]int{"sent": 50})
				for _, item := range s.must("GET", "/v1/send-jobs/"+job+"/messages?limit=200", nil)["items"].([]any) {
					if m := item.(map[string]any); m["attempts"] != 1.0 || m["problem"] != nil {
						t.Errorf("%v", m)
					}
				}
				after := s.known(job)
				body := transporttest.EventBody(batch...)
				signature, timestamp := sg.SignEvents(body, time.Now())
				if status, taken := s.report(body, signature, timestamp); status != http.StatusOK || taken["known"] != 50 {
					t.Errorf("replayed: %d, %v", status, taken)
				}
				if now := s.known(job); !reflect.DeepEqual(now, after) {
					t.Errorf("a replay changed\n%v\nto\n%v", after, now)
				}
				if sg.Accepted() != 50 || sg.Calls("upload") != 50 || sg.Duplicates() != 0 {
					t.Errorf("SendGrid has %d mails of %d requests, %d twice", sg.Accepted(), sg.Calls("upload"), sg.Duplicates())
				}
				noKey(t, s)
			})
		})
	}
}

// SendGrid tells of a mail while it still owes the answer to it, which never comes.
func TestSendGridEventBeforeTheAnswer(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{AnySender: true, Hook: func(step transporttest.SendGridStep) transporttest.SendGridAction {
			if step.Endpoint == "send" {
				return transporttest.SendGridAction{Accept: true, Drop: true, Delay: time.Second}
			}
			return transporttest.SendGridAction{}
		}})
		s := installSendGrid(t, url, sg).start()
		job := s.batch(s.sendGridProfile("C001", "billing@firm.example", 1, map[string]any{}), 1)
		if !sg.Wait(1, time.Minute) {
			t.Fatal("no mail comes")
		}
		m := sg.Mails()[0]
		s.reports(sg, sg.Event(m, m.To[0].Email, "delivered", nil))
		s.until(job, map[string]int{"sent": 1})
		if got := s.must("GET", "/v1/messages/"+m.CustomArgs[events.ArgMessage], nil); got["delivery"] != "delivered" || sg.Calls("upload") != 1 {
			t.Errorf("%v, %d POSTs", got["delivery"], sg.Calls("upload"))
		}
		noKey(t, s)
	})
}

// nothingComesOf reports what would change much if it were believed.
func (s *service) nothingComesOf(sg *transporttest.SendGrid, job string, honest []transporttest.SendGridEvent) {
	t := s.in.t
	t.Helper()
	other := transporttest.StartSendGrid(t, transporttest.SendGridConfig{})
	foreign := &store.Tenant{Name: "Other firm"}
	if err := s.in.store.CreateTenant(t.Context(), foreign, nil); err != nil {
		t.Fatal(err)
	}
	// altered is the batch with something else in it.
	altered := func(change transporttest.SendGridEvent) []byte {
		batch := make([]transporttest.SendGridEvent, len(honest))
		for i, e := range honest {
			batch[i] = transporttest.SendGridEvent{}
			for name, value := range e {
				batch[i][name] = value
			}
			for name, value := range change {
				batch[i][name] = value
			}
		}
		return transporttest.EventBody(batch...)
	}
	before := s.known(job)
	bounced := altered(transporttest.SendGridEvent{"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no such user"})
	now := time.Now()
	for _, tt := range []struct {
		name   string
		body   []byte
		signed []byte // whose signature goes with it; nil: none
		by     *transporttest.SendGrid
		at     time.Time
		status int
	}{
		{"unsigned", bounced, nil, sg, now, http.StatusUnauthorized},
		{"forged", bounced, bounced, other, now, http.StatusUnauthorized},
		{"signature of another body", bounced, altered(nil), sg, now, http.StatusUnauthorized},
		{"stale", bounced, bounced, sg, now.Add(-25 * time.Hour), http.StatusUnauthorized},
		{"from the future", bounced, bounced, sg, now.Add(time.Hour), http.StatusUnauthorized},
		{"another tenant's", altered(transporttest.SendGridEvent{events.ArgTenant: foreign.ID}), altered(transporttest.SendGridEvent{events.ArgTenant: foreign.ID}), sg, now, http.StatusOK},
		{"an unknown mail's", altered(transporttest.SendGridEvent{events.ArgMessage: store.NewID("msg")}), nil, sg, now, http.StatusOK},
		{"without our ids", altered(transporttest.SendGridEvent{events.ArgTenant: nil, events.ArgMessage: nil}), nil, sg, now, http.StatusOK},
		{"no JSON", []byte("[{]"), nil, sg, now, http.StatusBadRequest},
	} {
		if tt.signed == nil && tt.status != http.StatusUnauthorized {
			tt.signed = tt.body
		}
		signature, timestamp := "", ""
		if tt.signed != nil {
			signature, timestamp = tt.by.SignEvents(tt.signed, tt.at)
		}
		if status, taken := s.report(tt.body, signature, timestamp); status != tt.status || taken["stored"] != 0 {
			t.Errorf("%s: %d, %v", tt.name, status, taken)
		}
		if after := s.known(job); !reflect.DeepEqual(after, before) {
			t.Fatalf("%s changed\n%v\nto\n%v", tt.name, before, after)
		}
	}
}

// Two firms share one account at SendGrid, which would send from the domain of either for both. Only the one that proved it does.
func TestSendGridForeignDomain(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{Domains: []string{"firm.example"}})
		in := installSendGrid(t, url, sg)
		s := in.start()
		other := &store.Tenant{Name: "Other firm"}
		if err := in.store.CreateTenant(t.Context(), other, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := in.store.PutAddOn(t.Context(), &store.AddOn{TenantID: other.ID, Name: store.AddOnSendGrid}, nil); err != nil {
			t.Fatal(err)
		}
		_, key, err := in.store.CreateKey(t.Context(), other.ID, "e2e", []store.Scope{store.ScopeSend, store.ScopeRead, store.ScopeManage})
		if err != nil {
			t.Fatal(err)
		}
		theirs := []string{"Authorization", "Bearer " + key}
		profile := map[string]any{
			"level": "company", "owner_ref": "C001", "name": "Invoices", "default": true, "transport": "sendgrid",
			"from": map[string]any{"address": "billing@firm.example"},
		}
		// Nobody has the domain yet, so the other firm may name it.
		taker := s.must("POST", "/v1/sender-profiles", profile, theirs...)["id"].(string)
		job := s.must("POST", "/v1/send-jobs", map[string]any{"purpose": "batch", "sender_profile_id": taker, "messages": mails(5)}, theirs...)["id"].(string)

		if _, err := in.store.GrantIdentity(t.Context(), &store.Identity{TenantID: in.tenant.ID, Name: "firm.example"}, nil); err != nil {
			t.Fatal(err)
		}
		ours := s.sendGridProfile("C001", "billing@firm.example", 2, map[string]any{})
		refused := func(status int, code, method, path string, body any) {
			t.Helper()
			got, answer, err := s.call(method, path, body, theirs...)
			text, jsonErr := json.Marshal(answer)
			if err != nil || jsonErr != nil || got != status || !bytes.Contains(text, []byte(code)) {
				t.Errorf("%s %s: %d %s %v, want %d %s", method, path, got, text, err, status, code)
			}
		}
		refused(http.StatusConflict, "sender_identity_taken", "POST", "/v1/sender-profiles/"+taker+"/sender-verification", map[string]any{"method": "domain"})
		profile["owner_ref"] = "C002"
		refused(http.StatusUnprocessableEntity, "sender_identity_taken", "POST", "/v1/sender-profiles", profile)
		profile["from"] = map[string]any{"address": "billing@other.example"}
		second := s.must("POST", "/v1/sender-profiles", profile, theirs...)["id"].(string)
		refused(http.StatusUnprocessableEntity, "sender_identity_taken", "PATCH", "/v1/sender-profiles/"+second, map[string]any{"from": map[string]any{"address": "a@FIRM.example"}})
		if check := s.must("POST", "/v1/sender-profiles/"+taker+"/check", nil, theirs...); check["ok"] != false {
			t.Errorf("the check of a foreign sender: %v", check)
		}
		posts := func() int { return sg.Calls("upload") }
		if posts() != 0 {
			t.Errorf("%d POSTs", posts())
		}
		// A process that starts anew finds the mail that waits, and leaves it alone while it sends that of the domain's firm.
		noKey(t, s)
		s = in.start()
		s.until(s.batch(ours, 20), map[string]int{"sent": 20})
		waiting := s.must("GET", "/v1/send-jobs/"+job, nil, theirs...)
		if held := object(waiting, "counts")["held"]; held != 5.0 {
			t.Errorf("the other firm's mails: %v", waiting["counts"])
		}
		for _, m := range sg.Mails() {
			if m.CustomArgs[events.ArgTenant] != in.tenant.ID {
				t.Errorf("a mail of %s", m.CustomArgs[events.ArgTenant])
			}
		}
		if posts() != 20 || sg.Accepted() != 20 {
			t.Errorf("%d POSTs, %d mails", posts(), sg.Accepted())
		}
		noKey(t, s)
	})
}

// look makes it the time to ask SendGrid about the senders that wait.
func (in *installation) look() {
	in.t.Helper()
	const query = "UPDATE sender_identities SET next_look = 1 WHERE state = 'pending'"
	var err error
	if pool := in.store.Postgres(); pool != nil {
		_, err = pool.Exec(in.t.Context(), query)
	} else {
		_, err = in.store.SQLite().Exec(query)
	}
	if err != nil {
		in.t.Fatal(fmt.Errorf("look: %w", err))
	}
}
