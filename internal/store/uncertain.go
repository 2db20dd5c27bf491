package store

import (
	"context"

	"gorm.io/gorm"
)

// A tenant's uncertain messages are few among very many. They are found by the profiles' parts of the index that knows only
// those, whatever the planners believe: the order of a list tempts them to read the whole history backwards.
const (
	uncertainPostgres = `(SELECT u.* FROM sender_profiles s CROSS JOIN LATERAL (
	SELECT * FROM messages WHERE profile_id = s.id AND waiting = 'uncertain' OFFSET 0) u WHERE s.tenant_id = ?) m`
	uncertainSQLite = `(SELECT u.* FROM sender_profiles s CROSS JOIN messages u INDEXED BY messages_uncertain
	ON u.profile_id = s.id AND u.waiting = 'uncertain' WHERE s.tenant_id = ?) m`
)

// uncertainMessages is in place of the table messages m.
func (s *Store) uncertainMessages(q *gorm.DB, tenantID string) *gorm.DB {
	if s.pg != nil {
		return q.Table(uncertainPostgres, tenantID)
	}
	return q.Table(uncertainSQLite, tenantID)
}

// UncertainOf gives the ids of at most n uncertain messages of a job, in order, from the one after another on.
func (s *Store) UncertainOf(ctx context.Context, j *Job, after string, n int) (ids []string, err error) {
	err = s.ro.WithContext(ctx).Table("messages").
		Where("tenant_id = ? AND profile_id = ? AND waiting = 'uncertain' AND job_id = ? AND id > ?", j.TenantID, j.ProfileID, j.ID, after).
		Order("id").Limit(n).Pluck("id", &ids).Error
	return ids, failed("uncertain messages", err)
}
