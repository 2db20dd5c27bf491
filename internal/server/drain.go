package server

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// maxDrained is the most of a refused request's body that is read and dropped.
const maxDrained = 64 << 20

// drain reads what is left of the body of a request that err refuses. Many callers write their whole body before they look at
// the answer; if the connection were closed on them meanwhile, they would see a broken connection instead of the reason.
//
// Nothing is held. Whoever asked whether to go on (Expect: 100-continue) reads the answer first, and a body that did not come
// in time is not waited for again.
func drain(c *gin.Context, body io.Reader, err error) {
	var r *refusal
	if body == nil || c.GetHeader("Expect") != "" || errors.As(err, &r) && r.code == codeBodyIncomplete {
		return
	}
	deadline := http.NewResponseController(c.Writer)
	if err := deadline.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return
	}
	defer deadline.SetReadDeadline(time.Time{}) //nolint:errcheck // the connection had a deadline just now
	io.CopyN(io.Discard, body, maxDrained)      //nolint:errcheck // the answer is the same
}
