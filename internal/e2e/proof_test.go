package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/pgtest"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// proof asks for the proof of a message and reads the zip back: its bytes, its file name, and its files by name.
func (s *service) proof(message, language string) (raw []byte, filename string, files map[string][]byte) {
	s.in.t.Helper()
	req, err := http.NewRequestWithContext(s.in.t.Context(), "GET", s.base+"/v1/messages/"+message+"/proof", nil)
	if err != nil {
		s.in.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.in.key)
	req.Header.Set("Accept-Language", language)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.in.t.Fatal(err)
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/zip" {
		s.in.t.Fatalf("%d %s, %v", resp.StatusCode, raw, err)
	}
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		s.in.t.Fatal(err)
	}
	files = map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			s.in.t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			s.in.t.Fatal(err)
		}
	}
	sums := ""
	for _, name := range []string{"message.eml", "proof.json", "proof.txt"} {
		if b, ok := files[name]; ok {
			sum := sha256.Sum256(b)
			sums += hex.EncodeToString(sum[:]) + "  " + name + "\n"
		}
	}
	if string(files["SHA256SUMS"]) != sums {
		s.in.t.Errorf("SHA256SUMS:\n%swant\n%s", files["SHA256SUMS"], sums)
	}
	return raw, resp.Header.Get("Content-Disposition"), files
}

func (s *service) proofJSON(files map[string][]byte) (p api.Proof) {
	s.in.t.Helper()
	if err := json.Unmarshal(files["proof.json"], &p); err != nil {
		s.in.t.Fatalf("%v: %s", err, files["proof.json"])
	}
	return p
}

func (s *service) one(profile, to string, file int) string {
	s.in.t.Helper()
	m := map[string]any{
		"sender_profile_id": profile, "to": []any{map[string]any{"name": "Café Zoë", "address": to}}, "bcc": []any{map[string]any{"address": "archive@firm.example"}},
		"subject": "Invoice 2026/0042", "text": "Dear client,\n.\nfrom us", "document": map[string]any{"type": "invoice", "number": to},
	}
	if file > 0 {
		m["attachments"] = []any{map[string]any{"id": s.upload(file)}}
	}
	return s.must("POST", "/v1/messages", m)["id"].(string)
}

func (s *service) ends(message, status string) {
	s.in.t.Helper()
	eventually(s.in.t, 30*time.Second, func() error {
		if m := s.must("GET", "/v1/messages/"+message, nil); m["status"] != status {
			return fmt.Errorf("%v: %v", m["status"], m["problem"])
		}
		return nil
	})
}

