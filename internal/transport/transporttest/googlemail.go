package transporttest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
)

// maxGoogleMail is maxSize of users.messages.send in the API's discovery document.
const maxGoogleMail = 36_700_160

// send is users.messages.send by multipart upload.
func (g *Google) send(w http.ResponseWriter, r *http.Request) {
	grant := g.authorized(w, r, "upload", GoogleScopeSend, "https://mail.google.com/")
	if grant == nil {
		return
	}
	m, thread, err := g.readUpload(r)
	if err != nil {
		if errors.Is(err, errIncomplete) {
			panic(http.ErrAbortHandler)
		}
		apiError(w, http.StatusBadRequest, "invalidArgument", err.Error())
		return
	}
	action := g.step(GoogleStep{Endpoint: "send", Account: grant.account, MessageID: m.MessageID})
	m.Account, m.Conn, m.ReceivedAt = grant.account, r.RemoteAddr, time.Now()
	if action.Accept {
		g.accept(m, thread)
	}
	g.pause(r, g.cfg.Delay)
	if g.apply(w, r, action, false) {
		return
	}
	switch {
	case m.Size > maxGoogleMail:
		apiError(w, http.StatusRequestEntityTooLarge, "uploadTooLarge", "Message exceeded size limit.")
	case len(m.To) == 0:
		apiError(w, http.StatusBadRequest, "invalidArgument", "Recipient address required")
	case !action.Accept && !g.accept(m, thread):
		apiError(w, http.StatusNotFound, "notFound", "Requested entity was not found.")
	default:
		answer(w, http.StatusOK, map[string]any{"id": m.ID, "threadId": m.ThreadID, "labelIds": []string{"SENT"}})
	}
}

// errIncomplete is the error of a request that ends before its end.
var errIncomplete = errors.New("transporttest: the request is not complete")

// readUpload reads a whole request: its two parts, and that nothing is missing.
func (g *Google) readUpload(r *http.Request) (m *GoogleMail, thread string, err error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" || r.URL.Query().Get("uploadType") != "multipart" {
		return nil, "", errors.New("Media type is not supported.") //nolint:staticcheck // Google's words
	}
	body := &whole{r: r.Body}
	parts := multipart.NewReader(body, params["boundary"])
	fail := func(err error) (*GoogleMail, string, error) {
		io.Copy(io.Discard, body) //nolint:errcheck // body keeps it
		if body.err != nil {
			return nil, "", errIncomplete
		}
		return nil, "", fmt.Errorf("Malformed multipart body: %w", err) //nolint:staticcheck // Google's words
	}
	meta, err := parts.NextRawPart()
	if err != nil {
		return fail(err)
	}
	var resource struct {
		ThreadID string `json:"threadId"`
	}
	if err := json.NewDecoder(meta).Decode(&resource); err != nil {
		return fail(err)
	}
	media, err := parts.NextRawPart()
	if err != nil {
		return fail(err)
	}
	if media.Header.Get("Content-Type") != "message/rfc822" {
		return fail(errors.New("no message/rfc822"))
	}
	if m, err = g.readMail(media, r.ContentLength); err != nil {
		return fail(err)
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		return fail(errors.New("more than two parts"))
	}
	if _, err := io.Copy(io.Discard, body); err != nil || body.err != nil {
		return nil, "", errIncomplete
	}
	return m, resource.ThreadID, nil
}

// whole remembers that a body broke off.
type whole struct {
	r   io.Reader
	err error
}

