package mail

import (
	"maps"
	"mime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of one mail's parts; texts in bytes.
const (
	maxTokens      = 100
	maxTokenValue  = 10_000
	maxReminder    = 500
	maxField       = 200 // document number, client name, a cell of a reminder...
	maxHeaders     = 20
	maxHeaderName  = 76
	maxHeaderValue = 900 // a line has at most 998 octets (RFC 5322 section 2.1.1)
	maxReferences  = 100
	maxAttachments = 50
	maxFilename    = 200
	maxContentID   = 100
)

// checkValues checks what fills the tokens.
func checkValues(ps *Problems, d *Draft) {
	checkCell(ps, "/document/type", d.Document.Type)
	checkCell(ps, "/document/number", d.Document.Number)
	checkDay(ps, "/document/date", d.Document.Date)
	checkCell(ps, "/client/ref", d.Client.Ref)
	checkCell(ps, "/client/name", d.Client.Name)

	if len(d.Tokens) > maxTokens {
		ps.Add("/tokens", CodeTooMany, "max", strconv.Itoa(maxTokens))
		return
	}
	for name, value := range d.Tokens {
		if code, _ := flaw(value); code != "" || len(value) > maxTokenValue || !CheckTokenName(name) {
			checkTokens(ps, d.Tokens)
			break
		}
	}

	if len(d.Reminder) > maxReminder {
		ps.Add("/reminder", CodeTooMany, "max", strconv.Itoa(maxReminder))
		return
	}
	each(ps, "/reminder", d.Reminder, func(ps *Problems, _ int, item *ReminderItem) {
		requireLine(ps, "/number", item.Number, maxField)
		if item.Date == "" {
			ps.Add("/date", CodeFieldRequired)
		}
		checkDay(ps, "/date", item.Date)
		checkDay(ps, "/due_date", item.DueDate)
		requireLine(ps, "/amount", item.Amount, maxField)
		checkLine(ps, "/open", item.Open, maxField)
	})
}

// each checks the entries of a list with pointers relative to them; only a problem costs anything.
func each[T any](ps *Problems, at string, list []T, check func(sub *Problems, i int, entry *T)) {
	var sub Problems
	for i := range list {
		if check(&sub, i, &list[i]); len(sub) > 0 {
			ps.Under(at+"/"+strconv.Itoa(i), sub)
			sub = nil
		}
	}
}

// checkCell checks a field that may stand in a subject: one line, where a tab is as good as a space.
func checkCell(ps *Problems, at, s string) {
	if strings.ContainsAny(s, "\r\n") {
		ps.Add(at, CodeLineBreak)
		return
	}
	checkText(ps, at, s, maxField)
}

// checkTokens looks at every token, in the order of their names.
func checkTokens(ps *Problems, tokens map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		at := "/tokens/" + EscapePointer(Shown(name))
		if !CheckTokenName(name) {
			ps.Add(at, CodeTokenNameInvalid, "token", Shown(name))
		}
		checkText(ps, at, tokens[name], maxTokenValue)
	}
}

// checkHeaders checks everything of the caller's that becomes a header field as it is.
func checkHeaders(ps *Problems, d *Draft) {
	if d.InReplyTo != "" && !isMessageID(d.InReplyTo) {
		ps.Add("/in_reply_to", CodeMessageIDInvalid, "value", Shown(d.InReplyTo))
	}
	if len(d.References) > maxReferences {
		ps.Add("/references", CodeTooMany, "max", strconv.Itoa(maxReferences))
		return
	}
	for i, id := range d.References {
		if !isMessageID(id) {
			ps.Add("/references/"+strconv.Itoa(i), CodeMessageIDInvalid, "value", Shown(id))
		}
	}
	if len(d.Headers) > maxHeaders {
		ps.Add("/headers", CodeTooMany, "max", strconv.Itoa(maxHeaders))
		return
	}
	each(ps, "/headers", d.Headers, func(ps *Problems, _ int, h *Header) {
		switch {
		case !isFieldName(h.Name):
			ps.Add("/name", CodeHeaderNameInvalid, "name", Shown(h.Name))
		case isReserved(h.Name):
			ps.Add("/name", CodeHeaderNameReserved, "name", h.Name)
		}
		requireLine(ps, "/value", h.Value, maxHeaderValue)
	})
}

