package mail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// mimeWriter writes everything of a mail but the contents of its files, whose places it keeps.
type mimeWriter struct {
	headerWriter
	content   *Content
	plainBody textBody
	htmlBody  textBody
	boundary  string // the end of every boundary of the mail
	files     []file
	atBreak   bool // the last part ended with a line break that is not its own
}

// estimate is about the size of the mail without its files.
func (m *mimeWriter) estimate() int {
	const header, part, address = 1024, 512, 64
	c := m.content
	return header + part*len(c.Attachments) + address*(len(c.To)+len(c.CC)+len(c.References)) + 2*len(c.Subject) +
		m.plainBody.size + m.htmlBody.size
}

// header writes the mail's own header fields, without those that describe its body.
func (m *mimeWriter) header() error {
	c := m.content
	m.b = append(m.b, "Date: "...)
	m.b = c.Date.UTC().AppendFormat(m.b, time.RFC1123Z)
	m.b = append(m.b, "\r\n"...)
	if err := m.addresses("From", c.From); err != nil {
		return err
	}
	for _, f := range [...]struct {
		name      string
		addresses []Address
	}{{"Reply-To", c.ReplyTo}, {"To", c.To}, {"Cc", c.CC}} {
		if len(f.addresses) == 0 {
			continue
		}
		if err := m.addresses(f.name, f.addresses...); err != nil {
			return err
		}
	}
	if len(c.To)+len(c.CC) == 0 {
		m.plain("To", "undisclosed-recipients:;")
	}
	m.text("Subject", c.Subject)
	if err := m.ids("Message-ID", c.MessageIDHeader); err != nil {
		return err
	}
	if c.InReplyTo != "" {
		if err := m.ids("In-Reply-To", c.InReplyTo); err != nil {
			return err
		}
	}
	if len(c.References) > 0 {
		if err := m.ids("References", c.References...); err != nil {
			return err
		}
	}
	if c.Automatic {
		m.plain("Auto-Submitted", "auto-generated")
	}
	for _, h := range c.Headers {
		if !isFieldName(h.Name) || isReserved(h.Name) {
			return fmt.Errorf("mail: header %q is not the caller's to set", Shown(h.Name))
		}
		m.text(h.Name, h.Value)
	}
	m.plain("MIME-Version", "1.0")
	return nil
}

// body writes the rest of the header and the body: the texts, around them the images that the HTML shows, around them the other
// files. Each layer is there only when it is needed.
func (m *mimeWriter) body() error {
	c := m.content
	images, others := 0, 0
	for i := range c.Attachments {
		a := &c.Attachments[i]
		if a.ContentID != "" && !CheckContentID(a.ContentID) {
			return fmt.Errorf("mail: content id %q is invalid", Shown(a.ContentID))
		}
		if isImage(a, c) {
			images++
		} else {
			others++
		}
	}
	m.files = make([]file, 0, images+others)

	if others > 0 {
		m.multipart("mixed", "")
		m.next("mixed")
	}
	if c.HTML == "" {
		m.textPart("plain", &m.plainBody)
	} else {
		m.multipart("alternative", "")
		m.next("alternative")
		m.textPart("plain", &m.plainBody)
		m.next("alternative")
		if images > 0 {
			m.multipart("related", "text/html")
			m.next("related")
		}
		m.textPart("html", &m.htmlBody)
		if images > 0 {
			m.addFiles("related", "inline", true)
			m.close("related")
		}
		m.close("alternative")
	}
	if others > 0 {
		m.addFiles("mixed", "attachment", false)
		m.close("mixed")
	}
	if !m.atBreak {
		m.b = append(m.b, "\r\n"...)
	}
	return nil
}

// isImage says whether a file is shown within the HTML.
func isImage(a *Attachment, c *Content) bool { return a.ContentID != "" && c.HTML != "" }

func (m *mimeWriter) addFiles(layer, disposition string, images bool) {
	for i := range m.content.Attachments {
		if a := &m.content.Attachments[i]; isImage(a, m.content) == images {
			m.next(layer)
			m.fileHeader(a, disposition)
			m.files = append(m.files, file{Attachment: a, at: len(m.b)})
			m.atBreak = a.Size > 0
		}
	}
}

// textBody is a text and how it is encoded.
type textBody struct {
	s      string // valid UTF-8
	base64 bool   // else quoted-printable
	size   int    // when it is encoded: about, rather too much
}

// newTextBody chooses quoted-printable, which a person can read in the raw mail, unless base64 is shorter.
func newTextBody(s string) textBody {
	if !utf8.ValidString(s) { // told much faster than it is mended
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	escaped, breaks := measureQuoted(s)
	if 6*escaped > len(s) { // 1 byte in 6 at 3 for 1 makes base64's 4 for 3
		return textBody{s, true, int(base64Size(int64(len(s) + breaks)))}
	}
	size := len(s) + 2*escaped + breaks
	return textBody{s, false, size + size/16}
}

func (m *mimeWriter) textPart(subtype string, t *textBody) {
	m.b = append(append(append(m.b, "Content-Type: text/"...), subtype...), "; charset=utf-8\r\n"...)
	if m.atBreak = t.base64; t.base64 {
		m.b = append(m.b, "Content-Transfer-Encoding: base64\r\n\r\n"...)
		lines := strings.ReplaceAll(newlines(t.s), "\n", "\r\n")
		m.b = appendBase64(slices.Grow(m.b, t.size), []byte(lines))
		return
	}
	m.b = append(m.b, "Content-Transfer-Encoding: quoted-printable\r\n\r\n"...)
	m.b = appendQuoted(m.b, t.s)
}

// multipart writes the header of a layer. of is the type of its first part, which related wants to be told (RFC 2387).
func (m *mimeWriter) multipart(layer, of string) {
	m.b = append(append(append(m.b, "Content-Type: multipart/"...), layer...), ';')
	if of != "" {
		m.b = append(append(append(m.b, ` type="`...), of...), `";`...)
	}
	m.fold()
	m.b = append(m.b, ` boundary="`...)
	m.delimiter(layer)
	m.b = append(m.b, "\"\r\n\r\n"...)
	m.atBreak = true
}

// next begins a layer's next part.
func (m *mimeWriter) next(layer string) {
	m.startDelimiter(layer)
	m.b = append(m.b, "\r\n"...)
}

func (m *mimeWriter) close(layer string) {
	m.startDelimiter(layer)
	m.b = append(m.b, "--"...)
	m.atBreak = false
}

// startDelimiter writes a delimiter on a line of its own. The line break before it belongs to the delimiter (RFC 2046 section
// 5.1.1), so a text keeps its own.
func (m *mimeWriter) startDelimiter(layer string) {
	if !m.atBreak {
		m.b = append(m.b, "\r\n"...)
	}
	m.b = append(m.b, "--"...)
	m.delimiter(layer)
}

// delimiter writes a layer's boundary. Neither base64 nor quoted-printable has "=_" in it, so that no content can hold one; the
// layer's initial comes first, so that none is the beginning of another.
func (m *mimeWriter) delimiter(layer string) {
	m.b = append(m.b, '=', '_', layer[0])
	m.b = append(m.b, m.boundary...)
}

// boundaryOf makes the same boundary for the same mail each time.
func boundaryOf(messageID string) string {
	sum := sha256.Sum256([]byte(messageID))
	return hex.EncodeToString(sum[:12])
}
