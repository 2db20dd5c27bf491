package outbox

import (
	"github.com/winprest/facteur/internal/mail"
)

// events tells what became of the job, in the transaction in which it does.
func (c *jobChange) events() error {
	j, before := c.job, &c.before
	switch {
	case j.State == mail.JobExpired && before.State != mail.JobExpired:
		c.o.log.Info("a send job expired, because nobody released it", "job", j.ID)
		if before.State == mail.JobDraft {
			return c.o.store.RemoveDrafts(c.ctx, c.tx, j)
		}
	case j.Warned && !before.Warned:
		c.o.log.Info("a send job will expire unless somebody releases it", "job", j.ID, "at", j.ExpiresAt)
	case j.Gate.Code != before.Gate.Code && j.Gate.Code.WaitsForPerson():
		c.o.log.Info("a send job waits for a person", "job", j.ID, "gate", j.Gate.Code)
	case !j.FinishedAt.IsZero() && before.FinishedAt.IsZero():
		c.o.log.Info("a send job is finished", "job", j.ID)
	}
	return nil
}
