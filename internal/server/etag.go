package server

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/internal/store"
)

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ifMatch says whether the If-Match header allows an edit of the current version (RFC 9110 section 13.1.1). Without the header
// every version is good. A weak tag never matches.
func ifMatch(c *gin.Context, version int64) error {
	values := c.Request.Header.Values("If-Match")
	if len(values) == 0 || listsTag(values, etag(version), false) {
		return nil
	}
	return store.ErrVersion
}

// notModified says whether the caller has the resource already (If-None-Match, RFC 9110 section 13.1.2), and answers then.
func notModified(c *gin.Context, tag string) bool {
	c.Writer.Header().Set("ETag", tag)
	if !listsTag(c.Request.Header.Values("If-None-Match"), tag, true) {
		return false
	}
	c.Writer.WriteHeader(http.StatusNotModified)
	c.Writer.WriteHeaderNow()
	return true
}

func listsTag(values []string, tag string, weak bool) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			one = strings.TrimSpace(one)
			if weak {
				one = strings.TrimPrefix(one, "W/")
			}
			if one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}

// edit reads a resource, checks If-Match, and writes it back on condition that nobody was faster. Without an If-Match it
// begins again when somebody was.
func edit(c *gin.Context, once func() error) error {
	const tries = 10
	for try := 1; ; try++ {
		err := once()
		if !errors.Is(err, store.ErrVersion) || c.GetHeader("If-Match") != "" || try == tries {
			return err
		}
	}
}
