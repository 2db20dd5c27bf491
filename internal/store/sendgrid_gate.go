package store

import (
	"encoding/json"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// The gate of the transport sendgrid. All firms share the service's accounts at SendGrid, which would take any of their verified
// senders from any of them. So a profile of that transport has no hold only while its own tenant has the add-on and a verified
// identity for its From. The store keeps it so: whatever ends a hold, and whatever changes the add-on, an identity or the From,
// asks the gate in its own transaction, under the lock of the tenant's row. A lane claims nothing of a profile with a hold.

const sendGridTransport = "sendgrid"

// lockTenant makes changes of a tenant's gate wait for each other. It comes before the locks of profiles.
func lockTenant(tx *gorm.DB, tenantID string) error {
	var row tenantRow
	return tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", tenantID).Take(&row).Error
}

// gate is what a tenant's SendGrid profiles are judged by.
type gate struct {
	active   bool            // the add-on is on
	verified map[string]bool // identities by name
}

func (s *Store) sendGridGate(tx *gorm.DB, tenantID string) (*gate, error) {
	g := &gate{verified: map[string]bool{}}
	var addOns []addOnRow
	if err := tx.Where("tenant_id = ? AND name = ?", tenantID, AddOnSendGrid).Find(&addOns).Error; err != nil || len(addOns) == 0 {
		return g, err
	}
	now, err := s.clock(tx)
	if err != nil {
		return nil, err
	}
	g.active, _ = addOns[0].on(now)
	var rows []identityRow
	if err := tx.Where("tenant_id = ? AND state = 'verified'", tenantID).Find(&rows).Error; err != nil {
		return nil, err
	}
	for i := range rows {
		// What was proved in another account is not known in this one.
		if r := &rows[i]; r.Method == string(IdentityGranted) || r.KeyName == addOns[0].KeyName && r.Subuser == addOns[0].Subuser {
			g.verified[r.Name] = true
		}
	}
	return g, nil
}

// code is why a profile with this From may not send; empty: it may.
func (g *gate) code(from string) string {
	mailbox, domain := mail.SenderIdentities(from)
	switch {
	case !g.active:
		return mail.CodeAddOnRequired
	case !g.verified[mailbox] && !g.verified[domain]:
		return mail.CodeSenderUnverified
	}
	return ""
}

// gateHold is the hold that a profile must have; nil: none. For every other transport there is none.
func (s *Store) gateHold(tx *gorm.DB, tenantID, transport, from string) (*mail.ProfileTrouble, error) {
	if transport != sendGridTransport {
		return nil, nil
	}
	g, err := s.sendGridGate(tx, tenantID)
	if err != nil {
		return nil, err
	}
	if code := g.code(from); code != "" {
		return &mail.ProfileTrouble{Code: code, Since: Now()}, nil
	}
	return nil, nil
}

// holdText is a hold as it is stored.
func holdText(hold *mail.ProfileTrouble) (*string, error) {
	if hold == nil {
		return nil, nil
	}
	doc, err := json.Marshal(hold)
	text := string(doc)
	return &text, err
}

// regate holds and releases a tenant's profiles after what they are judged by has changed; the tenant is locked. A hold for
// another reason stays, except that the add-on's comes before it. It gives the ids of profiles that were released.
func (s *Store) regate(tx *gorm.DB, tenantID string) (released []string, err error) {
	g, err := s.sendGridGate(tx, tenantID)
	if err != nil {
		return nil, err
	}
	var rows []profileRow
	err = tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("tenant_id = ? AND transport = ? AND deleted_at IS NULL", tenantID, sendGridTransport).
		Order("id").Find(&rows).Error
	if err != nil {
		return nil, err
	}
	for i := range rows {
		row := &rows[i]
		var settings profileSettings
		if err := json.Unmarshal([]byte(row.Settings), &settings); err != nil {
			return nil, err
		}
		hold, err := trouble(row.Hold)
		if err != nil {
			return nil, err
		}
		had := ""
		if hold != nil {
			had = hold.Code
		}
		code := g.code(settings.From.Address)
		ours := had == "" || had == mail.CodeAddOnRequired || had == mail.CodeSenderUnverified
		if code == had || !ours && code != mail.CodeAddOnRequired {
			continue
		}
		hold = nil
		if code != "" {
			hold = &mail.ProfileTrouble{Code: code, Since: Now()}
		} else {
			released = append(released, row.ID)
		}
		if err := s.touchProfile(tx, row, hold); err != nil {
			return nil, err
		}
	}
	return released, nil
}
