package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Limits of a profile hold on all machines because whoever claims mail of it locks its row of profile_usage, and counts by the
// database's clock. What was claimed counts as open, until Spend counts what was handed over of it as used, or the claim's
// lease is over and all of it counts.

const (
	// The statement's time is that of its beginning, before it waited for the lock: a claim that takes it for now looks back a
	// little longer than it must.
	lockUsagePostgres = `SELECT used, ` + nowPostgres + ` FROM profile_usage WHERE profile_id = $1 FOR UPDATE`
	lockUsageSQLite   = `SELECT used, ` + nowSQLite + ` FROM profile_usage WHERE profile_id = $1`
	// A statement of its own, so that it sees what was committed by the former holder of the lock.
	limitsPostgres = limitsOf + `(SELECT coalesce(sum(cardinality(messages)), 0) FROM claims WHERE limited = $1) ` + fromProfile
	limitsSQLite   = limitsOf + `(SELECT coalesce(sum(json_array_length(messages)), 0) FROM claims WHERE limited = $1) ` + fromProfile
	limitsOf       = `SELECT per_minute, per_hour, per_day, version, limited_until, `
	fromProfile    = `FROM sender_profiles WHERE id = $1`

	setLimited    = `UPDATE sender_profiles SET limited_until = $3, limited_by = $4 WHERE id = $1 AND version = $2`
	unsetLimited  = `UPDATE sender_profiles SET limited_until = 0, limited_by = '' WHERE id = $1 AND limited_until > 0`
	saveUsage     = `UPDATE profile_usage SET used = $2 WHERE profile_id = $1`
	countPostgres = `UPDATE claims SET limited = NULL WHERE token = $1 AND limited IS NOT NULL RETURNING cardinality(messages)`
	countSQLite   = `UPDATE claims SET limited = NULL WHERE token = $1 AND limited IS NOT NULL RETURNING json_array_length(messages)`
	// Claims whose lease is over before they were counted.
	uncountedPostgres = `SELECT DISTINCT limited FROM claims WHERE limited IS NOT NULL AND lease_until < ` + nowPostgres
	uncountedSQLite   = `SELECT DISTINCT limited FROM claims WHERE limited IS NOT NULL AND lease_until < ` + nowSQLite
	countLostPostgres = `UPDATE claims SET limited = NULL WHERE limited = $1 AND lease_until < ` + nowPostgres + ` RETURNING cardinality(messages)`
	countLostSQLite   = `UPDATE claims SET limited = NULL WHERE limited = $1 AND lease_until < ` + nowSQLite + ` RETURNING json_array_length(messages)`
)

// usage locks what a profile used, and reads the database's clock.
func (tx *Tx) usage(ctx context.Context, profileID string) (used mail.Usage, now time.Time, err error) {
	var doc []byte
	var us int64
	if err := tx.row(ctx, lockUsagePostgres, lockUsageSQLite, []any{profileID}, &doc, &us); err != nil {
		return nil, now, fmt.Errorf("usage of %s: %w", profileID, err)
	}
	if used, err = readUsage(doc); err != nil {
		return nil, now, fmt.Errorf("usage of %s: %w", profileID, err)
	}
	return used, fromMicros(us), nil
}

func (tx *Tx) saveUsage(ctx context.Context, profileID string, used mail.Usage) error {
	pairs := make([][2]int64, len(used))
	for i, u := range used {
		pairs[i] = [2]int64{u.At, int64(u.Mails)}
	}
	doc, err := json.Marshal(pairs)
	if err != nil {
		return err
	}
	_, err = tx.affect(ctx, saveUsage, saveUsage, profileID, string(doc))
	return err
}

// room says how many of n mails the profile's limits allow now. When that is none, the profile says until when. The caller
// claims no more in the same transaction.
func (tx *Tx) room(ctx context.Context, profileID string, n int) (int, error) {
	used, now, err := tx.usage(ctx, profileID)
	if err != nil {
		return 0, err
	}
	var l mail.Limits
	var version, until int64
	var open int
	if err := tx.row(ctx, limitsPostgres, limitsSQLite, []any{profileID}, &l.PerMinute, &l.PerHour, &l.PerDay, &version, &until, &open); err != nil {
		return 0, err
	}
	room := l.Room(used, open, now)
	if to := micros(room.Until); to != until {
		if _, err := tx.affect(ctx, setLimited, setLimited, profileID, version, to, string(room.Limit)); err != nil {
			return 0, err
		}
	}
	return min(n, room.Mails), nil
}

// Spend counts what a claim of ClaimWithin came to: mails of it may have reached the far end, at the latest now. The rest of it
// is room again. The claim must not end before, so that none of its mails is ever uncounted.
func (s *Store) Spend(ctx context.Context, profileID, token string, mails int) error {
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		claimed, err := tx.spend(ctx, profileID, countPostgres, countSQLite, token, func(int) int { return mails })
		if err != nil || mails >= claimed {
			return err
		}
		_, err = tx.affect(ctx, unsetLimited, unsetLimited, profileID)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: spend: %w", err)
	}
	return nil
}

// spendLost counts all that claims had whose lease is over before anybody counted them.
func (s *Store) spendLost(ctx context.Context) error {
	var profiles []string
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) (err error) {
		profiles, err = column[string](ctx, tx, uncountedPostgres, uncountedSQLite)
		return err
	})
	for _, id := range profiles {
		if err != nil {
			break
		}
		err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
			_, err := tx.spend(ctx, id, countLostPostgres, countLostSQLite, id, func(claimed int) int { return claimed })
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("store: spend: %w", err)
	}
	return nil
}

// spend takes claims out of what is open, and counts as used as many mails as count makes of theirs.
func (tx *Tx) spend(ctx context.Context, profileID, postgres, sqlite, arg string, count func(claimed int) int) (claimed int, err error) {
	used, now, err := tx.usage(ctx, profileID)
	if err != nil {
		return 0, err
	}
	each, err := column[int](ctx, tx, postgres, sqlite, arg)
	if err != nil {
		return 0, err
	}
	for _, n := range each {
		claimed += n
	}
	if mails := count(claimed); mails > 0 {
		err = tx.saveUsage(ctx, profileID, used.Add(mails, now))
	}
	return claimed, err
}