// isMessageID is RFC 5322 section 3.6.4 without its quoted and obsolete forms.
func isMessageID(s string) bool {
	if len(s) < 5 || len(s) > maxHeaderValue || s[0] != '<' || s[len(s)-1] != '>' {
		return false
	}
	inner := s[1 : len(s)-1]
	for i := range len(inner) {
		if c := inner[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return strings.Contains(inner, "@")
}

// isFieldName is RFC 5322 section 3.6.8, kept to the characters that every mail server passes on.
func isFieldName(s string) bool {
	if s == "" || len(s) > maxHeaderName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetterOrDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return isLetterOrDigit(s[0])
}

// reserved are the header fields that Facteur writes itself, or that say how a mail has travelled and who vouches for it. A name
// that ends in "-" is a prefix.
var reserved = []string{
	"from", "to", "cc", "bcc", "subject", "date", "message-id", "sender", "return-path", "reply-to", "in-reply-to", "references",
	"auto-submitted", "mime-", "content-", "received", "received-spf", "delivered-to", "dkim-", "domainkey-", "arc-",
	"authentication-results", "resent-",
}

func isReserved(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(reserved, func(r string) bool {
		return name == r || strings.HasSuffix(r, "-") && strings.HasPrefix(name, r)
	})
}

// checkAttachments checks the files of a mail, and that its HTML and its inline images belong together.
func checkAttachments(ps *Problems, files []Attachment, b *body, signatureImages []string) {
	if len(files) > maxAttachments {
		ps.Add("/attachments", CodeTooMany, "max", strconv.Itoa(maxAttachments))
		return
	}
	each(ps, "/attachments", files, func(ps *Problems, i int, f *Attachment) {
		if strings.TrimSpace(f.Filename) == "" {
			ps.Add("/filename", CodeFieldRequired)
		} else if !CheckFilename(f.Filename) {
			ps.Add("/filename", CodeFilenameInvalid, "filename", Shown(f.Filename))
		}
		if f.MediaType != "" && !CheckMediaType(f.MediaType) {
			ps.Add("/media_type", CodeMediaTypeInvalid, "media_type", Shown(f.MediaType))
		}
		id := f.ContentID
		switch {
		case id == "":
		case !CheckContentID(id):
			ps.Add("/content_id", CodeContentIDInvalid, "content_id", Shown(id))
		case slices.ContainsFunc(files[:i], func(other Attachment) bool { return other.ContentID == id }):
			ps.Add("/content_id", CodeContentIDDuplicate, "content_id", id)
		case b.html == nil:
			ps.Add("/content_id", CodeInlineImageWithoutHTML, "content_id", id)
		}
	})
	if b.html == nil {
		return
	}
	for n, ids := range [][]string{b.images, signatureImages} {
		for _, id := range ids {
			if n == 1 && slices.Contains(b.images, id) {
				continue
			}
			if !slices.ContainsFunc(files, func(f Attachment) bool { return f.ContentID == id }) {
				ps.Add("/attachments", CodeInlineImageMissing, "content_id", Shown(id))
			}
		}
	}
}

// CheckFilename says whether a name can be an attachment's: 1 to 200 bytes of visible UTF-8 that no system takes for a path.
func CheckFilename(name string) bool {
	if name == "" || len(name) > maxFilename || !utf8.ValidString(name) || name == "." || name == ".." {
		return false
	}
	// Controls and the invisible characters that make "fdp.exe" read as "exe.pdf".
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == '\\' || refused(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) ||
			unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d' || r == '\n' || r == '\r' || r == '\t'
	})
}

// CheckMediaType says whether s is a media type (RFC 2045 section 5.1) of visible ASCII that an attachment can have. The
// multipart and message types have a form of their own in a mail and are not for files.
func CheckMediaType(s string) bool {
	if s == "application/pdf" || s == "application/xml" {
		return true
	}
	t, _, err := mime.ParseMediaType(s)
	major, minor, ok := strings.Cut(t, "/")
	return err == nil && ok && minor != "" && len(s) <= maxField && isASCII(s) && !strings.ContainsFunc(s, unicode.IsControl) && major != "multipart" && major != "message"
}

// CheckContentID says whether s can name an inline image: 1 to 100 letters, digits and "._@+-".
func CheckContentID(s string) bool {
	if s == "" || len(s) > maxContentID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetterOrDigit(c) && strings.IndexByte("._@+-", c) < 0 {
			return false
		}
	}
	return true
}
