package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/watch"
)

const (
	maxJobWait = 60 * time.Second
	// heartbeat is how long a stream is silent at most, so that neither end nor a proxy takes it for dead.
	heartbeat = 15 * time.Second
	// readerPatience is how long a reader may leave what it is sent in the network's buffers. They are large: it is gone, or stuck.
	readerPatience = 20 * time.Second
)

// shownJob is a job as its watchers are shown it, made once for all who read a language.
type shownJob struct {
	job     *store.Job
	version string
	over    bool

	mu sync.Mutex
	in map[string]*shownBytes // by language
}

type shownBytes struct {
	body  []byte // api.SendJob
	event []byte // "progress" with it
}

// bytes are for a reader of a language.
func (j *shownJob) bytes(lang string) (*shownBytes, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if b := j.in[lang]; b != nil {
		return b, nil
	}
	body, err := json.Marshal(jobOf(lang, j.job))
	if err != nil {
		return nil, err
	}
	b := &shownBytes{body, eventOf("progress", j.version, body)}
	j.in[lang] = b
	return b, nil
}

// readJob is what a watcher sees of a job: what jobOf shows.
func (s *Server) readJob(ctx context.Context, k watch.Key) (watch.State[*shownJob], error) {
	var st watch.State[*shownJob]
	j, err := s.store.Job(ctx, k.Tenant, k.ID)
	if err != nil {
		return st, err
	}
	w := jobOf(texts.Default, j)
	st.Value, st.Version = &shownJob{job: j, version: w.Version, over: w.Over, in: map[string]*shownBytes{}}, w.Version
	return st, nil
}

