package store

import (
	"context"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Usage is what one profile of a tenant sent in a month over one transport, counted by when its messages were accepted.
type Usage struct {
	ProfileID, ProfileName string
	Transport              string // of the latest attempt; of a message without one, the profile's by now
	Messages               int64
	Recipients             int64 // of all of them
	RecipientsSent         int64 // that the far end took
	Bytes                  int64 // of the mails at their latest hand-over, each once
	Outcomes               map[mail.Status]int64
}

// A message's id begins with the time when it was accepted, and the primary key is by tenant and id, so a month is a range of the
// key. Nothing is counted while mail is sent.
const (
	usagePostgres = `SELECT m.profile_id, coalesce(m.attempt::json #>> '{detail,transport}', p.transport) AS transport, m.status, count(*) AS messages,
	sum(json_array_length(m.recipients::json)) AS recipients,
	sum((SELECT count(*) FROM json_array_elements(m.recipients::json) AS r WHERE r ->> 's' = 'sent'))::bigint AS recipients_sent,
	coalesce(sum((m.attempt::json #>> '{detail,bytes}')::bigint), 0)::bigint AS bytes, p.name
	FROM messages m JOIN sender_profiles p ON p.id = m.profile_id WHERE m.tenant_id = ? AND m.id >= ? AND m.id < ? GROUP BY 1, 2, 3, p.name ORDER BY 1, 2, 3`
	usageSQLite = `SELECT m.profile_id, coalesce(json_extract(m.attempt, '$.detail.transport'), p.transport) AS transport, m.status, count(*) AS messages,
	sum(json_array_length(m.recipients)) AS recipients,
	sum((SELECT count(*) FROM json_each(m.recipients) AS r WHERE json_extract(r.value, '$.s') = 'sent')) AS recipients_sent,
	coalesce(sum(json_extract(m.attempt, '$.detail.bytes')), 0) AS bytes, p.name
	FROM messages m JOIN sender_profiles p ON p.id = m.profile_id WHERE m.tenant_id = ? AND m.id >= ? AND m.id < ? GROUP BY 1, 2, 3, p.name ORDER BY 1, 2, 3`
)

// Usage gives what a tenant's profiles sent of the messages that were accepted in [from, to), by profile and transport.
func (s *Store) Usage(ctx context.Context, tenantID string, from, to time.Time) ([]*Usage, error) {
	query := usageSQLite
	if s.pg != nil {
		query = usagePostgres
	}
	var rows []struct {
		ProfileID, Transport, Status, Name          string
		Messages, Recipients, RecipientsSent, Bytes int64
	}
	if err := s.ro.WithContext(ctx).Raw(query, tenantID, firstID("msg_", from), firstID("msg_", to)).Scan(&rows).Error; err != nil {
		return nil, failed("usage", err)
	}
	var out []*Usage
	for _, r := range rows {
		u := &Usage{ProfileID: r.ProfileID, ProfileName: r.Name, Transport: r.Transport, Outcomes: map[mail.Status]int64{}}
		if n := len(out); n > 0 && out[n-1].ProfileID == r.ProfileID && out[n-1].Transport == r.Transport {
			u = out[n-1]
		} else {
			out = append(out, u)
		}
		u.Messages += r.Messages
		u.Recipients += r.Recipients
		u.RecipientsSent += r.RecipientsSent
		u.Bytes += r.Bytes
		u.Outcomes[mail.Status(r.Status)] += r.Messages
	}
	return out, nil
}

// AddOnDays says on how many days (UTC) of [from, to) an add-on was on, until now.
func (s *Store) AddOnDays(ctx context.Context, tenantID, name string, from, to time.Time) (int, error) {
	var periods []addOnPeriodRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND name = ?", tenantID, name).Order("starts_at").Find(&periods).Error; err != nil {
		return 0, failed("add-on days", err)
	}
	now, err := s.clock(s.ro.WithContext(ctx))
	if err != nil {
		return 0, err
	}
	days := 0
	for day := from; day.Before(to); day = day.AddDate(0, 0, 1) {
		begins, ends := micros(day), min(micros(day.AddDate(0, 0, 1)), now)
		if begins >= now {
			break
		}
		for _, p := range periods {
			if p.StartsAt < ends && (p.EndsAt == 0 || p.EndsAt > begins && p.EndsAt > p.StartsAt) {
				days++
				break
			}
		}
	}
	return days, nil
}
