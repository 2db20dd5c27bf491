package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset seals and opens credentials with AES-256-GCM. It holds one primary key, which seals, and older ones, which still
// open what they sealed. It is safe for concurrent use and prints as nothing but its length.
type Keyset struct {
	mu     sync.RWMutex
	handle *keyset.Handle
	aead   tink.AEAD
}

// NewKeyset makes a keyset of one new key.
func NewKeyset() (*Keyset, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("store: keyset: %w", err)
	}
	return newKeyset(h)
}

// ParseKeyset reads a keyset as MarshalJSON wrote it.
func ParseKeyset(json []byte) (*Keyset, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(json)))
	if err != nil {
		return nil, errors.New("store: this is no Tink JSON keyset") // the cause may quote key material
	}
	return newKeyset(h)
}

// LoadKeyset reads a keyset file. The error is fs.ErrNotExist when there is none.
func LoadKeyset(path string) (*Keyset, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, fmt.Errorf("store: keyset: %w", err)
	}
	return ParseKeyset(b)
}

func newKeyset(h *keyset.Handle) (*Keyset, error) {
	k := &Keyset{}
	if err := k.use(h); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keyset) use(h *keyset.Handle) error {
	a, err := aead.New(h)
	if err != nil {
		return fmt.Errorf("store: keyset: %w", err)
	}
	k.handle, k.aead = h, a
	return nil
}

// Rotate adds a new key and makes it the primary. Save the keyset, start every process with it, and then rewrap.
func (k *Keyset) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := keyset.NewManagerFromHandle(k.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return fmt.Errorf("store: rotate keyset: %w", err)
	}
	h, err := m.Handle()
	if err != nil {
		return fmt.Errorf("store: rotate keyset: %w", err)
	}
	return k.use(h)
}

// Len is the number of keys.
func (k *Keyset) Len() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.handle.Len()
}

func (k *Keyset) String() string { return fmt.Sprintf("keyset of %d", k.Len()) }

// Export gives the keyset as Tink's JSON, in clear.
func (k *Keyset) Export() ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("store: export keyset: %w", err)
	}
	return b.Bytes(), nil
}

// Save writes the keyset in clear to a file that only its owner can read. An existing file is replaced whole or not at all.
func (k *Keyset) Save(path string) error {
	b, err := k.Export()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("store: save keyset: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("store: save keyset: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Seal encrypts plaintext for the place that aad names. It opens only there.
func (k *Keyset) Seal(aad string, plaintext []byte) ([]byte, error) {
	if k == nil {
		return nil, ErrSealed
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	sealed, err := k.aead.Encrypt(plaintext, []byte(aad))
	if err != nil {
		return nil, ErrSealed
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same aad. Whatever is wrong, the error is ErrSealed.
func (k *Keyset) Open(aad string, sealed []byte) ([]byte, error) {
	if k == nil {
		return nil, ErrSealed
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	plain, err := k.aead.Decrypt(sealed, []byte(aad))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// current says that sealed was made with the primary key, by Tink's prefix: a version byte and the key's id.
func (k *Keyset) current(sealed []byte) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e, err := k.handle.Primary()
	if err != nil || len(sealed) < 5 {
		return false
	}
	id := uint32(sealed[1])<<24 | uint32(sealed[2])<<16 | uint32(sealed[3])<<8 | uint32(sealed[4])
	return sealed[0] == 1 && id == e.KeyID()
}
