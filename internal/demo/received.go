package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
)

// received is a mail as the mail server of the demo got it, taken apart by the standard library's parsers, which know
// nothing of how Facteur writes a mail.
type received struct {
	Header mail.Header
	Text   string
	Files  []file
}

type file struct {
	Name, MediaType, SHA256 string
	Size                    int
}

func parseMail(raw []byte) (received, error) {
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return received{}, fmt.Errorf("demo: received mail: %w", err)
	}
	got := received{Header: msg.Header}
	if err := got.part(msg.Header.Get, msg.Body); err != nil {
		return received{}, fmt.Errorf("demo: received mail %s: %w", msg.Header.Get("Message-Id"), err)
	}
	return got, nil
}

// part takes one MIME entity apart; header looks up its fields.
func (r *received) part(header func(string) string, body io.Reader) error {
	mediaType, params, err := mime.ParseMediaType(header("Content-Type"))
	if err != nil {
		return err
	}
	if strings.HasPrefix(mediaType, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := r.part(p.Header.Get, p); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(header("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	disposition, dp, _ := mime.ParseMediaType(header("Content-Disposition"))
	switch {
	case disposition == "attachment":
		sum := sha256.Sum256(content)
		r.Files = append(r.Files, file{Name: dp["filename"], MediaType: mediaType, SHA256: hex.EncodeToString(sum[:]), Size: len(content)})
	case mediaType == "text/plain":
		r.Text = strings.ReplaceAll(string(content), "\r\n", "\n")
	}
	return nil
}

// field is a header field as a person reads it, encoded words decoded.
func (r received) field(name string) string {
	v := r.Header.Get(name)
	if d, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		return d
	}
	return v
}
