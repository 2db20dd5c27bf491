package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// MaxCounted is how far the waiting messages of a profile are counted for its health, and MaxDeferred the deferred ones, whose rows must be
// read.
const (
	MaxCounted  = 100_000
	MaxDeferred = 10_000
)

// Health is how a profile is doing at a moment. It is read from indexes and small tables alone, and never from what was sent.
type Health struct {
	Profile *mail.Profile
	At      time.Time // by the database's clock

	Connections int // in use on all machines

	Waiting     int // at most MaxCounted; More says that there are others
	More        bool
	Deferred    int       // of those waiting: tried before, and their next time has not come; at most MaxDeferred
	Due         int       // of those waiting: their time has come
	OldestSince time.Time // when the oldest of those waiting was accepted; zero: none waits
	NextDue     time.Time // the earliest time of those waiting
	Sending     int
	Uncertain   int

	// Of a profile with limits.
	Used mail.Usage
	Open int // mails that may be on their way
}

const (
	connectionsUsed = `SELECT count(*) FROM lanes WHERE profile_id = $1 AND token IS NOT NULL AND lease_until > `
	// From the index alone. Ids sort by time, so that the first is the oldest.
	waitingBefore = `SELECT count(*), coalesce(sum(CASE WHEN not_before <= `
	waitingAfter  = ` THEN 1 ELSE 0 END), 0), coalesce(min(id), ''), coalesce(min(not_before), 0)
	FROM (SELECT not_before, id FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') LIMIT $2) x`
	acceptedAt     = `SELECT created_at FROM messages WHERE tenant_id = $1 AND id = $2`
	deferredBefore = `SELECT count(*) FROM (SELECT waiting FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') AND priority IN (0, 1) AND not_before > `
	deferredAfter  = ` LIMIT $2) x WHERE waiting = 'deferred'`
	sendingOf      = `SELECT count(*) `
	uncertainOf    = `SELECT count(*) FROM messages WHERE profile_id = $1 AND waiting = 'uncertain'`
	usageOf        = `SELECT used FROM profile_usage WHERE profile_id = $1`
	openPostgres   = `SELECT coalesce(sum(cardinality(messages)), 0) FROM claims WHERE limited = $1`
	openSQLite     = `SELECT coalesce(sum(json_array_length(messages)), 0) FROM claims WHERE limited = $1`
)

// Health reads how a profile is doing.
func (s *Store) Health(ctx context.Context, tenantID, id string) (*Health, error) {
	p, err := s.Profile(ctx, tenantID, id)
	if err != nil {
		return nil, err
	}
	h := &Health{Profile: p}
	var at, accepted, due int64
	var oldest string
	sending, open := sendingOf+sendingSQLite+` AND c.tenant_id = $1 AND m.profile_id = $2`, openSQLite
	if s.pg != nil {
		sending, open = sendingOf+sendingPostgres+` OFFSET 0) m WHERE c.tenant_id = $1 AND m.profile_id = $2`, openPostgres
	}
	for _, q := range []struct {
		query string
		args  []any
		dest  []any
	}{
		{"SELECT " + s.now(), nil, []any{&at}},
		{connectionsUsed + s.now(), []any{id}, []any{&h.Connections}},
		{waitingBefore + s.now() + waitingAfter, []any{id, MaxCounted + 1}, []any{&h.Waiting, &h.Due, &oldest, &due}},
		{deferredBefore + s.now() + deferredAfter, []any{id, MaxDeferred}, []any{&h.Deferred}},
		{sending, []any{tenantID, id}, []any{&h.Sending}},
		{uncertainOf, []any{id}, []any{&h.Uncertain}},
	} {
		if err := s.row(ctx, q.query, q.args, q.dest...); err != nil {
			return nil, failed("health", err)
		}
	}
	if oldest != "" {
		if err := s.row(ctx, acceptedAt, []any{tenantID, oldest}, &accepted); err != nil {
			return nil, failed("health", err)
		}
	}
	h.At, h.OldestSince, h.NextDue = fromMicros(at), fromMicros(accepted), fromMicros(due)
	if h.Waiting > MaxCounted {
		h.Waiting, h.More = MaxCounted, true
	}
	if !p.Limits.Any() {
		return h, nil
	}
	var doc []byte
	if err := s.row(ctx, usageOf, []any{id}, &doc); err != nil {
		return nil, failed("health", err)
	}
	if h.Used, err = readUsage(doc); err != nil {
		return nil, fmt.Errorf("store: usage of %s: %w", id, err)
	}
	return h, failed("health", s.row(ctx, open, []any{id}, &h.Open))
}

func readUsage(doc []byte) (mail.Usage, error) {
	var pairs [][2]int64
	if err := json.Unmarshal(doc, &pairs); err != nil {
		return nil, err
	}
	used := make(mail.Usage, len(pairs))
	for i, p := range pairs {
		used[i] = mail.Use{At: p[0], Mails: int(p[1])}
	}
	return used, nil
}
