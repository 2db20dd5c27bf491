package transporttest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"

	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

const goodSend = `{"personalizations":[{"to":[{"email":"a@zoe.example","name":"Zoë"}],"cc":[{"email":"b@zoe.example"}],"bcc":[{"email":"c@zoe.example"}],"custom_args":{"facteur_message":"msg_1"}}],
"from":{"email":"factures@etudes.example"},"reply_to_list":[{"email":"r@etudes.example"}],"subject":"Facture","content":[{"type":"text/plain","value":"Bonjour"},{"type":"text/html","value":"<p>Bonjour</p>"}],
"headers":{"Message-ID":"<1@facteur.example>"},"categories":["invoice"],
"attachments":[{"content":"JVBERg==","type":"application/pdf","filename":"f.pdf","disposition":"attachment"}],
"tracking_settings":{"click_tracking":{"enable":false},"open_tracking":{"enable":false}}}`

// call makes a call with the test key and gives the answer with its body.
func call(t *testing.T, s *tt.SendGrid, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tt.SendGridTestKey)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// SendGrid's own description accepts what the fake accepts, and the fake's answers.
func TestSendGridAnswersAsDescribed(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("testdata/sendgrid_mail_v3.json")
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	s := tt.StartSendGrid(t, tt.SendGridConfig{Domains: []string{"etudes.example"}})
	for name, test := range map[string]struct {
		path, body string
		key        string
		status     int
		field      string
	}{
		"sent":          {"/v3/mail/send", goodSend, "", 202, ""},
		"unverified":    {"/v3/mail/send", strings.Replace(goodSend, "factures@etudes.example", "x@other.example", 1), "", 403, "from"},
		"wrong key":     {"/v3/mail/send", goodSend, "SG.no", 401, ""},
		"no recipient":  {"/v3/mail/send", strings.Replace(goodSend, `{"email":"a@zoe.example","name":"Zoë"}`, "", 1), "", 400, "personalizations.0.to"},
		"duplicate":     {"/v3/mail/send", strings.Replace(goodSend, "b@zoe.example", "A@zoe.example", 1), "", 400, "personalizations"},
		"reserved":      {"/v3/mail/send", strings.Replace(goodSend, "Message-ID", "Reply-To", 1), "", 400, "headers"},
		"empty content": {"/v3/mail/send", strings.Replace(goodSend, `"Bonjour"`, `""`, 1), "", 400, "content.value"},
		"no batch":      {"/v3/mail/send", strings.Replace(goodSend, `"subject"`, `"batch_id":"x","subject"`, 1), "", 400, "batch_id"},
		"batch":         {"/v3/mail/batch", "", "", 201, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodPost, "https://api.sendgrid.com"+test.path, strings.NewReader(test.body))
			req.Header.Set("Content-Type", "application/json")
			route, params, err := router.FindRoute(req)
			if err != nil {
				t.Fatal(err)
			}
			input := &openapi3filter.RequestValidationInput{
				Request: req, Route: route, PathParams: params, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
			}
			if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil && test.status < 300 {
				t.Errorf("the fake takes what SendGrid does not: %v", err)
			}
			header := []string{}
			if test.key != "" {
				header = append(header, "Authorization", "Bearer "+test.key)
			}
			resp, body := call(t, s, http.MethodPost, test.path, test.body, header...)
			if resp.StatusCode != test.status {
				t.Fatalf("status %d, want %d: %s", resp.StatusCode, test.status, body)
			}
			if resp.StatusCode != http.StatusAccepted {
				if err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
					RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(strings.NewReader(body)),
				}); err != nil && !strings.Contains(err.Error(), `/errors/0/help`) { // null in life, an object in the description
					t.Errorf("no such answer is described: %v", err)
				}
			}
			var refused struct{ Errors []struct{ Field *string } }
			if test.field != "" {
				if err := json.Unmarshal([]byte(body), &refused); err != nil || len(refused.Errors) != 1 || refused.Errors[0].Field == nil || *refused.Errors[0].Field != test.field {
					t.Errorf("not about %s: %s", test.field, body)
				}
			}
		})
	}
	if mails := s.Mails(); len(mails) != 1 || mails[0].MessageID != "<1@facteur.example>" || string(mails[0].Attachments[0].Data) != "%PDF" ||
		len(mails[0].Recipients()) != 3 || mails[0].CustomArgs["facteur_message"] != "msg_1" || mails[0].ClickTracking || mails[0].HTML != "<p>Bonjour</p>" {
		t.Errorf("kept %+v", mails)
	}
}

