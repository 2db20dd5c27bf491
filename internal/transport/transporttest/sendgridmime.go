package transporttest

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
)

// MIME is the mail as its recipients get it: SendGrid makes it itself from what it was given. It needs the files' data.
func (m *SendGridMail) MIME() ([]byte, error) {
	var out bytes.Buffer
	field := func(name, value string) { out.WriteString(name + ": " + value + "\r\n") }
	field("From", header(m.From))
	field("To", header(m.To...))
	if len(m.CC) > 0 {
		field("Cc", header(m.CC...))
	}
	if len(m.ReplyTo) > 0 {
		field("Reply-To", header(m.ReplyTo...))
	}
	field("Subject", mime.QEncoding.Encode("utf-8", m.Subject))
	field("Date", m.ReceivedAt.Format(time.RFC1123Z))
	for name, value := range m.Headers {
		field(name, value)
	}
	field("MIME-Version", "1.0")
	mixed := multipart.NewWriter(&out)
	field("Content-Type", `multipart/mixed; boundary="`+mixed.Boundary()+`"`)
	out.WriteString("\r\n")

	boundary := "texts-" + mixed.Boundary()[:40]
	body, err := mixed.CreatePart(textproto.MIMEHeader{"Content-Type": {`multipart/alternative; boundary="` + boundary + `"`}})
	if err != nil {
		return nil, err
	}
	texts := multipart.NewWriter(body)
	if err := texts.SetBoundary(boundary); err != nil {
		return nil, err
	}
	for _, t := range []struct{ mediaType, text string }{{"text/plain", m.Text}, {"text/html", m.HTML}} {
		if t.text == "" {
			continue
		}
		part, err := texts.CreatePart(textproto.MIMEHeader{"Content-Type": {t.mediaType + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"}})
		if err != nil {
			return nil, err
		}
		w := quotedprintable.NewWriter(part)
		if _, err := io.WriteString(w, t.text); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	if err := texts.Close(); err != nil {
		return nil, err
	}
	for _, a := range m.Attachments {
		head := textproto.MIMEHeader{
			"Content-Type": {a.Type}, "Content-Transfer-Encoding": {"base64"},
			"Content-Disposition": {mime.FormatMediaType(a.Disposition, map[string]string{"filename": a.Filename})},
		}
		if a.ContentID != "" {
			head.Set("Content-ID", "<"+a.ContentID+">")
		}
		part, err := mixed.CreatePart(head)
		if err != nil {
			return nil, err
		}
		data := base64.StdEncoding.EncodeToString(a.Data)
		for len(data) > 76 {
			if _, err := io.WriteString(part, data[:76]+"\r\n"); err != nil {
				return nil, err
			}
			data = data[76:]
		}
		if _, err := io.WriteString(part, data); err != nil {
			return nil, err
		}
	}
	err = mixed.Close()
	return out.Bytes(), err
}

func header(list ...SendGridAddress) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = (&mail.Address{Name: a.Name, Address: a.Email}).String()
	}
	return strings.Join(words, ", ")
}
