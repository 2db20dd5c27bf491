package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/winprest/facteur/internal/mail"
)

// Erase forgets the texts of a message, its own headers and which files it had, and keeps the rest with what e says of it. A
// message that is erased already is left as it is. The status that it returns is the message's; nothing is erased while that is
// not final. Who wants to send the message again locks its job first, as this does.
func (s *Store) Erase(ctx context.Context, tx *Tx, tenantID, id string, e Erasure) (mail.Status, error) {
	const (
		lock  = `SELECT status FROM messages WHERE tenant_id = $1 AND id = $2`
		read  = `SELECT content, detail, coalesce(shared_text_id, '') FROM message_contents WHERE tenant_id = $1 AND message_id = $2`
		write = `UPDATE message_contents SET text = '', html = '', shared_text_id = NULL, content = $3, detail = $4 WHERE tenant_id = $1 AND message_id = $2`
		// The job is locked: nobody else erases one of its messages meanwhile, and none is added to a shared text later.
		unshare = `DELETE FROM shared_texts WHERE tenant_id = $1 AND id = $2 AND NOT EXISTS (SELECT 1 FROM messages m
			JOIN message_contents c ON c.tenant_id = m.tenant_id AND c.message_id = m.id WHERE m.tenant_id = $1 AND m.job_id = $3 AND c.shared_text_id = $2)`
	)
	var jobID string
	if err := tx.row(ctx, jobOfMessage, jobOfMessage, []any{tenantID, id}, &jobID); err != nil {
		return "", failed("erase", err)
	}
	if _, err := tx.lockJob(ctx, tenantID, jobID); err != nil {
		return "", err
	}
	var status mail.Status
	err := tx.row(ctx, lock+` FOR UPDATE`, lock, []any{tenantID, id}, &status)
	if err != nil {
		return "", failed("erase", err)
	}
	if !status.Final() {
		return status, nil
	}
	var contentDoc, detailDoc, shared string
	if err := tx.row(ctx, read, read, []any{tenantID, id}, &contentDoc, &detailDoc, &shared); err != nil {
		return "", failed("erase", err)
	}
	var content mail.Content
	var detail MessageDetail
	if err := json.Unmarshal([]byte(contentDoc), &content); err != nil {
		return "", fmt.Errorf("store: content of %s: %w", id, err)
	}
	if err := json.Unmarshal([]byte(detailDoc), &detail); err != nil {
		return "", fmt.Errorf("store: detail of %s: %w", id, err)
	}
	if detail.Erased != nil {
		return status, nil
	}
	content.Erased, content.Attachments, content.Headers, detail.Erased = true, nil, nil, &e
	erasedContent, err := json.Marshal(&content)
	if err != nil {
		return "", err
	}
	erasedDetail, err := json.Marshal(&detail)
	if err != nil {
		return "", err
	}
	_, err = tx.one(ctx, write, write, tenantID, id, string(erasedContent), string(erasedDetail))
	if err == nil && shared != "" {
		_, err = tx.affect(ctx, unshare, unshare, tenantID, shared, jobID)
	}
	return status, failed("erase", err)
}

// ErasedOf says whether a message's content was erased.
func (s *Store) ErasedOf(ctx context.Context, tx *Tx, tenantID, id string) (bool, error) {
	const query = `SELECT detail FROM message_contents WHERE tenant_id = $1 AND message_id = $2`
	var doc string
	if err := tx.row(ctx, query, query, []any{tenantID, id}, &doc); err != nil {
		return false, failed("erased", err)
	}
	var detail struct {
		Erased *Erasure `json:"erased"`
	}
	err := json.Unmarshal([]byte(doc), &detail)
	return detail.Erased != nil, err
}
