package client

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
)

func endpointPath(id string) string { return "/v1/webhook-endpoints/" + url.PathEscape(id) }

// CreateWebhookEndpoint makes an endpoint. The answer holds its secret, this once; when it is lost, list the endpoints before you
// make another one.
func (c *Client) CreateWebhookEndpoint(ctx context.Context, r api.WebhookEndpointRequest) (api.WebhookEndpointSecret, error) {
	return do[api.WebhookEndpointSecret](ctx, c, call{method: http.MethodPost, path: "/v1/webhook-endpoints", body: r, once: true})
}

// WebhookEndpoints walks through the endpoints, newest first.
func (c *Client) WebhookEndpoints(ctx context.Context) iter.Seq2[api.WebhookEndpoint, error] {
	return list[api.WebhookEndpoint](ctx, c, "/v1/webhook-endpoints", nil)
}

// WebhookEndpoint gives one endpoint.
func (c *Client) WebhookEndpoint(ctx context.Context, id string) (api.WebhookEndpoint, error) {
	return do[api.WebhookEndpoint](ctx, c, call{method: http.MethodGet, path: endpointPath(id)})
}

// UpdateWebhookEndpoint edits an endpoint.
func (c *Client) UpdateWebhookEndpoint(ctx context.Context, id string, p api.WebhookEndpointPatch) (api.WebhookEndpoint, error) {
	return do[api.WebhookEndpoint](ctx, c, call{method: http.MethodPatch, path: endpointPath(id), body: p})
}

// DeleteWebhookEndpoint removes an endpoint with its deliveries.
func (c *Client) DeleteWebhookEndpoint(ctx context.Context, id string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: endpointPath(id)})
	return err
}

// RotateWebhookSecret gives an endpoint a new secret; the former one signs too for 24 hours. Only one former secret does: the
// call is not repeated by itself, and when its answer is lost the secret that you have is good for 24 hours still.
func (c *Client) RotateWebhookSecret(ctx context.Context, id string) (api.WebhookEndpointSecret, error) {
	return do[api.WebhookEndpointSecret](ctx, c, call{method: http.MethodPost, path: endpointPath(id) + "/rotate-secret", once: true})
}

// TestWebhookEndpoint sends an endpoint a test event.
func (c *Client) TestWebhookEndpoint(ctx context.Context, id string) (api.WebhookDelivery, error) {
	return do[api.WebhookDelivery](ctx, c, call{method: http.MethodPost, path: endpointPath(id) + "/test"})
}

// WebhookDeliveries walks through an endpoint's deliveries, newest first; an empty status is every status.
func (c *Client) WebhookDeliveries(ctx context.Context, id, status string) iter.Seq2[api.WebhookDelivery, error] {
	return list[api.WebhookDelivery](ctx, c, endpointPath(id)+"/deliveries", url.Values{"status": {status}})
}

// ReplayWebhookDelivery sends an event again.
func (c *Client) ReplayWebhookDelivery(ctx context.Context, endpointID, deliveryID string) (api.WebhookDelivery, error) {
	return do[api.WebhookDelivery](ctx, c, call{method: http.MethodPost, path: endpointPath(endpointID) + "/deliveries/" + url.PathEscape(deliveryID) + "/replay"})
}

// ReplayFailedWebhooks sends again all that failed of the events since a time, and says how many.
func (c *Client) ReplayFailedWebhooks(ctx context.Context, endpointID string, since time.Time) (int, error) {
	out, err := do[api.WebhookReplay](ctx, c, call{method: http.MethodPost, path: endpointPath(endpointID) + "/replay-failed", body: api.WebhookReplayRequest{Since: since}})
	return out.Replayed, err
}

// NoticeSettings say who is told by mail when something needs a person. An *Error with the status 404: nobody.
func (c *Client) NoticeSettings(ctx context.Context) (api.NoticeSettings, error) {
	return do[api.NoticeSettings](ctx, c, call{method: http.MethodGet, path: "/v1/notice-settings"})
}

// PutNoticeSettings replaces the notice settings.
func (c *Client) PutNoticeSettings(ctx context.Context, n api.NoticeSettings) (api.NoticeSettings, error) {
	return do[api.NoticeSettings](ctx, c, call{method: http.MethodPut, path: "/v1/notice-settings", body: n})
}

// DeleteNoticeSettings has nobody told by mail any more.
func (c *Client) DeleteNoticeSettings(ctx context.Context) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: "/v1/notice-settings"})
	return err
}

// ErrWebhookSignature: the request is not one of ours, was changed on its way, or is too old to be believed. Answer 400 or 401.
var ErrWebhookSignature = errors.New("client: the webhook's signature is not good")

// webhookTolerance is how far a webhook's timestamp may be from the receiver's clock.
const webhookTolerance = 5 * time.Minute

// VerifyWebhook checks the signature of a webhook (Standard Webhooks) and reads its event. secret is the endpoint's, "whsec_…"; body
// are the bytes of the request as they came. The id is the same at every try of an event: note it, and take an event that you know
// already for done. Any other error than ErrWebhookSignature is a mistake in secret, or an event that cannot be read.
func VerifyWebhook(secret string, header http.Header, body []byte) (id string, e api.WebhookEvent, err error) {
	return verifyWebhook(secret, header, body, time.Now())
}

func verifyWebhook(secret string, header http.Header, body []byte, now time.Time) (id string, e api.WebhookEvent, err error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return "", e, errors.New("client: this is not the secret of a webhook endpoint")
	}
	id = header.Get("Webhook-Id")
	stamp := header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(seconds, 0)).Abs() > webhookTolerance {
		return "", e, ErrWebhookSignature
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id + "." + stamp + "."))
	h.Write(body)
	want := h.Sum(nil)
	good := false
	for one := range strings.FieldsSeq(header.Get("Webhook-Signature")) {
		version, signature, _ := strings.Cut(one, ",")
		got, err := base64.StdEncoding.DecodeString(signature)
		good = good || version == "v1" && err == nil && hmac.Equal(got, want)
	}
	if !good {
		return "", e, ErrWebhookSignature
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return "", e, fmt.Errorf("client: webhook event: %w", err)
	}
	return id, e, nil
}
