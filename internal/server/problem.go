package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/senders"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/watch"
)

// Codes of refusals as a whole.
const (
	codeValidationFailed     = "validation_failed"
	codeInternalError        = "internal_error"
	codeStopping             = "stopping"
	codeUnauthorized         = "unauthorized"
	codeForbiddenScope       = "forbidden_scope" // scope
	codeNotFound             = "not_found"
	codeMethodNotAllowed     = "method_not_allowed"
	codeMediaTypeUnsupported = "media_type_unsupported" // expected
	codeBodyTooLarge         = "body_too_large"         // limit
	codeRateLimited          = "rate_limited"
	codeTooManyWatchers      = "too_many_watchers"
	codeVersionMismatch      = "version_mismatch"
	codeConflict             = "conflict"
	codeProfileInUse         = "profile_in_use"
	codeSecretsUnavailable   = mail.CodeSecretsUnavailable
	codeTooLateToCancel      = "too_late_to_cancel"
	codeNotFailed            = "not_failed"
	codeNotUncertain         = "not_uncertain"
	codeDuplicateDocument    = "duplicate_document"
	codeDocumentSentSince    = "document_sent_since"
	codeJobNotDraft          = "send_job_not_draft"
	codeJobNotCheckable      = "send_job_not_checkable"
	codeJobNotReleased       = "send_job_not_released"
	codeJobOver              = "send_job_over"
	codeJobFinished          = "send_job_finished"
	codeDraftEmpty           = "draft_empty"
	codeContentErased        = "content_erased"
	codeMessageNotFinished   = "message_not_finished"
)

// Codes of parameters of the query.
const (
	codeCursorInvalid = "cursor_invalid"
	codeParameter     = "parameter_invalid" // value
)

// refusal is an answer that is not a success: what the caller is told. cause is for the log alone.
type refusal struct {
	status     int
	code       string
	params     map[string]string
	problems   mail.Problems // of fields
	omitted    int
	retryAfter time.Duration
	cause      error
}

func (r *refusal) Error() string {
	if r.cause != nil {
		return fmt.Sprintf("%d %s: %v", r.status, r.code, r.cause)
	}
	return fmt.Sprintf("%d %s", r.status, r.code)
}

func (r *refusal) Unwrap() error { return r.cause }

// refuse makes a refusal; params are key, value pairs that fill the texts.
func refuse(status int, code string, params ...string) *refusal {
	r := &refusal{status: status, code: code}
	if len(params) > 0 {
		r.params = make(map[string]string, len(params)/2)
		for i := 0; i+1 < len(params); i += 2 {
			r.params[params[i]] = params[i+1]
		}
	}
	return r
}

// refuseField is the refusal of one field.
func refuseField(pointer, code string, params ...string) *refusal {
	r := &refusal{status: http.StatusUnprocessableEntity, code: codeValidationFailed}
	r.problems.Add(pointer, code, params...)
	return r
}

// refusalOf turns any error into what the caller is told. An error that nobody expected is our own fault: 500.
func refusalOf(err error) *refusal {
	var (
		own      *refusal
		problems mail.Problems
		state    *outbox.StateError
		job      *outbox.JobStateError
		refused  *consent.Refusal
		unproved *senders.Refusal
		large    *http.MaxBytesError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &problems):
		f := findings{}
		f.merge(problems)
		return &refusal{status: http.StatusUnprocessableEntity, code: codeValidationFailed, problems: f.list, omitted: f.omitted}
	case errors.As(err, &state):
		return refuse(http.StatusConflict, stateCode(state))
	case errors.As(err, &job):
		return refuse(http.StatusConflict, jobStateCode(job))
	case errors.Is(err, outbox.ErrEmpty):
		return refuse(http.StatusConflict, codeDraftEmpty)
	case errors.As(err, &refused):
		return &refusal{status: http.StatusConflict, code: refused.Code, params: refused.Params}
	case errors.As(err, &unproved):
		r := &refusal{status: unproved.Status, code: unproved.Code, params: unproved.Params, cause: unproved.Cause}
		if r.status == http.StatusServiceUnavailable {
			r.retryAfter = 10 * time.Second
		}
		return r
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "limit", bytesText(large.Limit))
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, codeNotFound)
	case errors.Is(err, store.ErrVersion):
		return refuse(http.StatusPreconditionFailed, codeVersionMismatch)
	case errors.Is(err, store.ErrConflict):
		return refuse(http.StatusConflict, codeConflict)
	case errors.Is(err, store.ErrInUse):
		return refuse(http.StatusConflict, codeProfileInUse)
	case errors.Is(err, store.ErrUnauthenticated):
		return refuse(http.StatusUnauthorized, codeUnauthorized)
	case errors.Is(err, store.ErrCursor):
		return refuseField("?cursor", codeCursorInvalid)
	case errors.Is(err, outbox.ErrDocumentTaken):
		return refuse(http.StatusConflict, codeDocumentSentSince)
	case errors.Is(err, outbox.ErrErased):
		return refuse(http.StatusConflict, codeContentErased)
	case errors.Is(err, mail.ErrErased):
		return refuse(http.StatusGone, codeContentErased)
	case errors.Is(err, watch.ErrTooMany):
		r := refuse(http.StatusTooManyRequests, codeTooManyWatchers)
		r.retryAfter = 10 * time.Second
		return r
	case errors.Is(err, outbox.ErrStopping), errors.Is(err, watch.ErrStopped):
		r := refuse(http.StatusServiceUnavailable, codeStopping)
		r.retryAfter = 5 * time.Second
		return r
	case errors.Is(err, store.ErrSealed):
		r := refuse(http.StatusInternalServerError, codeSecretsUnavailable)
		r.cause = err
		return r
	}
	r := refuse(http.StatusInternalServerError, codeInternalError)
	r.cause = err
	return r
}

