package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/winprest/facteur/internal/mail"
)

// sealedColumn is a column of sealed secrets. A secret opens only in its own row and column.
type sealedColumn struct {
	table, id, column string
	what              string // the column's part of the associated data
}

var (
	profileSecretsIn = sealedColumn{"sender_profiles", "id", "sealed_secrets", "secrets"}
	refreshTokenIn   = sealedColumn{"gmail_grants", "profile_id", "sealed_refresh", "refresh_token"}
	accessTokenIn    = sealedColumn{"gmail_grants", "profile_id", "sealed_access", "access_token"}
	verifierIn       = sealedColumn{"gmail_consents", "id", "sealed_verifier", "verifier"}
	clientSecretIn   = sealedColumn{"gmail_clients", "name", "sealed_secret", "client_secret"}
	signingSecretIn  = sealedColumn{"webhook_endpoints", "id", "sealed_secret", "signing"}
	formerSecretIn   = sealedColumn{"webhook_endpoints", "id", "sealed_previous", "signing_before"}

	sealedColumns = []sealedColumn{profileSecretsIn, refreshTokenIn, accessTokenIn, verifierIn, clientSecretIn, signingSecretIn, formerSecretIn}
)

func (c sealedColumn) aad(tenantID, id string) string {
	return c.table + "/" + tenantID + "/" + id + "/" + c.what
}

// seal seals a secret for its row; nothing for no secret.
func (s *Store) seal(c sealedColumn, tenantID, id string, secret mail.Secret) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	return s.keyset.Seal(c.aad(tenantID, id), []byte(secret))
}

func (s *Store) open(c sealedColumn, tenantID, id string, sealed []byte) (mail.Secret, error) {
	if sealed == nil {
		return "", nil
	}
	plain, err := s.keyset.Open(c.aad(tenantID, id), sealed)
	return mail.Secret(plain), err
}

type sealedRow struct {
	TenantID, ID string
	Sealed       []byte
}

// sealedRows reads a column, MaxPage rows of it by order.
func (s *Store) sealedRows(ctx context.Context, c sealedColumn, limit int, order string, where string, args ...any) ([]sealedRow, error) {
	var rows []sealedRow
	q := fmt.Sprintf("SELECT tenant_id, %s AS id, %s AS sealed FROM %s WHERE %[2]s IS NOT NULL AND %[4]s ORDER BY %[5]s LIMIT %[6]d", c.id, c.column, c.table, where, order, limit)
	return rows, s.ro.WithContext(ctx).Raw(q, args...).Scan(&rows).Error
}

// CheckKeyset opens the newest stored secret of every kind. ErrSealed: this is not the keyset that the database was used with.
func (s *Store) CheckKeyset(ctx context.Context) error {
	for _, c := range sealedColumns {
		rows, err := s.sealedRows(ctx, c, 1, c.id+" DESC", "true")
		if err != nil {
			return failed("check keyset", err)
		}
		for _, r := range rows {
			if _, err := s.keyset.Open(c.aad(r.TenantID, r.ID), r.Sealed); err != nil {
				return err
			}
		}
	}
	return nil
}

// RewrapAll seals every secret with the keyset's primary key, so that older keys can go, and says how many it changed. It
// may run beside everything else and be run again. ErrSealed, once all others are changed: it names secrets that cannot be opened.
func (s *Store) RewrapAll(ctx context.Context) (n int, err error) {
	if s.keyset == nil {
		return 0, ErrSealed
	}
	var unread []string
	for _, c := range sealedColumns {
		var last sealedRow
		for {
			rows, err := s.sealedRows(ctx, c, MaxPage, "tenant_id, "+c.id, "(tenant_id, "+c.id+") > (?, ?)", last.TenantID, last.ID)
			if err != nil || len(rows) == 0 {
				if err != nil {
					return n, failed("rewrap", err)
				}
				break
			}
			for _, r := range rows {
				changed, err := s.rewrap(ctx, c, r)
				if errors.Is(err, ErrSealed) {
					unread = append(unread, c.table+" "+r.ID)
					continue
				}
				if err != nil {
					return n, fmt.Errorf("store: rewrap %s of %s: %w", c.what, r.ID, err)
				}
				if changed {
					n++
				}
			}
			last = rows[len(rows)-1]
		}
	}
	if len(unread) > 0 {
		return n, fmt.Errorf("%w, %d of them: %s", ErrSealed, len(unread), strings.Join(unread[:min(len(unread), 20)], ", "))
	}
	return n, nil
}

// rewrap seals one secret again unless somebody changes it at the same time: that seals it too.
func (s *Store) rewrap(ctx context.Context, c sealedColumn, r sealedRow) (bool, error) {
	if s.keyset.current(r.Sealed) {
		return false, nil
	}
	aad := c.aad(r.TenantID, r.ID)
	plain, err := s.keyset.Open(aad, r.Sealed)
	if err != nil {
		return false, err
	}
	sealed, err := s.keyset.Seal(aad, plain)
	clear(plain)
	if err != nil {
		return false, err
	}
	done := s.db.WithContext(ctx).Exec(fmt.Sprintf("UPDATE %s SET %s = ? WHERE tenant_id = ? AND %s = ? AND %[2]s = ?", c.table, c.column, c.id),
		sealed, r.TenantID, r.ID, r.Sealed)
	return done.RowsAffected > 0, failed("rewrap", done.Error)
}
