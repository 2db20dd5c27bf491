package sendgrid

import (
	"context"
	"net/http"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// A careful profile's mail is scheduled a while ahead, in a batch of its own. A batch can be canceled until ten minutes before the
// time at which its mails are to be sent (https://www.twilio.com/docs/sendgrid/api-reference/cancel-scheduled-sends): SendGrid then
// throws away what is in it, also what only arrives in it later. So when a hand-over ends without a word on its outcome, the batch
// is canceled, and if SendGrid confirms that in time, the mail was not sent and can be sent again, in another batch. What cannot be
// confirmed stays uncertain. SendGrid has at most ten canceled batches at once: a provider that fails for long leaves mails
// uncertain as without all this.
const (
	stopBefore = 10 * time.Minute
	// margin is for the confirmation's own way and for SendGrid's clocks.
	margin = time.Minute
)

// recall is what it takes to take a mail back.
type recall struct {
	c       *Client
	batchID string
	sendAt  int64     // Unix seconds, of SendGrid's clock
	until   time.Time // of our clock: a confirmation that comes later is worth nothing; zero: none is
}

// newRecall asks for a batch. SendGrid's clock is read off its answer: it was right after the question was asked, so that until
// cannot be too late however wrong our own clock is.
func (c *Client) newRecall(ctx context.Context) (*recall, error) {
	asked := time.Now()
	var made struct {
		BatchID string `json:"batch_id"`
	}
	x, err := c.call(ctx, http.MethodPost, "v3/mail/batch", nil, nil, &made)
	if err != nil {
		return nil, err
	}
	r := &recall{c: c, batchID: made.BatchID}
	now := asked
	if at, err := http.ParseTime(x.Header.Get("Date")); err == nil && made.BatchID != "" {
		now, r.until = at, asked.Add(c.t.ahead-stopBefore-margin)
	}
	r.sendAt = now.Add(c.t.ahead).Unix()
	return r, nil
}

// takeBack tries to turn an uncertain verdict into one that is certain.
func (r *recall) takeBack(ctx context.Context, uncertain mail.Verdict) mail.Verdict {
	ctx, cancel := context.WithDeadline(ctx, r.until)
	defer cancel()
	if !r.canceled(ctx) || !time.Now().Before(r.until) {
		return uncertain
	}
	return mail.Verdict{
		Outcome: temporary, Scope: mail.ScopeMessage, Code: CodeTakenBack, Step: stepFinal, Reply: uncertain.Reply,
		Evidence: uncertain.Evidence + "; sendgrid canceled batch=" + r.batchID,
	}
}

// canceled cancels the batch and says whether SendGrid has confirmed it. A cancellation whose answer is lost may have worked: it
// is looked up, and asked for once more.
func (r *recall) canceled(ctx context.Context) bool {
	type status struct {
		BatchID string `json:"batch_id"`
		Status  string `json:"status"`
	}
	wanted := status{r.batchID, "cancel"}
	for range 2 {
		var got status
		if _, err := r.c.call(ctx, http.MethodPost, "v3/user/scheduled_sends", nil, wanted, &got); err == nil && got == wanted {
			return true
		}
		var list []status
		_, err := r.c.call(ctx, http.MethodGet, "v3/user/scheduled_sends/"+r.batchID, nil, nil, &list)
		if err == nil && len(list) == 1 && list[0] == wanted {
			return true
		}
	}
	return false
}
