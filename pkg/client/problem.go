package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
)

// Error is a refusal: the service's problem (RFC 9457). Its Title, Detail and Errors are in the Client's language and may be
// shown to a person; Code is stable and may be compared.
type Error struct {
	api.Problem
	// RetryAfter is how long the service asked to wait; 0 when it did not.
	RetryAfter time.Duration
}

// Error gives the title, the detail and what is wrong with each field.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: %s", e.Status, e.Code, e.Title)
	if e.Detail != "" {
		b.WriteString(". " + e.Detail)
	}
	for _, f := range e.Errors {
		fmt.Fprintf(&b, "\n%s: %s", f.Pointer, f.Title)
	}
	return b.String()
}

// readProblem reads the body of a refusal. An answer that is no problem, such as a proxy's page, becomes one by its status.
func readProblem(resp *http.Response) *Error {
	const limit = 1 << 20
	defer resp.Body.Close()
	e := &Error{}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil || json.Unmarshal(body, &e.Problem) != nil || e.Code == "" {
		e.Problem = api.Problem{Code: "http_" + strconv.Itoa(resp.StatusCode), Title: http.StatusText(resp.StatusCode)}
	}
	e.Status = resp.StatusCode
	return e
}
