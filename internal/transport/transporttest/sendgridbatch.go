package transporttest

import (
	"crypto/rand"
	"net/http"
	"time"
)

// sendGridBatch is a batch of mails that can be stopped together.
type sendGridBatch struct {
	id, subuser string
	status      string // "", "cancel" or "pause"
	mails       []*SendGridMail
}

const (
	// stopBefore is how long before its send_at a mail can be stopped, and maxStopped how many batches can be at once
	// (https://www.twilio.com/docs/sendgrid/api-reference/cancel-scheduled-sends).
	stopBefore = 10 * time.Minute
	maxStopped = 10
)

// newBatch is POST /v3/mail/batch.
func (s *SendGrid) newBatch(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "batch", "mail.batch.create")
	if step == nil {
		return
	}
	b := &sendGridBatch{id: rand.Text(), subuser: step.Subuser}
	s.mu.Lock()
	s.batches[b.id] = b
	s.mu.Unlock()
	answer(w, http.StatusCreated, map[string]string{"batch_id": b.id})
}

// getBatch is GET /v3/mail/batch/{id}.
func (s *SendGrid) getBatch(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "batch", "mail.batch.read")
	if step == nil {
		return
	}
	if b := s.batch(step, r.PathValue("id")); b == nil {
		sendGridError(w, http.StatusBadRequest, "batch_id", "invalid batch id")
	} else {
		answer(w, http.StatusOK, map[string]string{"batch_id": b.id})
	}
}

func (s *SendGrid) batch(step *SendGridStep, id string) *sendGridBatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.batches[id]; b != nil && b.subuser == step.Subuser {
		return b
	}
	return nil
}

// stopBatch is POST /v3/user/scheduled_sends.
func (s *SendGrid) stopBatch(w http.ResponseWriter, r *http.Request) {
	s.stop(w, r, "user.scheduled_sends.create", func(b *sendGridBatch) bool { return b.status == "" })
}

// changeStop is PATCH /v3/user/scheduled_sends/{id}.
func (s *SendGrid) changeStop(w http.ResponseWriter, r *http.Request) {
	s.stop(w, r, "user.scheduled_sends.update", func(b *sendGridBatch) bool { return b.status != "" })
}

func (s *SendGrid) stop(w http.ResponseWriter, r *http.Request, scope string, allowed func(*sendGridBatch) bool) {
	var q struct {
		BatchID string `json:"batch_id"`
		Status  string `json:"status"`
	}
	if !readJSON(w, r, &q) {
		return
	}
	if id := r.PathValue("id"); id != "" {
		q.BatchID = id
	}
	step := s.begin(w, r, "scheduled", scope)
	if step == nil {
		return
	}
	refusal := s.changeBatch(step, q.BatchID, q.Status, allowed)
	switch {
	case s.apply(w, r, step.late):
	case refusal != nil:
		sendGridError(w, http.StatusBadRequest, refusal.field, refusal.message)
	case r.Method == http.MethodPatch:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusCreated, map[string]string{"batch_id": q.BatchID, "status": q.Status})
	}
}

func (s *SendGrid) changeBatch(step *SendGridStep, id, status string, allowed func(*sendGridBatch) bool) *sendGridRefusal {
	b := s.batch(step, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	stopped := 0
	for _, other := range s.batches {
		if other.status != "" && other.subuser == step.Subuser {
			stopped++
		}
	}
	switch {
	case b == nil:
		return &sendGridRefusal{"batch_id", "invalid batch id"}
	case status != "cancel" && status != "pause":
		return &sendGridRefusal{"status", "status must be either cancel or pause"}
	case !allowed(b):
		return &sendGridRefusal{"batch_id", "a status update is already being processed"}
	case b.status == "" && stopped >= maxStopped:
		return &sendGridRefusal{"", "maximum number of pending batches reached"}
	}
	b.status = status
	for _, m := range b.mails {
		if status == "cancel" && !m.Canceled && s.stoppable(m) {
			m.Canceled = true
			s.count(m, -1)
		}
	}
	return nil
}

// stoppable says that it is not too late for a mail to be canceled.
func (s *SendGrid) stoppable(m *SendGridMail) bool {
	return m.SendAt != 0 && time.Unix(m.SendAt, 0).Add(-stopBefore).After(s.cfg.Now())
}

// stoppedBatches is GET /v3/user/scheduled_sends and the same of one batch.
func (s *SendGrid) stoppedBatches(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "scheduled", "user.scheduled_sends.read")
	if step == nil {
		return
	}
	list := []map[string]string{}
	s.mu.Lock()
	for _, b := range s.batches {
		if b.status != "" && b.subuser == step.Subuser && (r.PathValue("id") == "" || r.PathValue("id") == b.id) {
			list = append(list, map[string]string{"batch_id": b.id, "status": b.status})
		}
	}
	s.mu.Unlock()
	answer(w, http.StatusOK, list)
}

// endStop is DELETE /v3/user/scheduled_sends/{id}.
func (s *SendGrid) endStop(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "scheduled", "user.scheduled_sends.delete")
	if step == nil {
		return
	}
	b := s.batch(step, r.PathValue("id"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if b == nil || b.status == "" {
		sendGridError(w, http.StatusNotFound, "batch_id", "batch id not found")
		return
	}
	b.status = ""
	for _, m := range b.mails {
		if m.Canceled {
			m.Canceled = false
			s.count(m, 1)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
