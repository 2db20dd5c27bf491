package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// service is the real binary as a process, on a database of its own with one tenant.
type service struct {
	base, key string
	cmd       *exec.Cmd
	store     *store.Store
	tenant    string
	client    *http.Client
}

func startService(ctx context.Context, bin, dir, databaseURL string, env []string) (*service, error) {
	keyset, err := store.NewKeyset()
	if err != nil {
		return nil, err
	}
	keysetFile := filepath.Join(dir, "keyset")
	if err := keyset.Save(keysetFile); err != nil {
		return nil, err
	}
	s := &service{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	if s.store, err = store.Open(ctx, store.Config{URL: databaseURL, Keyset: keyset}); err != nil {
		return nil, err
	}
	tenant := &store.Tenant{Name: "Bench"}
	if err := errors.Join(s.store.Migrate(ctx), outbox.Migrate(ctx, s.store), s.store.CreateTenant(ctx, tenant, nil)); err != nil {
		return nil, err
	}
	s.tenant = tenant.ID
	if _, s.key, err = s.store.CreateKey(ctx, tenant.ID, "bench", []store.Scope{store.ScopeSend, store.ScopeRead, store.ScopeManage}); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	s.base = "http://" + addr
	s.cmd = exec.Command(bin, "serve") //nolint:gosec // our own binary
	s.cmd.Env = append(os.Environ(), "FACTEUR_DATABASE_URL="+databaseURL, "FACTEUR_KEYSET_FILE="+keysetFile,
		"FACTEUR_LISTEN="+addr, "FACTEUR_ALLOW_NETWORKS=127.0.0.0/8", "FACTEUR_LOG_LEVEL=warn")
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := s.client.Get(s.base + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("the service does not come up"), err)
		}
	}
}

func (s *service) stop() {
	s.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may be gone
	s.cmd.Wait()                       //nolint:errcheck // its exit code is not measured
	s.store.Close()                    //nolint:errcheck // it is thrown away
}

// post sends JSON, or raw bytes as a PDF, and gives the decoded answer.
func (s *service) post(path string, body any) (map[string]any, error) {
	contentType := "application/json"
	b, raw := body.([]byte)
	if raw {
		contentType = "application/pdf"
	} else {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	return s.send(path, contentType, b)
}

func (s *service) send(path, contentType string, b []byte) (map[string]any, error) {
	answer, err := s.exchange(path, contentType, b)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(answer, &m)
}

// exchange posts a body and gives the answer as it came.
func (s *service) exchange(path, contentType string, b []byte) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, s.base+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", contentType)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("POST %s: %s: %.300s", path, resp.Status, answer)
	}
	return answer, nil
}

// profile makes a company profile for the sink.
func (s *service) profile(addr string, connections int) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	p, err := s.post("/v1/sender-profiles", map[string]any{
		"level": "company", "owner_ref": store.NewID("own"), "name": "Bench", "default": true,
		"from": map[string]any{"address": "billing@bench.example"}, "transport": "smtp", "max_connections": connections,
		"smtp": map[string]any{"host": host, "port": n, "security": "none", "auth": "none"},
	})
	if err != nil {
		return "", err
	}
	return p["id"].(string), nil
}

// template makes a 3 KB template with the built-in tokens and one more.
func (s *service) template() (string, error) {
	text := "Dear NOMCLIENT,\n\nPlease find attached our TYPEDOC NUMFACT of DATEFACT, for MONTANT.\n\n"
	for len(text) < 2800 {
		text += "The amount is payable within thirty days of the date above, to the account named on the document.\n"
	}
	t, err := s.post("/v1/templates", map[string]any{
		"name": "Bench", "document_type": "invoice", "default": true, "default_language": "en", "tokens": []string{"MONTANT"},
		"translations": map[string]any{"en": map[string]any{"subject": "TYPEDOC NUMFACT", "text": text}},
	})
	if err != nil {
		return "", err
	}
	return t["id"].(string), nil
}

// job posts n personalised messages; attachments may be nil or has one id for each.
func (s *service) job(profile, template string, first, n int, attachments []string) error {
	body, err := jobBody(profile, template, first, n, attachments)
	if err == nil {
		err = s.postJob(body)
	}
	return err
}

func (s *service) postJob(body []byte) error {
	_, err := s.exchange("/v1/send-jobs", "application/json", body)
	return err
}

// jobBody is the request of job. Where time is measured it is made before: it is the caller's work.
func jobBody(profile, template string, first, n int, attachments []string) ([]byte, error) {
	messages := make([]any, n)
	for i := range messages {
		m := map[string]any{
			"to":       []any{map[string]any{"name": fmt.Sprintf("Client %d", first+i), "address": fmt.Sprintf("client%d@client.example", first+i)}},
			"document": map[string]any{"type": "invoice", "number": fmt.Sprintf("2026/%05d", first+i), "date": "2026-11-23"},
			"client":   map[string]any{"name": fmt.Sprintf("Client %d", first+i)},
			"tokens":   map[string]any{"MONTANT": "1.210,00 €"},
		}
		if attachments != nil {
			m["attachments"] = []any{map[string]any{"id": attachments[i]}}
		}
		messages[i] = m
	}
	return json.Marshal(map[string]any{"purpose": "batch", "sender_profile_id": profile, "template_id": template, "messages": messages})
}
