package mail

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
)

// BounceMailbox is where the reports on a profile's mails arrive, to be read over IMAP.
type BounceMailbox struct {
	Host     string // a DNS name or an IP address
	Port     int    // 1..65535
	Security Security
	Username string
	Password Secret
	Folder   string // that is read
	// MoveTo is a folder that reports are moved to once they are taken in; empty: they stay and are marked as read.
	MoveTo string
	// VERP has each mail leave with a return path of its own (variable envelope return path), so that a report tells by its own address
	// which mail it is about, and that whoever wrote it has handled that mail.
	VERP bool
	// VERPKey authenticates those return paths. The store makes it.
	VERPKey Secret
}

// A return path is "local+<message>-<code>@domain": the part of the message's id that is unique, and a truncated HMAC-SHA256 of
// it. The RFC 5321 limit of 64 octets for the part before the @ leaves the rest to local.
const (
	verpMessage = 26 // characters of a ULID
	verpCode    = 12 // characters of base32: 60 bits
	maxVERPBase = maxLocalPart - len("+-") - verpMessage - verpCode
)

var verpEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// EnvelopeFrom is where bounces go, in the envelope's form: the profile's own address for them, or its From.
func (p *Profile) EnvelopeFrom() string {
	address := p.From.Address
	if p.SMTP != nil && p.SMTP.EnvelopeFrom != "" {
		address = p.SMTP.EnvelopeFrom
	}
	form, _ := EnvelopeForm(address)
	return form
}

// ReturnPath is the sender in the envelope of a message: EnvelopeFrom, or with VERP a subaddress of it (RFC 5233) that only this message
// has. The domain stays, and with it what SPF says.
func (p *Profile) ReturnPath(messageID string) string {
	from := p.EnvelopeFrom()
	b := p.BounceMailbox
	if b == nil || !b.VERP || b.VERPKey == "" {
		return from
	}
	_, unique, _ := strings.Cut(messageID, "_")
	local, domain, ok := cutAddress(from)
	if !ok || len(unique) != verpMessage || len(local) > maxVERPBase {
		return from
	}
	path := local + "+" + unique + "-" + p.verpCode(unique) + "@" + domain
	if len(path) > maxAddress {
		return from
	}
	return path
}

func (p *Profile) verpCode(unique string) string {
	mac := hmac.New(sha256.New, []byte(p.BounceMailbox.VERPKey))
	mac.Write([]byte("verp/" + p.ID + "/" + unique))
	return strings.ToLower(verpEncoding.EncodeToString(mac.Sum(nil)))[:verpCode]
}

// ReturnPathMessage gives the id of the message that an address would be the return path of, if it has that form; only IsReturnPath knows
// whether it is one.
func ReturnPathMessage(address string) (messageID string, ok bool) {
	local, _, ok := cutAddress(strings.ToLower(address))
	if !ok || len(local) < verpMessage+verpCode+2 {
		return "", false
	}
	token := local[len(local)-verpMessage-verpCode-2:]
	unique, code := token[1:1+verpMessage], token[2+verpMessage:]
	if token[0] != '+' || token[1+verpMessage] != '-' || !isLowerAlphanumeric(unique) || !isLowerAlphanumeric(code) {
		return "", false
	}
	return "msg_" + unique, true
}

// IsReturnPath says whether the address is the return path that this profile, and nobody else, gave the message. Letter case does not
// count: servers change it.
func (p *Profile) IsReturnPath(address, messageID string) bool {
	want := p.ReturnPath(messageID)
	if want == p.EnvelopeFrom() {
		return false
	}
	return hmac.Equal([]byte(NormalAddress(address)), []byte(NormalAddress(want)))
}

func cutAddress(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 1 {
		return "", "", false
	}
	return address[:i], address[i+1:], true
}

func isLowerAlphanumeric(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// HasBounceMailbox says whether the transport's mails leave with a return path of the firm's own, so that reports come to it.
func HasBounceMailbox(transport string) bool { return transport == "smtp" || transport == "gmail" }

const maxFolder = 200

func (p *Profile) checkBounceMailbox(ps *Problems) {
	b := p.BounceMailbox
	if !HasBounceMailbox(p.Transport) {
		ps.Add("/bounce_mailbox", CodeBounceMailboxNotUsed)
		return
	}
	if b.Host == "" {
		ps.Add("/bounce_mailbox/host", CodeFieldRequired)
	} else {
		checkHost(ps, "/bounce_mailbox/host", b.Host)
	}
	checkRange(ps, "/bounce_mailbox/port", b.Port, 1, 65535)
	checkOneOf(ps, "/bounce_mailbox/security", b.Security, SecuritySTARTTLS, SecurityTLS, SecurityNone)
	if b.Security == SecurityNone && (p.SMTP == nil || !p.SMTP.AllowPlaintextLogin) {
		ps.Add("/bounce_mailbox/security", CodePlaintextLoginNotAllowed)
	}
	requireLogin(ps, "/bounce_mailbox/username", b.Username)
	requireLogin(ps, "/bounce_mailbox/password", string(b.Password))
	requireLine(ps, "/bounce_mailbox/folder", b.Folder, maxFolder)
	checkLine(ps, "/bounce_mailbox/move_to", b.MoveTo, maxFolder)
	if !b.VERP {
		return
	}
	if p.Transport != "smtp" {
		ps.Add("/bounce_mailbox/verp", CodeVERPNotPossible)
		return
	}
	if local, _, ok := cutAddress(p.EnvelopeFrom()); ok && len(local) > maxVERPBase {
		ps.Add("/bounce_mailbox/verp", CodeVERPAddressTooLong, "max", strconv.Itoa(maxVERPBase))
	}
}
