package mail

import (
	"crypto/sha256"
	"strconv"
	"strings"
)

// DocumentKey says which document goes to whom: company, type, number and reminder level of the document, and one recipient. Two mails
// with the same key would bring a client the same invoice twice. It is the SHA-256 of those, without regard to case and to
// spaces around them.
type DocumentKey [sha256.Size]byte

// DocumentKeys gives the keys of a mail, one for each recipient in To, in their order. There are none for a mail that is about no document
// with a number. Copies (CC, BCC) are not asked about: the firm's own archive gets many.
func DocumentKeys(company string, d Document, recipients []Recipient) []DocumentKey {
	if strings.TrimSpace(d.Number) == "" {
		return nil
	}
	var keys []DocumentKey
	for _, r := range recipients {
		if r.Kind != KindTo {
			continue
		}
		parts := []string{company, d.Type, d.Number, strconv.Itoa(d.ReminderLevel), r.Envelope()}
		for i, p := range parts {
			parts[i] = strings.ToLower(strings.TrimSpace(p))
		}
		// No part can hold a NUL: control characters are refused.
		keys = append(keys, sha256.Sum256([]byte(strings.Join(parts, "\x00"))))
	}
	return keys
}
