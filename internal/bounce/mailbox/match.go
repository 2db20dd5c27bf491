package mailbox

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/bounce"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Anybody can write a report and mail it to the mailbox. One is believed when it is about a message of the same tenant and a recipient
// that it was sent to, and knows one of two secrets:
//
//   - The return path that VERP gave the message: only servers that handled this mail, and its recipients, have seen it. An address of that form
//     that is none of ours condemns the whole report.
//   - The message's Message-ID, 80 random bits. Besides those, whoever got an answer or a copy of the mail has it.
//
// That is enough to show a mail as bounced. An address is suppressed, which stops the firm's mail to it, only when the one who forged
// could harm nobody but himself: by VERP, or by Message-ID when the address is the only one, besides the firm's own, that the
// message was sent to.

// errNotYet: the hand-over of the message is still under way.
var errNotYet = errors.New("mailbox: the message is being sent")

// subject is the message that a report is about.
type subject struct {
	message  *store.Message
	profile  *mail.Profile
	verified bool // by its return path
}

// subject finds the message that a report is about; nil: it is about none that it may speak of.
func (r *Reader) subject(ctx context.Context, tenantID string, report *bounce.Report) (*subject, error) {
	named := ""
	if unique, _, ok := strings.Cut(strings.Trim(report.MessageID, "<>"), "@"); ok && isUnique(unique) {
		named = "msg_" + unique
	}
	path := ""
	for _, a := range report.Addresses {
		if id, ok := mail.ReturnPathMessage(a); ok {
			if path == "" {
				path = a
			}
			if named == "" {
				named = id
			}
			if id != named || !strings.EqualFold(a, path) {
				return nil, nil // it contradicts itself
			}
		}
	}
	if named == "" {
		return nil, nil
	}
	m, err := r.cfg.Store.Message(ctx, tenantID, named)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := r.cfg.Store.ProfileWithSecrets(ctx, tenantID, m.ProfileID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	sealed := errors.Is(err, store.ErrSealed)
	if err != nil && !sealed {
		return nil, err
	}
	if sealed && path != "" { // whoever wrote to the path cannot be told from one who guessed it
		r.log.Warn("a report is left out: the secrets of its message's profile cannot be opened", "message", m.ID, "profile", m.ProfileID)
		return nil, nil
	}
	if !mail.HasBounceMailbox(p.Transport) || (path != "" && !p.IsReturnPath(path, m.ID)) {
		return nil, nil
	}
	return &subject{m, p, path != ""}, nil
}

// isUnique says whether s can be the part of an id of ours behind its prefix: a ULID in lower case.
func isUnique(s string) bool {
	return len(s) == 26 && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// events are what a report says of the recipients that the message was sent to.
func (s *subject) events(report *bounce.Report, now time.Time) ([]mail.Event, error) {
	at := report.Date
	if at.IsZero() || at.After(now) || at.Before(s.message.CreatedAt) {
		at = now
	}
	var events []mail.Event
	for _, r := range report.Recipients {
		kind, ok := kinds[r.Action]
		if !ok {
			continue
		}
		to, err := s.recipient(r)
		if err != nil {
			return nil, err
		}
		if to == "" {
			continue
		}
		e := mail.Event{
			TenantID: s.message.TenantID, MessageID: s.message.ID, ID: eventID(report.ID, to, r.Action), Kind: kind, Address: to,
			Evidence: evidence(r), At: at.UnixMicro(),
		}
		if r.Action == bounce.Failed && mail.NoSuchMailbox(r.Status) && (s.verified || s.only(to)) {
			e.Suppress = mail.SuppressedBounce
		}
		events = append(events, e)
	}
	return events, nil
}

var kinds = map[bounce.Action]mail.EventKind{
	bounce.Failed: mail.EventBounced, bounce.Delayed: mail.EventDeferred,
	bounce.Delivered: mail.EventDelivered, bounce.Relayed: mail.EventDelivered, bounce.Expanded: mail.EventDelivered,
}

// recipient is the address, in normal form, of the recipient that was sent to; empty: it is none. A report that names the address that mail
// was forwarded to and not ours is of no use.
func (s *subject) recipient(r bounce.Recipient) (string, error) {
	for _, claimed := range []string{r.Original, r.Final} {
		if claimed == "" {
			continue
		}
		normal := mail.NormalAddress(claimed)
		for _, ours := range s.message.Recipients {
			if mail.NormalAddress(ours.Envelope()) != normal {
				continue
			}
			switch ours.Status {
			case mail.RecipientSent, mail.RecipientUncertain:
				return normal, nil
			case mail.RecipientPending:
				if s.message.Status == mail.StatusSending {
					return "", errNotYet
				}
			}
		}
	}
	return "", nil
}

// only says that nobody but this address, and addresses of the sender's own, was sent the message.
func (s *subject) only(address string) bool {
	own := map[string]bool{mail.NormalAddress(s.profile.From.Address): true, address: true}
	for _, list := range [][]mail.Address{s.profile.AlwaysCC, s.profile.AlwaysBCC} {
		for _, a := range list {
			own[mail.NormalAddress(a.Address)] = true
		}
	}
	for _, r := range s.message.Recipients {
		if !own[mail.NormalAddress(r.Envelope())] {
			return false
		}
	}
	return true
}

// eventID is the same whenever and wherever the report is read: from another folder, or after the server numbered its mails anew.
func eventID(report, address string, action bounce.Action) string {
	sum := sha256.Sum256([]byte(report + "\n" + address + "\n" + string(action)))
	return "dsn:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// evidence is the status and what was said: "5.1.1 550 5.1.1 no such user (mx.client.example)".
func evidence(r bounce.Recipient) string {
	text := r.Diagnostic
	switch {
	case text == "":
		text = strings.TrimSpace(r.Status + " " + string(r.Action))
	case r.Status != "" && !strings.Contains(text, r.Status):
		text = r.Status + " " + text
	}
	if r.RemoteMTA != "" {
		text += " (" + r.RemoteMTA + ")"
	}
	return mail.ReplyText(text)
}
