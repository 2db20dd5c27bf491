package server

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// pauseSendJob stops a job for a while.
//
//	@Summary		Pause a send job
//	@Description	Its messages wait until the job is resumed. When this is answered nothing new is handed over; what was being handed over keeps its course. A job that waits for a person already stays as it is.
//	@ID				pauseSendJob
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string		true	"Id of the job."
//	@Param			note	body		api.JobNote	false	"Why."
//	@Success		200		{object}	api.SendJob
//	@Failure		409		{object}	api.Problem	"It is not released, or over."
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/pause [post]
func (s *Server) pauseSendJob(c *gin.Context) error { return s.actOnJob(c, s.outbox.PauseJob) }

// resumeSendJob lets a job go on.
//
//	@Summary		Resume a send job
//	@Description	For a job that was paused, that its stop rule has stopped, or whose canary failed. Its stop rule counts anew, and after a canary that failed all messages go. A job that is not stopped stays as it is; outside its sending hours it goes on when they begin.
//	@ID				resumeSendJob
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string		true	"Id of the job."
//	@Param			note	body		api.JobNote	false	"Why."
//	@Success		200		{object}	api.SendJob
//	@Failure		409		{object}	api.Problem	"It is not released, or over."
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/resume [post]
func (s *Server) resumeSendJob(c *gin.Context) error { return s.actOnJob(c, s.outbox.ResumeJob) }

func (s *Server) actOnJob(c *gin.Context, act func(ctx context.Context, tenantID, actor, jobID, note string) error) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	var note api.JobNote
	if c.Request.ContentLength != 0 {
		f, err := s.decode(c, &note, s.limits.Body)
		if err != nil {
			return err
		}
		if err := f.err(); err != nil {
			return err
		}
	}
	if err := act(c.Request.Context(), tenantOf(c), apiKey(c).ID, id, note.Note); err != nil {
		return err
	}
	return s.getSendJob(c)
}

// retryFailedMessages queues what failed of a job again.
//
//	@Summary		Try the failed messages of a send job again
//	@Description	All that failed, for the recipients that failed. A message whose document another one brings by now is left out and named. Messages that are uncertain are never touched. While the job is paused they wait with the others.
//	@ID				retryFailedMessages
//	@Tags			send-jobs
//	@Produce		json
//	@Param			id				path		string	true	"Id of the job."
//	@Param			Idempotency-Key	header		string	false	"-"
//	@Success		200				{object}	api.RetriedJob
//	@Failure		409				{object}	api.Problem	"It is not released, or over."
//	@Router			/v1/send-jobs/{id}/retry-failed [post]
func (s *Server) retryFailedMessages(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		job, err := pathID(c, "id")
		if err != nil {
			return nil, err
		}
		if err := id.about(c, nil); err != nil {
			return nil, err
		}
		accept := func(r *outbox.Retried) (*answer, error) { return newAnswer(http.StatusOK, retriedOf(language(c), r)) }
		return recorded(id, accept, func(record func(*outbox.Retried) (*store.IdempotencyRecord, error)) (*outbox.Retried, error) {
			return s.outbox.RetryFailed(c.Request.Context(), tenantOf(c), apiKey(c).ID, job, record)
		})
	})
}

func retriedOf(lang string, r *outbox.Retried) api.RetriedJob {
	w := api.RetriedJob{Retried: r.Messages, Skipped: len(r.Skipped), SkippedMessages: []api.SkippedMessage{}}
	for _, m := range r.Skipped[:min(len(r.Skipped), maxListed)] {
		w.SkippedMessages = append(w.SkippedMessages, api.SkippedMessage{ID: m.MessageID, Number: m.Number, SentBy: m.By, Problem: trouble(lang, codeDocumentSentSince, nil)})
	}
	return w
}
