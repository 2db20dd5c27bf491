package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Delivering: every process may do it. A claim leases deliveries of one endpoint to the caller; what comes of a try is fenced by
// the claim's token. A process that dies in between leaves the deliveries to the end of the lease, and they are tried again as the
// same events.

// Why the service switches an endpoint off.
const (
	CodeEndpointGone    = "webhook_endpoint_gone"    // it answered 410
	CodeEndpointFailing = "webhook_endpoint_failing" // it has taken nothing for too long
)

// DeliveryResult is what became of one try.
type DeliveryResult struct {
	Delivery
	// Gone: the endpoint says that it wants nothing any more.
	Gone bool
}

// DueEndpoints gives at most n endpoints of any tenant that have something due, those busy left out, those in good health first.
// Failing ones are left out unless failing.
func (s *Store) DueEndpoints(ctx context.Context, busy []string, failing bool, n int, now time.Time) (due []DueEndpoint, err error) {
	q := s.ro.WithContext(ctx).Table("webhook_endpoints AS e").Select("e.id, e.failing_since > 0 AS failing").
		Where("e.enabled AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = 'pending' AND d.next_at <= ?)", micros(now))
	if len(busy) > 0 {
		q = q.Where("e.id NOT IN ?", busy)
	}
	if !failing {
		q = q.Where("e.failing_since = 0")
	}
	err = q.Order("CASE WHEN e.failing_since = 0 THEN 0 ELSE 1 END, (SELECT min(d.next_at) FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = 'pending')").Limit(n).Scan(&due).Error
	return due, failed("due endpoints", err)
}

// DueEndpoint is an endpoint with something due.
type DueEndpoint struct {
	ID      string
	Failing bool // it did not take the last try
}

// ClaimDeliveries leases at most n deliveries of an endpoint that are due to the caller, and gives the endpoint with its secrets.
// There are none when it is switched off.
func (s *Store) ClaimDeliveries(ctx context.Context, endpointID, token string, lease time.Duration, n int, now time.Time) (e *WebhookEndpoint, out []*Delivery, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		e, out = nil, nil
		var row endpointRow
		if err := tx.Clauses(clause.Locking{Strength: "KEY SHARE"}).Where("id = ? AND enabled", endpointID).Limit(1).Find(&row).Error; err != nil || row.ID == "" {
			return err
		}
		var err error
		if e, err = s.openEndpoint(&row); err != nil {
			return err
		}
		var rows []webhookDeliveryRow
		err = tx.Clauses(skipLocked).Where("endpoint_id = ? AND status = 'pending' AND next_at <= ?", endpointID, micros(now)).
			Order("next_at, id").Limit(n).Find(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i] = r.ID
		}
		err = tx.Model(&webhookDeliveryRow{}).Where("id IN ?", ids).UpdateColumns(map[string]any{"token": token, "next_at": micros(now.Add(lease))}).Error
		if err != nil {
			return err
		}
		if out, err = deliveries(tx, rows); err != nil {
			return err
		}
		for _, d := range out {
			d.Token = token
		}
		return nil
	})
	return e, out, failed("claim deliveries", err)
}

// RecordDeliveries writes what became of tries of one endpoint, and what that says of the endpoint: one that is gone, or has taken
// nothing since giveUp and used up the tries of an event, is switched off, and the others of the tenant are told.
func (s *Store) RecordDeliveries(ctx context.Context, endpointID string, results []DeliveryResult, giveUp time.Time) (disabled string, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		disabled = ""
		var health endpointHealth
		for i := range results {
			r := &results[i]
			q := tx.Model(&webhookDeliveryRow{}).Where("id = ? AND endpoint_id = ? AND token = ?", r.ID, endpointID, r.Token).UpdateColumns(map[string]any{
				"status": string(r.Status), "attempts": r.Attempts, "next_at": micros(r.NextAt), "token": nil, "response_status": r.ResponseStatus,
				"code": r.Code, "excerpt": r.Excerpt, "attempted_at": micros(r.AttemptedAt),
			})
			if q.Error != nil {
				return q.Error
			}
			health.add(r)
		}
		var err error
		disabled, err = s.judge(tx, endpointID, &health, giveUp)
		return err
	})
	if disabled != "" {
		s.audience.forget()
	}
	return disabled, failed("record deliveries", err)
}

// endpointHealth is what a few tries say of an endpoint.
type endpointHealth struct {
	good, gone bool
	exhausted  bool      // an event had all its tries
	failed     time.Time // the first failure after the last success
}

func (h *endpointHealth) add(r *DeliveryResult) {
	switch {
	case r.Status == DeliveryDelivered:
		h.good, h.failed = true, time.Time{}
	case h.failed.IsZero():
		h.failed = r.AttemptedAt
	}
	h.gone = h.gone || r.Gone
	h.exhausted = h.exhausted || r.Status == DeliveryFailed
}

// judge writes how an endpoint is, and switches it off when nothing is to be hoped for. An endpoint that is well, and was, is not
// written.
func (s *Store) judge(tx *gorm.DB, endpointID string, h *endpointHealth, giveUp time.Time) (disabled string, err error) {
	if !h.good && h.failed.IsZero() {
		return "", nil
	}
	var e endpointRow
	if h.good && h.failed.IsZero() && !h.gone {
		return "", tx.Model(&endpointRow{}).Where("id = ? AND failing_since > 0", endpointID).UpdateColumn("failing_since", 0).Error
	}
	if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ? AND enabled", endpointID).Limit(1).Find(&e).Error; err != nil || e.ID == "" {
		return "", err
	}
	since := e.FailingSince
	if since == 0 || h.good {
		since = micros(h.failed)
	}
	set := map[string]any{"failing_since": since}
	switch {
	case h.gone:
		disabled = CodeEndpointGone
	case since < micros(giveUp) && h.exhausted: // days without any event are no failure: each one has its tries first
		disabled = CodeEndpointFailing
	}
	if disabled != "" {
		set["enabled"], set["disabled_code"], set["updated_at"] = false, disabled, later(e.UpdatedAt)
	}
	if err := tx.Model(&endpointRow{}).Where("id = ?", endpointID).UpdateColumns(set).Error; err != nil || disabled == "" {
		return disabled, err
	}
	return disabled, s.appendEvents(tx, Event{TenantID: e.TenantID, Type: EventEndpointDisabled, Subject: e.ID, Data: EventData{Code: disabled, Name: e.Description}})
}
