package outbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// ErrErased refuses what needs the content of a message whose content was erased.
var ErrErased = errors.New("outbox: the content was erased")

// Erase forgets what a message said, once it has come to its end (*StateError before). Who got it, what became of it, its subject
// and the SHA-256 of the exact mail stay. It is nil for a message that is erased already.
func (o *Outbox) Erase(ctx context.Context, tenantID, actor, messageID string) error {
	m, err := o.store.Message(ctx, tenantID, messageID)
	if err != nil || m.Detail.Erased != nil {
		return err
	}
	if !m.Status.Final() {
		return &StateError{"erase", m.Status, m.Phase}
	}
	rendered, err := o.Render(ctx, tenantID, messageID)
	if errors.Is(err, mail.ErrErased) { // just now
		return nil
	}
	if err != nil {
		return err
	}
	hash := sha256.New()
	size, err := rendered.WriteTo(hash)
	if err != nil {
		return err
	}
	now := store.Now()
	e := store.Erasure{At: now, SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size}
	detail, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		status, err := o.store.Erase(ctx, tx, tenantID, messageID, e)
		if err != nil {
			return err
		}
		if !status.Final() { // it was tried again meanwhile
			return &StateError{"erase", status, mail.PhaseNone}
		}
		return o.store.AppendAudit(ctx, tx, &store.AuditEvent{
			TenantID: tenantID, Actor: actor, Action: "message.erase", Subject: messageID, Detail: detail, CreatedAt: now,
		})
	})
}
