package outbox

import (
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// events tells what became of the job, in the transaction in which it does.
func (c *jobChange) events() error {
	j, before := c.job, &c.before
	switch {
	case j.State == mail.JobExpired && before.State != mail.JobExpired:
		c.o.log.Info("a send job expired, because nobody released it", "job", j.ID)
		if err := c.tell(store.EventJobExpired); err != nil || before.State != mail.JobDraft {
			return err
		}
		return c.o.store.RemoveDrafts(c.ctx, c.tx, j)
	case j.Warned && !before.Warned:
		c.o.log.Info("a send job will expire unless somebody releases it", "job", j.ID, "at", j.ExpiresAt)
		return c.tell(store.EventJobExpiring)
	case j.Gate.Code != before.Gate.Code && j.Gate.Code.WaitsForPerson():
		c.o.log.Info("a send job waits for a person", "job", j.ID, "gate", j.Gate.Code)
		return c.tell(store.EventJobPaused)
	case !j.FinishedAt.IsZero() && before.FinishedAt.IsZero():
		c.o.log.Info("a send job is finished", "job", j.ID)
		return c.tell(store.EventJobCompleted)
	}
	return nil
}

// tell appends the event to those that the tenant asked for.
func (c *jobChange) tell(t store.EventType) error {
	j := c.job
	if err := c.o.store.CountJob(c.ctx, c.tx, j); err != nil { // its messages have moved since it was locked
		return err
	}
	counts := make(map[string]int, len(j.Counts))
	for status, n := range j.Counts {
		counts[string(status)] = n
	}
	data := store.EventData{Status: string(j.State), Code: string(j.Gate.Code), ProfileID: j.ProfileID, Name: j.Detail.Name, Counts: counts}
	if t == store.EventJobExpiring {
		data.ExpiresAt = j.ExpiresAt
	}
	return c.o.store.AppendEvents(c.ctx, c.tx, []store.Event{{TenantID: j.TenantID, Type: t, Subject: j.ID, At: c.now, Data: data}})
}