// The proof of a mail has the very bytes that the server got, and their hash stays when the content is erased. What was not sent, or
// only by a person's word, proves nothing and says so.
func TestProof(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		server := tt.StartSMTP(t, tt.SMTPConfig{})
		refuses := tt.StartSMTP(t, tt.SMTPConfig{Hook: at("DOT", tt.Action{Reply: "554 5.7.1 no"})})
		drops := tt.StartSMTP(t, tt.SMTPConfig{Hook: at("DOT", tt.Action{Drop: true})})
		s := install(t, url).start()
		sent := s.one(s.smtpProfile(server.Addr(), 1, nil), "sent@client.example", 3<<20)
		failed, dropped := s.one(s.smtpProfile(refuses.Addr(), 1, nil), "failed@client.example", 0), s.one(s.smtpProfile(drops.Addr(), 1, nil), "dropped@client.example", 0)
		s.ends(sent, "sent")
		s.ends(failed, "failed")
		s.ends(dropped, "uncertain")

		raw, name, files := s.proof(sent, "fr")
		got := server.Mails()[0].Data
		if !bytes.Equal(files["message.eml"], got) {
			t.Errorf("the mail in the proof has %d bytes, the server got %d others", len(files["message.eml"]), len(got))
		}
		sum := sha256.Sum256(got)
		p := s.proofJSON(files)
		if !p.ProvesDispatch || p.Mail.SHA256 != hex.EncodeToString(sum[:]) || p.Mail.Size != int64(len(got)) || p.RequestedBy.Name != "e2e" || p.Firm.Name != "Firm" ||
			len(p.Attempts) != 1 || p.Attempts[0].Reply.Code != 250 || p.MessageIDHeader != server.Mails()[0].MessageID || len(p.Message.Recipients) != 2 {
			t.Errorf("%+v", p)
		}
		text := string(files["proof.txt"])
		if !strings.Contains(name, ".proof.zip") || !strings.HasPrefix(text, "\ufeffPreuve d’envoi\r\n") || !strings.Contains(text, p.Mail.SHA256) || strings.Contains(text, "proof") {
			t.Errorf("%s\n%s", name, text)
		}
		if again, _, _ := s.proof(sent, "fr"); !bytes.Equal(again, raw) {
			t.Error("the proof of the same mail has other bytes the second time")
		}

		for message, want := range map[string]string{failed: "PAS UNE PREUVE D’ENVOI : cet e-mail n’est pas envoyé", dropped: "PAS UNE PREUVE D’ENVOI : il n’est pas certain"} {
			_, name, files := s.proof(message, "fr")
			if text := string(files["proof.txt"]); s.proofJSON(files).ProvesDispatch || !strings.Contains(name, ".not-a-proof.zip") || !strings.HasPrefix(text, "\ufeff"+want) {
				t.Errorf("%s\n%s", name, text)
			}
		}
		if text := s.must("GET", "/v1/messages/"+dropped, nil, "Accept-Language", "en")["evidence_text"]; !strings.Contains(fmt.Sprint(text), "after it had been given the whole mail and before it answered") {
			t.Errorf("evidence: %v", text)
		}
		s.must("POST", "/v1/messages/"+dropped+"/resolve", map[string]any{"as": "sent", "note": "the client has it"})
		_, _, files = s.proof(dropped, "fr")
		p = s.proofJSON(files)
		if p.ProvesDispatch || len(p.Decisions) != 1 || p.Decisions[0].As != "sent" || p.Decisions[0].Note != "the client has it" || !strings.HasPrefix(string(files["proof.txt"]), "\ufeffPAS UNE PREUVE D’ENVOI : quelqu’un") {
			t.Errorf("a person's word: %+v\n%s", p, files["proof.txt"])
		}

		for _, message := range []string{sent, failed} {
			s.must("DELETE", "/v1/messages/"+message+"/content", nil)
		}
		_, _, files = s.proof(sent, "fr")
		if p = s.proofJSON(files); !p.ProvesDispatch || p.Mail.SHA256 != hex.EncodeToString(sum[:]) || p.Mail.ErasedAt == nil || files["message.eml"] != nil || p.Message.Recipients[0].Address != "sent@client.example" {
			t.Errorf("after the erasure: %+v", p)
		}
		for path, want := range map[string]int{"GET /v1/messages/" + sent + "/raw": 410, "POST /v1/messages/" + failed + "/retry": 409} {
			method, path, _ := strings.Cut(path, " ")
			status, answer, err := s.call(method, path, nil)
			if err != nil || status != want || answer["code"] != "content_erased" {
				t.Errorf("%s: %d %v, %v", path, status, answer, err)
			}
		}
	})
}

// A server takes every mail of 800 and hangs up after the dot: at most three are uncertain, one for each further connection and one
// for each pause; the health of the profile says what is going on. When the server is well again all others arrive once.
func TestServerThatHangsUpAfterTheDot(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		t.Parallel() // it waits for the end of a pause most of the time
		const connections = 3
		var fine atomic.Bool
		server := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(st tt.Step) tt.Action {
			if st.Verb == "DOT" && !fine.Load() {
				return tt.Action{Drop: true}
			}
			return tt.Action{}
		}})
		s := install(t, url).start()
		profile := s.smtpProfile(server.Addr(), connections, nil)
		health := func() map[string]any {
			return s.must("GET", "/v1/sender-profiles/"+profile+"/health", nil, "Accept-Language", "en")
		}
		if h := health(); h["state"] != "ready" || object(h, "breaker")["state"] != "closed" || object(h, "waiting")["total"] != float64(0) {
			t.Errorf("%v", h)
		}
		job := s.batch(profile, 800)
		eventually(t, 20*time.Second, func() error {
			if h := health(); h["state"] != "paused" || h["sending"] != float64(0) {
				return fmt.Errorf("%v", h)
			}
			return nil
		})
		h := health()
		uncertain := h["uncertain"].(float64)
		if uncertain < 3 || uncertain > 3+connections-1 || object(h, "waiting")["total"] != 800-uncertain || object(h, "problem")["code"] != "server_silent" ||
			object(h, "breaker")["state"] != "open" || h["until"] == nil || !strings.Contains(h["text"].(string), "UTC") {
			t.Errorf("%v", h)
		}
		fine.Store(true)
		eventually(t, time.Minute, func() error { // the pause of some ten seconds ends by itself
			if c := object(s.must("GET", "/v1/send-jobs/"+job, nil), "counts"); c["sent"] != 800-uncertain || c["uncertain"] != uncertain {
				return fmt.Errorf("%v", c)
			}
			return nil
		})
		if server.Accepted() != 800-int(uncertain) || server.Duplicates() != 0 {
			t.Errorf("%d mails arrived, %d twice", server.Accepted(), server.Duplicates())
		}
		if h := health(); h["state"] != "ready" || object(h, "breaker")["state"] != "closed" {
			t.Errorf("%v", h)
		}
	})
}
