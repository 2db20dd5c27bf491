package outbox

import (
	"errors"
	"strconv"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// composition makes the messages of a job, all at once or page by page.
type composition struct {
	profile   *mail.Profile
	purpose   string
	job       *store.Job // nil: nothing keeps its messages
	sendAt    time.Time
	maxWait   time.Duration
	now       time.Time
	documents documents
}

// compose makes a message of each item, with its id, and adds it to sub, as long as nothing is wrong. receipt is filled beside it.
// The error is mail.Problems, with pointers that begin with the item's index, or a fault of ours.
func (c *composition) compose(ids []string, items []Item, receipt []ReceiptMessage, sub *store.Submission) error {
	composers := map[*mail.Template]*mail.Composer{}
	var problems mail.Problems
	for i := range items {
		item := &items[i]
		composer := composers[item.Template]
		if composer == nil {
			composer = mail.NewComposer(c.profile, item.Template)
			composers[item.Template] = composer
		}
		item.Draft.MessageID = ids[i]
		item.Draft.Automatic = item.Draft.Automatic || c.purpose == PurposeBatch
		content, recipients, ps := composer.Compose(item.Draft, c.now)
		if len(ps) > 0 {
			problems.Under("/"+strconv.Itoa(i), ps)
			continue
		}
		keys := mail.DocumentKeys(item.Detail.CompanyRef, item.Detail.Document, recipients)
		if c.documents.add(keys) && item.AllowDuplicate == "" {
			problems.Add("/"+strconv.Itoa(i)+"/document/number", mail.CodeDocumentTwice, "number", mail.Shown(item.Detail.Document.Number))
			continue
		}
		r := &receipt[i]
		r.ID, r.Language = ids[i], content.Language
		if item.Template != nil {
			r.TemplateVersion = item.Template.Version
		}
		if len(problems) > 0 {
			continue
		}
		m := store.NewMessage{ID: r.ID, Priority: c.priority(), NotBefore: c.sendAt, Recipients: recipients, Content: content, Detail: item.Detail}
		m.Paused = c.job != nil && c.job.Keeps(r.ID)
		m.Detail.AllowedDuplicateReason = item.AllowDuplicate
		m.Document = store.Document{Keys: keys, AllowDuplicate: item.AllowDuplicate, KeysOf: func(rs []mail.Recipient) []mail.DocumentKey {
			return mail.DocumentKeys(item.Detail.CompanyRef, item.Detail.Document, rs)
		}}
		if !item.SendAt.IsZero() {
			m.NotBefore = item.SendAt
		}
		start := c.now
		if m.NotBefore.After(c.now) {
			start = m.NotBefore
		} else {
			m.NotBefore = time.Time{}
		}
		m.ExpiresAt = start.Add(c.maxWait)
		if err := sub.Add(m); errors.Is(err, store.ErrTexts) {
			problems.Add("/"+strconv.Itoa(i), mail.CodeTextsTooLarge, "max", strconv.Itoa(store.MaxTexts>>20)+" MiB")
		} else if err != nil {
			return err
		}
	}
	return problems.Err()
}

func (c *composition) priority() mail.Priority {
	if c.purpose == PurposeOneOff {
		return mail.PriorityOneOff
	}
	return mail.PriorityBatch
}

// documents are those that the messages of one submission bring so far.
type documents map[mail.DocumentKey]bool

// add says whether one of the keys was there.
func (d documents) add(keys []mail.DocumentKey) (twice bool) {
	for _, k := range keys {
		twice = twice || d[k]
		d[k] = true
	}
	return twice
}