func (b *whole) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// readMail reads a mail; about says how large it may be.
func (g *Google) readMail(r io.Reader, about int64) (*GoogleMail, error) {
	var kept bytes.Buffer
	if !g.cfg.DiscardData {
		kept.Grow(int(min(max(about, 0), maxGoogleMail)))
		r = io.TeeReader(r, &kept)
	}
	counted := &counter{r: r}
	parsed, err := netmail.ReadMessage(bufio.NewReader(counted))
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return nil, err
	}
	m := &GoogleMail{Size: counted.n, MessageID: parsed.Header.Get("Message-ID"), Subject: parsed.Header.Get("Subject")}
	if !g.cfg.DiscardData {
		m.Data = kept.Bytes()
	}
	if from, err := parsed.Header.AddressList("From"); err == nil {
		m.From = from[0].Address
	}
	for _, field := range []string{"To", "Cc", "Bcc"} {
		list, err := parsed.Header.AddressList(field)
		if err != nil && !errors.Is(err, netmail.ErrHeaderNotPresent) && parsed.Header.Get(field) != "undisclosed-recipients:;" {
			return nil, fmt.Errorf("Invalid %s header", field) //nolint:staticcheck // Google's words
		}
		for _, a := range list {
			if !slices.Contains(m.To, a.Address) {
				m.To = append(m.To, a.Address)
			}
		}
	}
	m.references = parsed.Header.Get("References") + " " + parsed.Header.Get("In-Reply-To")
	return m, nil
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// accept takes a mail; false when there is no such thread. A mail joins the thread that it names when its references and its
// subject say so too (https://developers.google.com/workspace/gmail/api/guides/threads).
func (g *Google) accept(m *GoogleMail, thread string) bool {
	account := g.account(m.Account)
	if !slices.ContainsFunc(append(account.SendAs, account.Address), func(a string) bool { return strings.EqualFold(a, m.From) }) {
		m.From = account.Address
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.ID = fmt.Sprintf("19%014x", len(g.mails)+1)
	m.ThreadID = m.ID
	if thread != "" {
		first := g.threads[m.Account+" "+thread]
		if first == nil {
			return false
		}
		if strings.Contains(m.references, first.MessageID) && bareSubject(m.Subject) == bareSubject(first.Subject) {
			m.ThreadID = thread
		}
	}
	if m.ThreadID == m.ID {
		g.threads[m.Account+" "+m.ID] = m
	}
	g.mails = append(g.mails, m)
	g.byID[m.ID] = m
	g.ids[m.MessageID]++
	for _, to := range m.To {
		d := delivery{m.MessageID, to}
		if g.given[d]++; g.given[d] > 1 {
			g.again++
		}
	}
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
	return true
}

func bareSubject(s string) string {
	if len(s) > 3 && strings.EqualFold(s[:3], "re:") {
		s = s[3:]
	}
	return strings.TrimSpace(s)
}

// list is users.messages.list as far as it searches for a Message-ID.
func (g *Google) list(w http.ResponseWriter, r *http.Request) {
	grant := g.authorized(w, r, "list", GoogleScopeReadonly, "https://mail.google.com/")
	if grant == nil {
		return
	}
	var id string
	for word := range strings.FieldsSeq(r.URL.Query().Get("q")) {
		if found, ok := strings.CutPrefix(word, "rfc822msgid:"); ok {
			id = "<" + strings.Trim(found, "<>") + ">"
		} else if word != "in:sent" {
			apiError(w, http.StatusBadRequest, "invalidArgument", "this Google does not search for "+word)
			return
		}
	}
	found := []map[string]string{}
	g.mu.Lock()
	for _, m := range g.mails {
		if m.Account == grant.account && (id == "" || m.MessageID == id) {
			found = append(found, map[string]string{"id": m.ID, "threadId": m.ThreadID})
		}
	}
	g.mu.Unlock()
	body := map[string]any{"resultSizeEstimate": len(found)}
	if len(found) > 0 { // Google leaves an empty list out
		body["messages"] = found
	}
	answer(w, http.StatusOK, body)
}

// get is users.messages.get.
func (g *Google) get(w http.ResponseWriter, r *http.Request) {
	grant := g.authorized(w, r, "get", GoogleScopeReadonly, "https://mail.google.com/")
	if grant == nil {
		return
	}
	g.mu.Lock()
	m := g.byID[r.PathValue("id")]
	g.mu.Unlock()
	if m == nil || m.Account != grant.account {
		apiError(w, http.StatusNotFound, "notFound", "Requested entity was not found.")
		return
	}
	body := map[string]any{"id": m.ID, "threadId": m.ThreadID, "labelIds": []string{"SENT"}, "sizeEstimate": m.Size}
	if r.URL.Query().Get("format") == "raw" {
		body["raw"] = base64.URLEncoding.EncodeToString(m.Data)
	}
	answer(w, http.StatusOK, body)
}

// sendAs is users.settings.sendAs.list.
func (g *Google) sendAs(w http.ResponseWriter, r *http.Request) {
	grant := g.authorized(w, r, "sendas", GoogleScopeReadonly, "https://mail.google.com/")
	if grant == nil {
		return
	}
	list := []map[string]any{{"sendAsEmail": grant.account, "isPrimary": true}}
	for _, a := range g.account(grant.account).SendAs {
		list = append(list, map[string]any{"sendAsEmail": a, "verificationStatus": "accepted"})
	}
	answer(w, http.StatusOK, map[string]any{"sendAs": list})
}