func stateCode(e *outbox.StateError) string {
	switch e.Action {
	case "retry":
		return codeNotFailed
	case "resolve":
		return codeNotUncertain
	case "erase":
		return codeMessageNotFinished
	}
	return codeTooLateToCancel
}

func jobStateCode(e *outbox.JobStateError) string {
	switch {
	case e.Action == "change":
		return codeJobNotDraft
	case e.State == mail.JobCanceled || e.State == mail.JobExpired:
		return codeJobOver
	case e.State == mail.JobDraft || e.Gate == mail.GateAwaitingRelease:
		return codeJobNotReleased
	}
	return codeJobFinished
}

// bytesText writes a limit as a person reads it.
func bytesText(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatInt(n>>10, 10) + " KiB"
}

// fail answers with the problem that err is, in the reader's language.
func (s *Server) fail(c *gin.Context, err error) {
	if errors.Is(err, context.Canceled) && c.Request.Context().Err() != nil {
		c.AbortWithStatus(statusClientGone)
		return
	}
	r := refusalOf(err)
	if r.status >= http.StatusInternalServerError {
		s.log.Error("request failed", slog.String("request_id", requestID(c)), slog.String("route", c.FullPath()), slog.Any("error", err))
	}
	lang := language(c)
	title, detail := texts.Lookup(lang, r.code, r.params)
	p := api.Problem{
		Type: "about:blank", Title: title, Status: r.status, Detail: detail, Code: r.code, RequestID: requestID(c),
		Errors: fieldErrors(lang, r.problems), ErrorsOmitted: r.omitted,
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = nil // cannot happen: the type has only texts and numbers
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Language", lang)
	switch {
	case r.retryAfter > 0:
		h.Set("Retry-After", strconv.Itoa(int(r.retryAfter.Seconds())))
	case r.status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="facteur"`)
	}
	c.Abort()
	c.Writer.WriteHeader(r.status)
	if _, err := c.Writer.Write(body); err != nil {
		s.log.Debug("answer not written", slog.String("request_id", requestID(c)), slog.Any("error", err))
	}
}

// statusClientGone is what the log says of a caller that went away; nobody receives it.
const statusClientGone = 499

func fieldErrors(lang string, problems mail.Problems) []api.FieldError {
	if len(problems) == 0 {
		return nil
	}
	list := make([]api.FieldError, len(problems))
	for i, p := range problems {
		title, detail := texts.Lookup(lang, p.Code, p.Params)
		list[i] = api.FieldError{Pointer: p.Pointer, Code: p.Code, Title: title, Detail: detail}
	}
	return list
}

// language is the reader's.
func language(c *gin.Context) string { return texts.Language(c.GetHeader("Accept-Language")) }

// trouble says in the reader's language what a code of a verdict means.
func trouble(lang, code string, reply *mail.Reply) *api.Trouble {
	t := &api.Trouble{Code: code, Reply: replyOf(reply)}
	t.Title, t.Detail = texts.Lookup(lang, code, nil)
	return t
}

func replyOf(r *mail.Reply) *api.Reply {
	if r == nil || r.IsZero() {
		return nil
	}
	return &api.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
}
