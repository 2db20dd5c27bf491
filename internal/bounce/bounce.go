// Package bounce reads delivery reports: the mails in which servers say what became of a mail at its recipients (RFC 3464, and RFC 6533
// for addresses beyond ASCII).
//
// A report is foreign text that anybody can write and mail to us. Parse says what it claims and nothing of whether it is true: that is
// for the caller, who knows what was sent. Whatever the text is, time and memory are bounded by MaxBytes.
//
// What servers really send is read, not only what the RFC wants: reports wrapped by gateways, with fields missing or in the wrong case, with lines
// of other encodings, cut off anywhere after the part that matters. Bounces in prose alone, as of old servers, are no reports.
package bounce

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-message"
	netmail "net/mail"
)

const (
	// MaxBytes is how much of a mail is read. What counts comes first: the returned mail, which may be large, is the last part.
	MaxBytes      = 256 << 10
	maxStatus     = 128 << 10
	maxReturned   = 64 << 10 // of the returned mail: its header
	maxDepth      = 4
	maxParts      = 32
	maxRecipients = 200
	maxAddresses  = 32
)

// ErrNoReport says that the mail is something else.
var ErrNoReport = errors.New("bounce: not a delivery report")

// Action is what a server did (RFC 3464 section 2.3.3).
type Action string

const (
	Failed    Action = "failed"
	Delayed   Action = "delayed" // it goes on trying
	Delivered Action = "delivered"
	Relayed   Action = "relayed"  // to a server that makes no reports
	Expanded  Action = "expanded" // to the members of a list
)

// Report is one delivery report.
type Report struct {
	// ID is made from what the report says: the same report in another folder, or read again, has the same one.
	ID   string
	Date time.Time // as it claims; zero: nothing that can be read
	// MessageID is that of the returned mail, or its envelope id, with angle brackets; empty: not told.
	MessageID string
	// Addresses are those that the report was sent to and the return path of the returned mail: one of them may be a return path of ours.
	Addresses  []string
	Recipients []Recipient
}

// Recipient is what became of the mail at one recipient.
type Recipient struct {
	Original, Final string // as the sender gave it, and as it was when the report was made; each may be empty
	Action          Action
	Status          string // enhanced status code (RFC 3463), "5.1.1"; empty: none
	Diagnostic      string // what the server said
	RemoteMTA       string // the server that said it
}

// Likely says whether a mail can be a report, by its header, so that no other is fetched.
func Likely(header []byte) bool {
	var report, multipart, daemon bool
	fields(header, func(name, value string) bool {
		value = strings.ToLower(value)
		switch name {
		case "content-type":
			multipart = strings.HasPrefix(value, "multipart/")
			report = strings.HasPrefix(value, "multipart/report") && !strings.Contains(value, "disposition-notification") &&
				!strings.Contains(value, "feedback-report")
		case "auto-submitted":
			daemon = daemon || strings.HasPrefix(value, "auto-")
		case "from":
			daemon = daemon || strings.Contains(value, "mailer-daemon") || strings.Contains(value, "postmaster")
		case "return-path":
			daemon = daemon || value == "<>"
		}
		return true
	})
	return report || (multipart && daemon)
}

// LikelyFields are the fields of a header that Likely looks at.
var LikelyFields = []string{"Content-Type", "Auto-Submitted", "From", "Return-Path"}

// Parse reads a report.
func Parse(r io.Reader) (*Report, error) {
	e, err := message.ReadWithOptions(io.LimitReader(r, MaxBytes), &message.ReadOptions{MaxHeaderBytes: maxStatus})
	if e == nil || (err != nil && !isUnknown(err)) {
		return nil, ErrNoReport
	}
	p := parser{}
	p.walk(e, 0)
	if len(p.report.Recipients) == 0 {
		return nil, ErrNoReport
	}
	if date, err := netmail.ParseDate(e.Header.Get("Date")); err == nil {
		p.report.Date = date.UTC()
	}
	for _, name := range []string{"To", "Delivered-To", "X-Original-To", "X-Delivered-To", "Envelope-To", "X-Envelope-To"} {
		for fields := e.Header.FieldsByKey(name); fields.Next(); {
			p.address(fields.Value())
		}
	}
	p.sum.WriteString(e.Header.Get("Message-Id"))
	sum := sha256.Sum256(p.sum.Bytes())
	p.report.ID = base64.RawURLEncoding.EncodeToString(sum[:])
	return &p.report, nil
}

