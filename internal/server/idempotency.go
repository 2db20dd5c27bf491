package server

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/internal/store"
)

// Codes of the Idempotency-Key header.
const (
	codeKeyInvalid  = "idempotency_key_invalid"
	codeKeyReused   = "idempotency_key_reused"
	codeKeyInFlight = "idempotency_in_flight"
)

// idempotency is one request's use of its Idempotency-Key. A nil one is a request without a key: its record is nil.
type idempotency struct {
	s           *Server
	tenant, key string
	hash        string // of the request; set by about
}

// once runs create, which makes something and answers, at most once for the request's Idempotency-Key. create stores the record
// of its answer in the transaction of what it makes; the store's unique key settles races between processes. A request that
// fails leaves no record and may be mended and repeated under the same key.
//
// Nothing is asked of the database before create has failed, so the first use of a key costs no query.
func (s *Server) once(c *gin.Context, create func(*idempotency) (*answer, error)) error {
	id, err := s.idempotency(c)
	if err != nil {
		return err
	}
	if id != nil {
		defer s.keys.release(id)
	}
	a, err := create(id)
	if err == nil {
		return a.write(c)
	}
	if id == nil || id.hash == "" {
		return err
	}
	earlier, found := id.replay(c)
	if errors.Is(found, store.ErrNotFound) {
		return err
	}
	if found != nil {
		return found
	}
	c.Writer.Header().Set("Idempotent-Replayed", "true")
	return earlier.write(c)
}

func (s *Server) idempotency(c *gin.Context) (*idempotency, error) {
	values := c.Request.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil
	}
	key := values[0]
	if len(values) > 1 || len(key) < 1 || len(key) > 255 {
		return nil, refuse(http.StatusBadRequest, codeKeyInvalid)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return nil, refuse(http.StatusBadRequest, codeKeyInvalid)
		}
	}
	id := &idempotency{s: s, tenant: apiKey(c).TenantID, key: key}
	if !s.keys.take(id) {
		busy := refuse(http.StatusConflict, codeKeyInFlight)
		busy.retryAfter = time.Second
		return nil, busy
	}
	return id, nil
}

// about says what the request is: a repeated one must be the same. The body is compared as it was understood, so that the order
// of its fields and its white space do not matter.
func (id *idempotency) about(c *gin.Context, body any, more ...string) error {
	if id == nil {
		return nil
	}
	h := sha256.New()
	h.Write([]byte(c.Request.Method + " " + c.Request.URL.Path + "\n"))
	for _, m := range more {
		h.Write([]byte(m + "\n"))
	}
	if err := json.NewEncoder(h).Encode(body); err != nil {
		return err
	}
	id.hash = hex.EncodeToString(h.Sum(nil))
	return nil
}

// harden makes the hash of a request with a password so slow to try that nobody guesses the password from it.
func (id *idempotency) harden() error {
	if id == nil {
		return nil
	}
	const rounds = 200_000
	slow, err := pbkdf2.Key(sha256.New, id.hash, []byte(id.tenant+"\n"+id.key), rounds, sha256.Size)
	id.hash = hex.EncodeToString(slow)
	return err
}

// record is what is stored of an answer.
func (id *idempotency) record(a *answer) *store.IdempotencyRecord {
	if id == nil {
		return nil
	}
	headers := map[string]string{}
	if a.location != "" {
		headers["Location"] = a.location
	}
	if a.etag != "" {
		headers["ETag"] = a.etag
	}
	return &store.IdempotencyRecord{
		TenantID: id.tenant, Key: id.key, RequestHash: id.hash, Status: a.status, Headers: headers, Body: a.body,
	}
}

// replay finds the answer to an earlier request. store.ErrNotFound: there was none.
func (id *idempotency) replay(c *gin.Context) (*answer, error) {
	rec, err := id.s.store.Replay(c.Request.Context(), id.tenant, id.key)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(rec.RequestHash), []byte(id.hash)) {
		return nil, refuse(http.StatusUnprocessableEntity, codeKeyReused)
	}
	return &answer{status: rec.Status, location: rec.Headers["Location"], etag: rec.Headers["ETag"], body: rec.Body}, nil
}

// used gives store.ErrKeyUsed when the key was used before. Handlers ask before they store things that are not part of their
// transaction, such as files.
func (id *idempotency) used(c *gin.Context) error {
	if id == nil {
		return nil
	}
	_, err := id.s.store.Replay(c.Request.Context(), id.tenant, id.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = store.ErrKeyUsed
	}
	return err
}

// inFlight are the keys of the requests that this process is handling.
type inFlight struct {
	mu   sync.Mutex
	keys map[[2]string]bool
}

func (f *inFlight) take(id *idempotency) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := [2]string{id.tenant, id.key}
	if f.keys[k] {
		return false
	}
	if f.keys == nil {
		f.keys = map[[2]string]bool{}
	}
	f.keys[k] = true
	return true
}

func (f *inFlight) release(id *idempotency) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, [2]string{id.tenant, id.key})
}
