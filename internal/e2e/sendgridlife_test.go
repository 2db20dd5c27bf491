package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
	"github.com/winprest/facteur/pkg/client"
)

// A firm's life with SendGrid: no add-on, the add-on, a sender that is not verified and then is, mail that is delivered or bounces
// with the firm's own program told of it, an address that gets no more, and the add-on taken away and given back in the middle of a
// batch. All of it goes with the firm's subuser and with the key that the add-on names, the only one that this SendGrid knows.
func TestSendGridLife(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		const subuser = "firm-1"
		var mu sync.Mutex
		behalf := map[string]int{}
		count := func(step transporttest.SendGridStep) transporttest.SendGridAction {
			mu.Lock()
			defer mu.Unlock()
			behalf[step.Subuser]++
			return transporttest.SendGridAction{}
		}
		sg := transporttest.StartSendGrid(t, transporttest.SendGridConfig{Keys: []transporttest.SendGridKey{{Key: secondKey}}, Subusers: []string{subuser}, Hook: count})
		in := installBareSendGrid(t, url, sg)
		s := in.start()
		_, key, err := in.store.CreateKey(t.Context(), "", "e2e", []store.Scope{store.ScopeOperator})
		if err != nil {
			t.Fatal(err)
		}
		operator := []string{"Authorization", "Bearer " + key}
		addOn := "/v1/tenants/" + in.tenant.ID + "/add-ons/sendgrid"

		profile := s.firstSteps(sg, addOn, subuser, operator)
		s.whatIsReported(sg, profile)
		s.addOnOffAndOn(sg, count, profile, addOn, subuser, operator)

		mu.Lock()
		defer mu.Unlock()
		if behalf[subuser] == 0 || len(behalf) != 1 {
			t.Errorf("calls on behalf of %v", behalf)
		}
		noKey(t, s)
	})
}

// firstSteps go from no add-on to the first mail that is sent.
func (s *service) firstSteps(sg *transporttest.SendGrid, addOn, subuser string, operator []string) (profile string) {
	t := s.in.t
	t.Helper()
	wanted := map[string]any{
		"level": "company", "owner_ref": "C001", "name": "Invoices", "default": true, "transport": "sendgrid", "max_connections": 1,
		"from": map[string]any{"name": "Zoë SRL", "address": "billing@firm.example"},
	}
	if status, answer, err := s.call("POST", "/v1/sender-profiles", wanted); err != nil || status != http.StatusForbidden || answer["code"] != "add_on_required" {
		t.Fatalf("without the add-on: %d %v %v", status, answer, err)
	}
	s.must("PUT", addOn, map[string]any{"key": "second", "subuser": subuser}, operator...)
	p := s.must("POST", "/v1/sender-profiles", wanted)
	if p["status"] != "held" || object(p, "problem")["code"] != "sendgrid_sender_unverified" {
		t.Fatalf("before the verification: %v", p)
	}
	profile = p["id"].(string)
	path := "/v1/sender-profiles/" + profile
	job := s.batch(profile, 3)
	s.until(job, map[string]int{"held": 3})

	v := s.must("POST", path+"/sender-verification", map[string]any{"method": "domain"})
	records, _ := v["records"].([]any)
	if v["state"] != "pending" || len(records) != 3 {
		t.Fatalf("verification %v", v)
	}
	sg.Publish(subuser, "firm.example")
	if n := sg.Calls("upload"); n != 0 {
		t.Errorf("%d POSTs before the verification", n)
	}
	s.in.look()
	s.until(job, map[string]int{"sent": 3})
	if v = s.must("GET", path+"/sender-verification", nil); v["state"] != "verified" {
		t.Errorf("verification %v", v)
	}
	if check := s.must("POST", path+"/check", nil); check["ok"] != true {
		t.Errorf("check %v", check)
	}
	test := s.must("POST", path+"/test-message", map[string]any{"to": map[string]any{"address": "me@firm.example"}})
	s.until(test["job_id"].(string), map[string]int{"sent": 1})
	for _, m := range sg.Mails() {
		if m.Subuser != subuser {
			t.Errorf("a mail on behalf of %q", m.Subuser)
		}
	}
	return profile
}

