package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/winprest/facteur/api"
)

// pageSize is the largest page that the service gives.
const pageSize = 200

// list walks through a list, newest first, page by page as far as the loop goes. An error ends it.
func list[T any](ctx context.Context, c *Client, path string, filter url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query := url.Values{"limit": {strconv.Itoa(pageSize)}}
		for name, values := range filter {
			if len(values) > 0 && values[0] != "" {
				query[name] = values
			}
		}
		for {
			page, err := do[api.List[T]](ctx, c, call{method: http.MethodGet, path: path, query: query})
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			query.Set("cursor", page.NextCursor)
		}
	}
}
