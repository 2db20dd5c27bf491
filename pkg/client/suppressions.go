package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/winprest/facteur/api"
)

// Suppress has no mail of the firm sent to an address any more; the error's status is 409 when none is sent to it already.
func (c *Client) Suppress(ctx context.Context, r api.SuppressionRequest, opts ...CallOption) (api.Suppression, error) {
	return do[api.Suppression](ctx, c, call{method: http.MethodPost, path: "/v1/suppressions", body: r, opts: opts})
}

// Suppressions walks through the suppressed addresses, newest first; address and reason narrow them unless they are empty.
func (c *Client) Suppressions(ctx context.Context, address, reason string) iter.Seq2[api.Suppression, error] {
	return list[api.Suppression](ctx, c, "/v1/suppressions", url.Values{"address": {address}, "reason": {reason}})
}

// LiftSuppression has mail sent to the address again.
func (c *Client) LiftSuppression(ctx context.Context, id string) error {
	_, err := do[struct{}](ctx, c, call{method: http.MethodDelete, path: "/v1/suppressions/" + url.PathEscape(id)})
	return err
}
