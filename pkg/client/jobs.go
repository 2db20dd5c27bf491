package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/winprest/facteur/api"
)

func jobPath(id string, more ...string) string {
	path := "/v1/send-jobs/" + url.PathEscape(id)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

// AppendMessages adds messages to a draft, at most 1,000 at once: all of them or none.
func (c *Client) AppendMessages(ctx context.Context, jobID string, messages []api.Mail, opts ...CallOption) (api.AppendedMessages, error) {
	return do[api.AppendedMessages](ctx, c, call{method: http.MethodPost, path: jobPath(jobID, "messages"), body: api.DraftMessages{Messages: messages}, opts: opts})
}

// DraftMessage gives a message of a draft as it was asked.
func (c *Client) DraftMessage(ctx context.Context, jobID, messageID string) (api.DraftMessage, error) {
	return do[api.DraftMessage](ctx, c, call{method: http.MethodGet, path: jobPath(jobID, "messages", messageID)})
}

// ReplaceDraftMessage changes a message of a draft.
func (c *Client) ReplaceDraftMessage(ctx context.Context, jobID, messageID string, m api.Mail, opts ...CallOption) (api.DraftMessage, error) {
	return do[api.DraftMessage](ctx, c, call{method: http.MethodPut, path: jobPath(jobID, "messages", messageID), body: m, opts: opts})
}

// RemoveDraftMessage takes a message out of a draft.
func (c *Client) RemoveDraftMessage(ctx context.Context, jobID, messageID string, opts ...CallOption) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: jobPath(jobID, "messages", messageID), opts: opts})
	return err
}

// ReleaseJob composes a draft and sends it on its way, or lets a job go that waits for it. The error names everything that is wrong with any message; then
// nothing has changed.
func (c *Client) ReleaseJob(ctx context.Context, id string, opts ...CallOption) (api.SendJob, error) {
	return do[api.SendJob](ctx, c, call{method: http.MethodPost, path: jobPath(id, "release"), opts: opts})
}

// PauseJob stops a job for a while. When it returns nil nothing new of it is handed over.
func (c *Client) PauseJob(ctx context.Context, id, note string, opts ...CallOption) (api.SendJob, error) {
	return do[api.SendJob](ctx, c, call{method: http.MethodPost, path: jobPath(id, "pause"), body: api.JobNote{Note: note}, opts: opts})
}

// ResumeJob lets a job go on that was paused, or that its rules have stopped.
func (c *Client) ResumeJob(ctx context.Context, id, note string, opts ...CallOption) (api.SendJob, error) {
	return do[api.SendJob](ctx, c, call{method: http.MethodPost, path: jobPath(id, "resume"), body: api.JobNote{Note: note}, opts: opts})
}

// RetryFailed queues the failed messages of a job again; those that are uncertain are not touched.
func (c *Client) RetryFailed(ctx context.Context, id string, opts ...CallOption) (api.RetriedJob, error) {
	return do[api.RetriedJob](ctx, c, call{method: http.MethodPost, path: jobPath(id, "retry-failed"), opts: opts})
}
