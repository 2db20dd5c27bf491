package store

import (
	"time"
)

// IdempotencyRecord is the answer that a key's first request got. It is stored in the transaction of what that request
// made, so that neither exists without the other.
type IdempotencyRecord struct {
	TenantID    string // empty: an operator's request
	Key         string
	RequestHash string // of the request; another request under the same key is refused
	Status      int
	Headers     map[string]string
	Body        []byte // never holds a secret
	CreatedAt   time.Time
}
