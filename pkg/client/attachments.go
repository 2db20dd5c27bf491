package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/winprest/facteur/api"
)

// File describes an upload.
type File struct {
	Name      string // as the recipient sees it
	MediaType string // empty: application/octet-stream
	Kind      string // invoice_pdf, ubl, e_fff, facturx_pdf, terms or other; empty: other
}

// Upload streams a file to the service; nothing holds it whole. When r is also an io.Seeker the upload is repeated after a
// broken line, else it is not.
func (c *Client) Upload(ctx context.Context, r io.Reader, f File, opts ...CallOption) (api.Attachment, error) {
	up := upload{r: r, mediaType: f.MediaType}
	if up.mediaType == "" {
		up.mediaType = "application/octet-stream"
	}
	if s, ok := r.(io.Seeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			up.seek, up.start = s, at
		}
	}
	query := url.Values{"filename": {f.Name}}
	if f.Kind != "" {
		query.Set("kind", f.Kind)
	}
	return do[api.Attachment](ctx, c, call{method: http.MethodPost, path: "/v1/attachments", query: query, body: up, opts: opts})
}

// Attachment gives what is known of an uploaded file.
func (c *Client) Attachment(ctx context.Context, id string) (api.Attachment, error) {
	return do[api.Attachment](ctx, c, call{method: http.MethodGet, path: "/v1/attachments/" + url.PathEscape(id)})
}

// Download gives an uploaded file's contents. The caller closes it.
func (c *Client) Download(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.open(ctx, "/v1/attachments/"+url.PathEscape(id)+"/content")
}

func (c *Client) open(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