// versionOf is made from what is shown, so that it is the same in every process and nobody has to keep it. The rate and the end are
// not part of it: they change as time passes. Nor are texts, which change with the reader.
func versionOf(w api.SendJob) string {
	w.Version, w.Rate, w.EstimatedEnd = "", 0, nil
	if w.Gate != nil {
		g := *w.Gate
		g.Title, g.Detail = "", ""
		w.Gate = &g
	}
	b, err := json.Marshal(w)
	if err != nil {
		return "" // cannot happen: the type has only texts, numbers and times
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// getSendJob gives one send job.
//
//	@Summary		Get a send job
//	@Description	With live counts of its messages by status. With `wait` and the `version` of the answer before as `since` it is answered when there is something new, or after that time with the same version: ask again at once, and you follow the job without asking in vain (long polling). Each call takes a place among the tenant's watchers (429 when there is none left).
//	@ID				getSendJob
//	@Tags			send-jobs
//	@Produce		json
//	@Param			id		path		string	true	"Id of the job."
//	@Param			wait	query		string	false	"How long to wait for something new: seconds, or a duration such as 30s; at most 60s."
//	@Param			since	query		string	false	"The version that you have. Without it, or with another one, the answer comes at once."
//	@Success		200		{object}	api.SendJob
//	@Failure		503		{object}	api.Problem
//	@Router			/v1/send-jobs/{id} [get]
func (s *Server) getSendJob(c *gin.Context) error {
	q := newQuery(c)
	wait, since := q.wait("wait", maxJobWait), q.text("since")
	if err := q.err(); err != nil {
		return err
	}
	if wait == 0 {
		j, err := s.jobInPath(c)
		if err != nil {
			return err
		}
		return reply(c, http.StatusOK, jobOf(language(c), j))
	}
	w, err := s.watchJob(c)
	if err != nil {
		return err
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(c.Request.Context(), wait)
	defer cancel()
	st, err := w.First(ctx, since)
	if errors.Is(err, context.DeadlineExceeded) && c.Request.Context().Err() == nil {
		st, err = w.First(c.Request.Context(), "") // whatever there is
	}
	if err != nil {
		return err
	}
	if st.Version == since {
		if next, err := w.Next(ctx, since); err == nil {
			st = next
		} else if c.Request.Context().Err() != nil {
			return err
		} // else it is the same still, or the process ends: the caller asks again, another one
	}
	b, err := st.Value.bytes(language(c))
	if err != nil {
		return err
	}
	return write(c, "application/json", b.body)
}

func (s *Server) watchJob(c *gin.Context) (*watch.Watcher[*shownJob], error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.jobs.Watch(watch.Key{Tenant: tenantOf(c), ID: id})
}

// endMark is behind the version in the id of the last event: a reader that has it has everything.
const endMark = "-finished"

// watchSendJob streams how a job goes on.
//
//	@Summary		Follow a send job
//	@Description	Server-sent events. `progress` comes at once and whenever something has changed, at most twice a second: its data is the job as `GET` gives it, its id the job's version. A slow reader skips what came in between. When the job is over, `finished` with the same data ends the stream. A comment every 15 seconds says that the line stands. After a break reconnect with the id of the last event as Last-Event-ID, to any process of the service: what you have is not sent again. Who has `finished` and reconnects is answered with 204 unless the job went on, and an EventSource then stops.
//	@ID				watchSendJob
//	@Tags			send-jobs
//	@Produce		text/event-stream
//	@Param			id				path		string	true	"Id of the job."
//	@Param			Last-Event-ID	header		string	false	"Id of the last event that you have."
//	@Success		200				{string}	string	"The stream."
//	@Success		204				"The job is over and you have all of it."
//	@Failure		503				{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/events [get]
func (s *Server) watchSendJob(c *gin.Context) error {
	w, err := s.watchJob(c)
	if err != nil {
		return err
	}
	defer w.Close()
	ctx := c.Request.Context()
	known, hasEnd := strings.CutSuffix(c.GetHeader("Last-Event-ID"), endMark)
	st, err := w.First(ctx, known)
	if err != nil {
		return err
	}
	if hasEnd && st.Value.over && st.Version == known {
		c.Writer.WriteHeader(http.StatusNoContent)
		return nil
	}
	lang, allowed := language(c), time.Now()
	stream := openEvents(c, s.patience)
	defer stream.close()
	if c.Request.Method == http.MethodHead {
		return nil
	}
	for stream.err == nil {
		b, err := st.Value.bytes(lang)
		if err != nil {
			return nil // cannot happen: it is made of texts, numbers and times
		}
		if st.Version != known {
			known = st.Version
			stream.write(b.event)
		}
		if st.Value.over {
			stream.write(eventOf("finished", known+endMark, b.body))
		}
		if stream.flush(); st.Value.over {
			return nil
		}
		st, err = s.nextState(ctx, w, st, known)
		silent := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		if err != nil && !silent {
			return nil // the reader is gone, or the process ends: it goes on elsewhere
		}
		if time.Since(allowed) >= s.heartbeat { // a job in full swing is never silent
			if !s.stillAllowed(c) {
				return nil
			}
			allowed = time.Now()
		}
		if silent {
			stream.write([]byte(":\n\n"))
		}
	}
	return nil
}

func (s *Server) nextState(ctx context.Context, w *watch.Watcher[*shownJob], st watch.State[*shownJob], known string) (watch.State[*shownJob], error) {
	ctx, cancel := context.WithTimeout(ctx, s.heartbeat)
	defer cancel()
	next, err := w.Next(ctx, known)
	if err != nil {
		return st, err
	}
	return next, nil
}

// stillAllowed says whether the key that opened a stream is still good. A database that does not answer is no reason to end it.
func (s *Server) stillAllowed(c *gin.Context) bool {
	plaintext, err := bearer(c.Request.Header)
	if err == nil {
		_, err = s.store.Authenticate(c.Request.Context(), plaintext)
	}
	return !errors.Is(err, store.ErrUnauthenticated)
}

// eventStream writes server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). After an error it writes
// nothing more.
type eventStream struct {
	w        io.Writer
	control  *http.ResponseController
	patience time.Duration
	err      error
}

func openEvents(c *gin.Context, patience time.Duration) *eventStream {
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform") // a proxy that compresses would gather events first
	h.Set("X-Accel-Buffering", "no")                 // nginx
	c.Writer.WriteHeader(http.StatusOK)
	c.Writer.WriteHeaderNow()
	var w http.ResponseWriter = c.Writer
	if inner, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		w = inner.Unwrap() // gin's own Flush keeps errors to itself
	}
	e := &eventStream{w: c.Writer, control: http.NewResponseController(w), patience: patience}
	e.write([]byte("retry: 2000\n\n"))
	e.flush()
	return e
}

// eventOf is one event. Its data is JSON, which has no line breaks.
func eventOf(name, id string, data []byte) []byte {
	return []byte("event: " + name + "\nid: " + id + "\ndata: " + string(data) + "\n\n")
}

func (e *eventStream) write(b []byte) {
	if e.err != nil {
		return
	}
	// Tests have writers that know no deadlines.
	if err := e.control.SetWriteDeadline(time.Now().Add(e.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		e.err = err
		return
	}
	_, e.err = e.w.Write(b)
}

// flush sends what was written.
func (e *eventStream) flush() {
	if e.err == nil {
		e.err = e.control.Flush()
	}
}

// close takes the deadline off the connection, which may serve other requests.
func (e *eventStream) close() {
	if e.err == nil {
		e.control.SetWriteDeadline(time.Time{}) //nolint:errcheck // it was set just now, or is not known at all
	}
}
