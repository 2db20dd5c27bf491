package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/winprest/facteur/api"
)

// Send sends one mail. When it returns nil the mail is stored and will leave by itself.
func (c *Client) Send(ctx context.Context, m api.MessageRequest, opts ...CallOption) (api.AcceptedMessage, error) {
	return do[api.AcceptedMessage](ctx, c, call{method: http.MethodPost, path: "/v1/messages", body: m, opts: opts})
}

// Message gives a message and its state.
func (c *Client) Message(ctx context.Context, id string) (api.Message, error) {
	return do[api.Message](ctx, c, call{method: http.MethodGet, path: "/v1/messages/" + url.PathEscape(id)})
}

// MessageFilter narrows a list of messages; empty fields do not.
type MessageFilter struct {
	Status          string
	Delivery        string
	SenderProfileID string
	ExternalID      string
}

func (f MessageFilter) query() url.Values {
	return url.Values{"status": {f.Status}, "delivery": {f.Delivery}, "sender_profile_id": {f.SenderProfileID}, "external_id": {f.ExternalID}}
}

// Messages walks through the messages, newest first.
func (c *Client) Messages(ctx context.Context, f MessageFilter) iter.Seq2[api.Message, error] {
	return list[api.Message](ctx, c, "/v1/messages", f.query())
}

// Attempts gives the hand-over tries of a message, oldest first, with the far end's answers.
func (c *Client) Attempts(ctx context.Context, id string) ([]api.Attempt, error) {
	out, err := do[api.Attempts](ctx, c, call{method: http.MethodGet, path: "/v1/messages/" + url.PathEscape(id) + "/attempts"})
	return out.Items, err
}

// Raw gives the mail as it is sent (RFC 5322). The caller closes it.
func (c *Client) Raw(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.open(ctx, "/v1/messages/"+url.PathEscape(id)+"/raw")
}

// Proof gives the proof of dispatch of a message: a zip whose proof.json is an api.Proof. The caller closes it.
func (c *Client) Proof(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.open(ctx, "/v1/messages/"+url.PathEscape(id)+"/proof")
}

// EraseContent forgets what a message said, once it has come to its end. Its proof stands without the mail itself.
func (c *Client) EraseContent(ctx context.Context, id string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: "/v1/messages/" + url.PathEscape(id) + "/content"})
	return err
}

// RetryMessage queues a failed message again.
func (c *Client) RetryMessage(ctx context.Context, id string, opts ...CallOption) (api.Message, error) {
	return c.act(ctx, id, "retry", nil, opts)
}

// CancelMessage stops a message that is not on its way yet; the error's status is 409 when it is.
func (c *Client) CancelMessage(ctx context.Context, id string, opts ...CallOption) (api.Message, error) {
	return c.act(ctx, id, "cancel", nil, opts)
}

// ResolveMessage settles an uncertain message by a person's word.
func (c *Client) ResolveMessage(ctx context.Context, id string, r api.ResolveRequest, opts ...CallOption) (api.Message, error) {
	return c.act(ctx, id, "resolve", r, opts)
}

func (c *Client) act(ctx context.Context, id, action string, body any, opts []CallOption) (api.Message, error) {
	return do[api.Message](ctx, c, call{method: http.MethodPost, path: "/v1/messages/" + url.PathEscape(id) + "/" + action, body: body, opts: opts})
}

// SendBatch accepts a number of mails at once: all of them or none.
func (c *Client) SendBatch(ctx context.Context, r api.SendJobRequest, opts ...CallOption) (api.AcceptedSendJob, error) {
	return do[api.AcceptedSendJob](ctx, c, call{method: http.MethodPost, path: "/v1/send-jobs", body: r, opts: opts})
}

// CheckBatch looks at a batch that is to be sent, and stores and sends nothing. What is wrong with it is in the answer; the error is
// about the call itself.
func (c *Client) CheckBatch(ctx context.Context, r api.SendJobRequest) (api.SendJobCheck, error) {
	return do[api.SendJobCheck](ctx, c, call{method: http.MethodPost, path: "/v1/send-jobs/check", body: r})
}

// CheckDraft looks at a draft as it would be if it was released now.
func (c *Client) CheckDraft(ctx context.Context, id string) (api.SendJobCheck, error) {
	return do[api.SendJobCheck](ctx, c, call{method: http.MethodPost, path: "/v1/send-jobs/" + url.PathEscape(id) + "/check"})
}

// SendJob gives a job and its live counts.
func (c *Client) SendJob(ctx context.Context, id string) (api.SendJob, error) {
	return do[api.SendJob](ctx, c, call{method: http.MethodGet, path: "/v1/send-jobs/" + url.PathEscape(id)})
}

// SendJobs walks through the jobs, newest first, without their counts.
func (c *Client) SendJobs(ctx context.Context) iter.Seq2[api.SendJobSummary, error] {
	return list[api.SendJobSummary](ctx, c, "/v1/send-jobs", nil)
}

// JobMessages walks through the messages of a job; status narrows them unless it is empty.
func (c *Client) JobMessages(ctx context.Context, id, status string) iter.Seq2[api.Message, error] {
	return list[api.Message](ctx, c, "/v1/send-jobs/"+url.PathEscape(id)+"/messages", url.Values{"status": {status}})
}

// CancelJob stops what of a job is not on its way yet.
func (c *Client) CancelJob(ctx context.Context, id string, opts ...CallOption) (api.CanceledJob, error) {
	return do[api.CanceledJob](ctx, c, call{method: http.MethodPost, path: "/v1/send-jobs/" + url.PathEscape(id) + "/cancel", opts: opts})
}

// ResolveJob settles all uncertain messages of a job by a person's word.
func (c *Client) ResolveJob(ctx context.Context, id string, r api.ResolveRequest, opts ...CallOption) (api.ResolvedJob, error) {
	return do[api.ResolvedJob](ctx, c, call{method: http.MethodPost, path: "/v1/send-jobs/" + url.PathEscape(id) + "/resolve", body: r, opts: opts})
}

// FollowJob asks for a job every interval and gives each answer, the last one when it is finished. A job with uncertain,
// held or deferred messages is not finished: break out of the loop, or end ctx, when that is long enough.
func (c *Client) FollowJob(ctx context.Context, id string, interval time.Duration) iter.Seq2[api.SendJob, error] {
	return func(yield func(api.SendJob, error) bool) {
		for {
			job, err := c.SendJob(ctx, id)
			if !yield(job, err) || err != nil || job.Finished {
				return
			}
			if err := c.wait(ctx, interval); err != nil {
				yield(job, err)
				return
			}
		}
	}
}
