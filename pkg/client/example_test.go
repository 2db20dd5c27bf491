package client_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
)

// service answers as Facteur does, from a table of "METHOD path?query" to a status and a body.
func service(answers map[string]string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		status, body, ok := strings.Cut(answers[r.Method+" "+r.URL.RequestURI()], " ")
		if !ok {
			status, body = "404", `{"code": "not_found", "title": "There is no such thing", "status": 404}`
		}
		w.Header().Set("Content-Type", "application/json")
		code := http.StatusOK
		_, _ = fmt.Sscan(status, &code)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
}

// A one-off mail with a file, from the default profile of a collaborator.
func Example() {
	srv := service(map[string]string{
		"POST /v1/attachments?filename=2026-0042.pdf&kind=invoice_pdf": `201 {"id": "att_1", "size": 8}`,
		"POST /v1/messages": `202 {"id": "msg_1", "status": "queued", "language": "fr",
			"sender": {"profile_id": "prf_1", "level": "user", "reason": "user_default"}}`,
	})
	defer srv.Close()
	ctx := context.Background()

	c, err := client.New(srv.URL, "fct_...")
	if err != nil {
		fmt.Println(err)
		return
	}
	pdf, err := c.Upload(ctx, strings.NewReader("%PDF-1.4"), client.File{Name: "2026-0042.pdf", MediaType: "application/pdf", Kind: "invoice_pdf"})
	if err != nil {
		fmt.Println(err)
		return
	}
	accepted, err := c.Send(ctx, api.MessageRequest{
		UserRef: "jdupont",
		Mail: api.Mail{
			To:          []api.Address{{Name: "Café Zoë", Address: "compta@zoe.example"}},
			Language:    "fr-BE",
			Document:    &api.Document{Type: "invoice", Number: "2026/0042", Date: "2026-11-23"},
			Client:      &api.Client{Name: "Café Zoë"},
			Attachments: []api.MessageAttachment{{ID: pdf.ID}},
		},
	}, client.IdempotencyKey("mail-42"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(accepted.ID, accepted.Status, "in", accepted.Language, "from", accepted.Sender.Reason)
	// Output: msg_1 queued in fr from user_default
}

// A refusal names every field that is wrong, in the client's language.
func ExampleError() {
	srv := service(map[string]string{
		"POST /v1/messages": `422 {"code": "validation_failed", "status": 422, "title": "Certains champs sont à revoir", "errors": [
			{"pointer": "/to/0/address", "code": "address_invalid", "title": "Ce n'est pas une adresse e-mail"},
			{"pointer": "/document/number", "code": "token_unfilled", "title": "Rien ne remplit NUMFACT"}]}`,
	})
	defer srv.Close()

	c, _ := client.New(srv.URL, "fct_...", client.Language("fr"))
	_, err := c.Send(context.Background(), api.MessageRequest{})
	var problem *client.Error
	if errors.As(err, &problem) {
		fmt.Println(problem.Code, "-", problem.Title)
		for _, f := range problem.Errors {
			fmt.Println(f.Pointer, "-", f.Title)
		}
	}
	// Output:
	// validation_failed - Certains champs sont à revoir
	// /to/0/address - Ce n'est pas une adresse e-mail
	// /document/number - Rien ne remplit NUMFACT
}

// Lists are loops; the pages come as the loop goes on.
func ExampleClient_Messages() {
	srv := service(map[string]string{
		"GET /v1/messages?limit=200&status=failed":           `200 {"items": [{"id": "msg_3"}, {"id": "msg_2"}], "next_cursor": "p2"}`,
		"GET /v1/messages?cursor=p2&limit=200&status=failed": `200 {"items": [{"id": "msg_1"}]}`,
	})
	defer srv.Close()

	c, _ := client.New(srv.URL, "fct_...")
	for m, err := range c.Messages(context.Background(), client.MessageFilter{Status: "failed"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.ID)
	}
	// Output:
	// msg_3
	// msg_2
	// msg_1
}

// A program that is told what happens. The service signs each event; the same event may come more than once.
func ExampleVerifyWebhook() {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // as it was shown when the endpoint was made
	seen := map[string]bool{}                               // in a database, with what the event leads to
	receive := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		id, event, err := client.VerifyWebhook(secret, r.Header, body)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !seen[id] {
			seen[id] = true
			fmt.Println(event.Type, event.Data.ID, event.Data.Status)
		}
		w.WriteHeader(http.StatusNoContent)
	})

	// What the service does.
	body := `{"type": "message.failed", "timestamp": "2026-11-23T08:00:02Z", "data": {"id": "msg_1", "link": "/v1/messages/msg_1", "status": "failed"}}`
	post := func(signature string) {
		stamp := strconv.FormatInt(time.Now().Unix(), 10)
		if signature == "" {
			key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
			h := hmac.New(sha256.New, key)
			fmt.Fprintf(h, "evt_1.%s.%s", stamp, body)
			signature = "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
		}
		r := httptest.NewRequest(http.MethodPost, "/hooks/facteur", strings.NewReader(body))
		r.Header.Set("Webhook-Id", "evt_1")
		r.Header.Set("Webhook-Timestamp", stamp)
		r.Header.Set("Webhook-Signature", signature)
		w := httptest.NewRecorder()
		receive(w, r)
		fmt.Println(w.Code)
	}
	post("")
	post("")
	post("v1,Zm9yZ2Vk")
	// Output:
	// message.failed msg_1 failed
	// 204
	// 204
	// 401
}