// isUnknown says that a mail could be read but for an encoding that nobody knows.
func isUnknown(err error) bool {
	return message.IsUnknownCharset(err) || message.IsUnknownEncoding(err)
}

type parser struct {
	report Report
	parts  int
	sum    bytes.Buffer
}

// walk looks at an entity and its parts, but not into mails inside: a report that somebody forwards is none for us.
func (p *parser) walk(e *message.Entity, depth int) {
	if p.parts++; p.parts > maxParts {
		return
	}
	media, _, _ := e.Header.ContentType() //nolint:errcheck // what cannot be read is no part of a report
	switch strings.ToLower(media) {
	case "message/delivery-status", "message/global-delivery-status":
		text := read(e.Body, maxStatus)
		p.sum.Write(text)
		p.status(text)
	case "text/rfc822-headers", "message/global-headers", "message/rfc822", "message/global":
		p.returned(read(e.Body, maxReturned))
	default:
		parts := e.MultipartReader()
		if parts == nil || depth == maxDepth {
			return
		}
		for p.parts <= maxParts {
			part, err := parts.NextPart()
			if part == nil || (err != nil && !isUnknown(err)) {
				return // the end, or it is cut off
			}
			p.walk(part, depth+1)
		}
	}
}

// read gives what can be read.
func read(r io.Reader, limit int64) []byte {
	b, _ := io.ReadAll(io.LimitReader(r, limit)) //nolint:errcheck // a part that is cut off is as good as it goes
	return b
}

// status reads the groups of fields of a delivery status: one about the mail, then one for each recipient. Servers leave out the empty
// lines between them, and add some.
func (p *parser) status(text []byte) {
	r, known := Recipient{}, false
	end := func() {
		if known && len(p.report.Recipients) < maxRecipients {
			if r.complete() {
				p.report.Recipients = append(p.report.Recipients, r)
			}
		}
		r, known = Recipient{}, false
	}
	fields(text, func(name, value string) bool {
		switch name {
		case "":
			end()
		case "original-envelope-id":
			if p.report.MessageID == "" {
				p.report.MessageID = messageID("<" + strings.Trim(value, "<> ") + ">")
			}
		case "original-recipient":
			if r.Original != "" {
				end()
			}
			r.Original, known = recipient(value), true
		case "final-recipient":
			if r.Final != "" {
				end()
			}
			r.Final, known = recipient(value), true
		case "action":
			word, _, _ := strings.Cut(strings.ToLower(value)+" ", " ")
			r.Action = Action(strings.Trim(word, ";,."))
		case "status":
			r.Status = statusCode.FindString(value)
		case "diagnostic-code":
			r.Diagnostic = afterType(value)
		case "remote-mta":
			r.RemoteMTA = afterType(value)
		}
		return true
	})
	end()
}

var statusCode = regexp.MustCompile(`\b[245]\.[0-9]{1,3}\.[0-9]{1,3}\b`)

// complete makes up what a server left out, and says whether it is enough to be of use.
func (r *Recipient) complete() bool {
	// 5.0.0 says no more than "failed"; what the far end said may have the true code.
	if said := statusCode.FindString(r.Diagnostic); said != "" && (r.Status == "" || r.Status == said[:1]+".0.0") {
		r.Status = said
	}
	switch r.Action {
	case Failed, Delayed, Delivered, Relayed, Expanded:
	case "":
		switch {
		case strings.HasPrefix(r.Status, "5"):
			r.Action = Failed
		case strings.HasPrefix(r.Status, "4"):
			r.Action = Delayed
		default:
			return false
		}
	default:
		return false
	}
	return r.Original != "" || r.Final != ""
}

// returned reads the header of the mail that comes back.
func (p *parser) returned(text []byte) {
	found := ""
	fields(text, func(name, value string) bool {
		switch name {
		case "":
			return false // its body
		case "message-id":
			if found == "" {
				found = messageID(value)
			}
		case "return-path":
			p.address(value)
		}
		return true
	})
	if found != "" {
		p.report.MessageID = found
	}
}

var addressLike = regexp.MustCompile(`[^\s<>,;:"()\[\]]{1,128}@[^\s<>,;:"()\[\]@]{1,255}`)

func (p *parser) address(value string) {
	for _, a := range addressLike.FindAllString(value, maxAddresses) {
		if len(p.report.Addresses) < maxAddresses {
			p.report.Addresses = append(p.report.Addresses, a)
		}
	}
}

var idLike = regexp.MustCompile(`<[^\s<>@]{1,200}@[^\s<>@]{1,255}>`)

func messageID(value string) string { return idLike.FindString(value) }
