package mailbox

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/winprest/facteur/internal/bounce"
)

// taken is the keyword of a mail that was taken in as a report, where the folder lets us have one.
const taken imap.Flag = "$Facteur"

// since is how far back a folder is read that was never read before, or whose mails were numbered anew.
const since = 30 * 24 * time.Hour

// after gives the UIDs of at most n mails after one, in order.
func (s *session) after(last uint32, n int) ([]imap.UID, error) {
	if last == ^uint32(0) {
		return nil, nil
	}
	criteria := &imap.SearchCriteria{UID: []imap.UIDSet{{{Start: imap.UID(last + 1), Stop: 0}}}} // 0: to the end
	if last == 0 {
		criteria.Since = time.Now().Add(-since)
	}
	found, err := s.client.UIDSearch(criteria, nil).Wait()
	if err != nil {
		return nil, err
	}
	set, _ := found.All.(imap.UIDSet)
	slices.SortFunc(set, func(a, b imap.UIDRange) int { return cmp.Compare(a.Start, b.Start) })
	var uids []imap.UID
	next := imap.UID(last + 1) // "n:*" has the last mail even when it is before n
	for _, r := range set {
		for uid := max(r.Start, next); uid <= r.Stop && len(uids) < n; uid++ {
			uids = append(uids, uid)
			if next = uid + 1; next == 0 {
				return uids, nil
			}
		}
	}
	return uids, nil
}

// likely gives those of the mails that can be reports, in order. Nothing changes in the folder.
func (s *session) likely(uids []imap.UID) ([]imap.UID, error) {
	headers, err := s.fetch(uids, &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: bounce.LikelyFields, Peek: true}, 16<<10)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(uids), func(uid imap.UID) bool { return !bounce.Likely(headers[uid]) }), nil
}

// beginning gives the beginning of a mail; nil: it is gone.
func (s *session) beginning(uid imap.UID) ([]byte, error) {
	part := &imap.FetchItemBodySection{Peek: true, Partial: &imap.SectionPartial{Size: bounce.MaxBytes}}
	mails, err := s.fetch([]imap.UID{uid}, part, bounce.MaxBytes)
	return mails[uid], err
}

// fetch gives a part of each mail, at most limit bytes of it. What it gives is whole: a line that breaks in the middle is an error.
func (s *session) fetch(uids []imap.UID, part *imap.FetchItemBodySection, limit int64) (map[imap.UID][]byte, error) {
	cmd := s.client.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{part}})
	found := make(map[imap.UID][]byte, len(uids))
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		var uid imap.UID
		var body []byte
		for item := msg.Next(); item != nil; item = msg.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = item.UID
			case imapclient.FetchItemDataBodySection:
				if item.Literal != nil {
					var err error
					if body, err = readLiteral(item.Literal, limit); err != nil {
						// The line is gone. The library would have two goroutines read from it when it is asked for more of this command.
						s.client.Close() //nolint:errcheck // it is over
						return nil, err
					}
				}
			}
		}
		if slices.Contains(uids, uid) {
			found[uid] = body
		}
	}
	if err := cmd.Close(); err != nil {
		return nil, err
	}
	return found, nil
}

// readLiteral reads all of a literal and gives at most limit bytes of it. The library ends one that is cut short like a whole one.
func readLiteral(l imap.LiteralReader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(l, min(limit, l.Size())))
	if err == nil && int64(len(body)) < min(limit, l.Size()) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	rest, err := io.Copy(io.Discard, l)
	if err == nil && int64(len(body))+rest < l.Size() {
		err = io.ErrUnexpectedEOF
	}
	return body, err
}

// mark marks a report that was taken in as read, and moves it where the settings say so. It is never deleted: a server that cannot move
// keeps it where it is.
func (s *session) mark(uid imap.UID) error {
	flags := []imap.Flag{imap.FlagSeen}
	if slices.Contains(s.selected.PermanentFlags, imap.FlagWildcard) {
		flags = append(flags, taken)
	}
	one := imap.UIDSetNum(uid)
	if err := s.client.Store(one, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: flags}, nil).Close(); err != nil {
		return err
	}
	if s.settings.MoveTo == "" || !s.client.Caps().Has(imap.CapMove) {
		return nil
	}
	_, err := s.client.Move(one, s.settings.MoveTo).Wait()
	return err
}