// whatIsReported has one mail delivered and one bounced, and a receiver of the firm's told.
func (s *service) whatIsReported(sg *transporttest.SendGrid, profile string) {
	t := s.in.t
	t.Helper()
	var secret string
	type told struct {
		event api.WebhookEvent
		err   error
	}
	heard := make(chan told, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e api.WebhookEvent
		if err == nil {
			_, e, err = client.VerifyWebhook(secret, r.Header, body)
		}
		heard <- told{e, err}
	}))
	t.Cleanup(receiver.Close)
	secret = s.must("POST", "/v1/webhook-endpoints", map[string]any{"url": receiver.URL, "events": []string{"message.bounced"}})["secret"].(string)

	job := s.batch(profile, 2)
	s.until(job, map[string]int{"sent": 2})
	sent := sg.Mails()
	arrived, lost := sent[len(sent)-2], sent[len(sent)-1]
	s.reports(sg, sg.Event(lost, lost.To[0].Email, "bounce", nil), sg.Event(arrived, arrived.To[0].Email, "delivered", nil),
		sg.Event(lost, lost.To[0].Email, "processed", nil), sg.Event(arrived, arrived.To[0].Email, "processed", nil))
	for m, want := range map[*transporttest.SendGridMail]string{&arrived: "delivered", &lost: "bounced"} {
		got := s.must("GET", "/v1/messages/"+m.CustomArgs["facteur_message"], nil)
		to := got["recipients"].([]any)[0].(map[string]any)
		if got["status"] != "sent" || got["delivery"] != want || object(to, "delivery")["state"] != want || object(to, "delivery")["evidence"] == "" {
			t.Errorf("%v", got)
		}
	}
	select {
	case h := <-heard:
		if h.err != nil || h.event.Type != "message.bounced" || h.event.Data.ID != lost.CustomArgs["facteur_message"] || h.event.Data.Recipient != lost.To[0].Email {
			t.Errorf("the receiver heard %+v, %v", h.event, h.err)
		}
	case <-time.After(time.Minute):
		t.Error("the receiver heard nothing")
	}

	posts := sg.Calls("upload")
	again := s.must("POST", "/v1/messages", map[string]any{
		"sender_profile_id": profile, "to": []any{map[string]any{"address": lost.To[0].Email}}, "subject": "Once more", "text": "Hello",
	})
	s.until(again["job_id"].(string), map[string]int{"failed": 1})
	m := s.must("GET", "/v1/messages/"+again["id"].(string), nil)
	if object(m, "problem")["code"] != "recipient_suppressed" || sg.Calls("upload") != posts {
		t.Errorf("%v, %d POSTs", m["problem"], sg.Calls("upload")-posts)
	}
	for _, item := range s.must("GET", "/v1/suppressions", nil)["items"].([]any) {
		s.must("DELETE", "/v1/suppressions/"+item.(map[string]any)["id"].(string), nil)
	}
}

// addOnOffAndOn switches the add-on off while a batch is on its way.
func (s *service) addOnOffAndOn(sg *transporttest.SendGrid, hook func(transporttest.SendGridStep) transporttest.SendGridAction, profile, addOn, subuser string, operator []string) {
	t := s.in.t
	t.Helper()
	const n = 100
	before := sg.Accepted()
	reached, goOn := make(chan struct{}), make(chan struct{})
	first := sg.Calls("send") + 10
	sg.SetHook(func(step transporttest.SendGridStep) transporttest.SendGridAction {
		if step.Endpoint == "send" && step.N == first {
			close(reached)
			<-goOn
		}
		return hook(step)
	})
	job := s.batch(profile, n)
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatal("the batch does not get to its tenth mail")
	}
	s.must("DELETE", addOn, nil, operator...)
	close(goOn)
	eventually(t, time.Minute, func() error {
		counts, err := s.counts(job)
		if err != nil {
			return err
		}
		// What was on its way goes, the rest waits, and nothing fails.
		if counts["held"] == 0 || counts["sent"]+counts["held"] != n {
			return fmt.Errorf("counts are %v", counts)
		}
		return nil
	})
	sent := sg.Accepted() - before
	if counts, err := s.counts(job); err != nil || counts["sent"] != sent || sent >= n {
		t.Errorf("SendGrid has %d, counts are %v, %v", sent, counts, err)
	}
	if status, answer, err := s.call("POST", "/v1/send-jobs", map[string]any{"purpose": "batch", "sender_profile_id": profile, "messages": mails(1)}); err != nil || status != http.StatusForbidden || answer["code"] != "add_on_required" {
		t.Errorf("a batch without the add-on: %d %v %v", status, answer, err)
	}
	s.must("PUT", addOn, map[string]any{"key": "second", "subuser": subuser}, operator...)
	s.until(job, map[string]int{"sent": n})
	if got := sg.Accepted() - before; got != n || sg.Duplicates() != 0 {
		t.Errorf("SendGrid has %d mails, %d twice", got, sg.Duplicates())
	}
}