// A batch is canceled as long as its mails are ten minutes away.
func TestSendGridCancelsABatch(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true, Now: func() time.Time { return now }})
	send := func(ahead time.Duration) string {
		_, body := call(t, s, http.MethodPost, "/v3/mail/batch", "")
		var b struct {
			BatchID string `json:"batch_id"`
		}
		if err := json.Unmarshal([]byte(body), &b); err != nil {
			t.Fatal(err)
		}
		at := now.Add(ahead).Unix()
		resp, text := call(t, s, http.MethodPost, "/v3/mail/send",
			strings.Replace(goodSend, `"subject"`, `"batch_id":"`+b.BatchID+`","send_at":`+strconv.FormatInt(at, 10)+`,"subject"`, 1))
		if resp.StatusCode != http.StatusAccepted {
			t.Fatal(text)
		}
		return b.BatchID
	}
	for i, ahead := range []time.Duration{11 * time.Minute, 9 * time.Minute} {
		id := send(ahead)
		resp, body := call(t, s, http.MethodPost, "/v3/user/scheduled_sends", `{"batch_id":"`+id+`","status":"cancel"}`)
		if resp.StatusCode != http.StatusCreated {
			t.Fatal(body)
		}
		if got, want := s.Mails()[i].Canceled, i == 0; got != want {
			t.Errorf("%s ahead: canceled %v", ahead, got)
		}
	}
	if n := s.ByMessageID()["<1@facteur.example>"]; n != 1 || s.Duplicates() != 0 {
		t.Errorf("%d mails left", n)
	}
}

func TestSendGridVerifiesSenders(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{Subusers: []string{"zoe"}})
	resp, body := call(t, s, http.MethodPost, "/v3/whitelabel/domains", `{"domain":"zoe.example","automatic_security":true}`, "on-behalf-of", "zoe")
	var d struct {
		ID  int
		DNS map[string]struct{ Host, Data string }
	}
	if err := json.Unmarshal([]byte(body), &d); err != nil || resp.StatusCode != http.StatusCreated || len(d.DNS) != 3 {
		t.Fatalf("%v: %s", err, body)
	}
	validate := func() bool {
		_, body := call(t, s, http.MethodPost, "/v3/whitelabel/domains/"+strconv.Itoa(d.ID)+"/validate", "", "on-behalf-of", "zoe")
		return strings.Contains(body, `"id":`+strconv.Itoa(d.ID)+`,"valid":true`)
	}
	s.Publish("zoe", "zoe.example", "dkim1")
	if validate() {
		t.Error("valid with one record of three")
	}
	s.Publish("zoe", "zoe.example")
	if !validate() {
		t.Error("not valid with all records")
	}
	mail := strings.Replace(goodSend, "factures@etudes.example", "x@zoe.example", 1)
	if resp, body := call(t, s, http.MethodPost, "/v3/mail/send", mail, "on-behalf-of", "zoe"); resp.StatusCode != http.StatusAccepted {
		t.Error(body)
	}
	if resp, _ := call(t, s, http.MethodPost, "/v3/mail/send", mail); resp.StatusCode != http.StatusForbidden {
		t.Error("a subuser's domain is the parent's")
	}
	if resp, _ := call(t, s, http.MethodPost, "/v3/mail/send", mail, "on-behalf-of", "nobody"); resp.StatusCode != http.StatusForbidden {
		t.Error("a subuser that does not exist")
	}
}

// The signatures are those that SendGrid's own library verifies.
func TestSendGridSignsEvents(t *testing.T) {
	s := tt.StartSendGrid(t, tt.SendGridConfig{AnySender: true})
	call(t, s, http.MethodPost, "/v3/mail/send", goodSend)
	key, err := eventwebhook.ConvertPublicKeyBase64ToECDSA(s.EventKey())
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		signature, timestamp := r.Header.Get(eventwebhook.VerificationHTTPHeader), r.Header.Get(eventwebhook.TimestampHTTPHeader)
		if good, err := eventwebhook.VerifySignature(key, body, signature, timestamp); !good || err != nil {
			t.Errorf("signature: %v", err)
		}
		if good, _ := eventwebhook.VerifySignature(key, append(bytes.Clone(body), ' '), signature, timestamp); good {
			t.Error("the signature fits another body")
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
	}))
	defer hook.Close()
	m := s.Mails()[0]
	status, err := s.PostEvents(t.Context(), hook.URL, s.Event(m, "a@zoe.example", "processed", nil), s.Event(m, "b@zoe.example", "bounce", nil))
	if err != nil || status != http.StatusOK || len(got) != 2 {
		t.Fatalf("%d %v %v", status, err, got)
	}
	if got[0]["facteur_message"] != "msg_1" || got[0]["smtp-id"] != "<1@facteur.example>" || got[0]["sg_event_id"] == got[1]["sg_event_id"] || got[1]["status"] != "5.1.1" {
		t.Errorf("events %v", got)
	}
}
