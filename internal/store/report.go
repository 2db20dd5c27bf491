package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// Reported is a message as the report of its job has it.
type Reported struct {
	*Message
	MessageIDHeader string // with angle brackets
}

// ReportMessages gives up to limit messages of a job in the order of their ids, from the one behind after on. Fewer than limit are
// the last.
func (s *Store) ReportMessages(ctx context.Context, tenantID, jobID, after string, limit int) ([]Reported, error) {
	var rows []readRow
	q := messages(s.ro.WithContext(ctx), tenantID).Where("m.job_id = ? AND m.id > ?", jobID, after).Order("m.id").Limit(limit)
	if err := q.Scan(&rows).Error; err != nil {
		return nil, failed("report", err)
	}
	list := make([]Reported, len(rows))
	for i := range rows {
		r := &rows[i]
		m, err := r.message()
		if err != nil {
			return nil, err
		}
		var content struct {
			MessageID string `json:"message_id"`
		}
		if err := json.Unmarshal([]byte(r.Content), &content); err != nil {
			return nil, fmt.Errorf("store: content of %s: %w", r.ID, err)
		}
		list[i] = Reported{Message: m, MessageIDHeader: content.MessageID}
	}
	return list, nil
}
