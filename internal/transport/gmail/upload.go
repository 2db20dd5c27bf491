package gmail

import (
	"context"
	"io"
	"net/http"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// upload is one mail to be posted.
type upload struct {
	mail     *mail.Rendered
	token    string
	thread   string // to join; or empty
	boundary string
}

// post makes one POST: the metadata and the mail as two parts of multipart/related
// (https://developers.google.com/workspace/gmail/api/guides/uploads#multipart). What makes it whole is the closing boundary.
func (t *Transport) post(ctx context.Context, u upload) exchange {
	meta := "{}"
	if u.thread != "" {
		meta = `{"threadId":"` + u.thread + `"}` // ParseEvidence lets only harmless characters through
	}
	head := "--" + u.boundary + "\r\nContent-Type: application/json\r\n\r\n" + meta +
		"\r\n--" + u.boundary + "\r\nContent-Type: message/rfc822\r\n\r\n"
	tail := "\r\n--" + u.boundary + "--\r\n"
	return t.http.Post(ctx, onepost.Post{
		URL: t.sendURL,
		Header: http.Header{
			"Authorization": {"Bearer " + u.token},
			"Content-Type":  {"multipart/related; boundary=" + u.boundary},
			"User-Agent":    {"facteur"},
		},
		Write: func(w io.Writer) error {
			if _, err := io.WriteString(w, head); err != nil {
				return err
			}
			_, err := u.mail.WriteTo(w)
			return err
		},
		Tail: tail, Size: int64(len(head)) + u.mail.Size() + int64(len(tail)),
		Body: t.timeouts.body(u.mail.Size()), Answer: t.timeouts.Answer, Secret: u.token,
	})
}
