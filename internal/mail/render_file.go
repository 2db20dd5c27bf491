package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"io"
	"sync"
)

// fileBlock is how much of a file is encoded at once; a multiple of 3, so that base64 pads the last block only.
const fileBlock = 24 << 10

type fileBlocks struct {
	plain [fileBlock]byte
	text  [fileBlock / 3 * 4]byte
}

var fileBuffers = sync.Pool{New: func() any { return new(fileBlocks) }}

// FileBase64Size is how many bytes WriteFileBase64 writes for a file of so many.
func FileBase64Size(size int64) int64 { return (size + 2) / 3 * 4 }

// WriteFileBase64 writes the content of Content.Attachments[n] in base64 without line breaks (RFC 4648 section 4), for a
// provider that takes no MIME. As with WriteTo an error means that what was written is not complete: the caller must not end it as
// if it were. A large file is compared with its SHA-256 here; small ones were before.
func (r *Rendered) WriteFileBase64(w io.Writer, n int) error {
	f := r.file(n)
	var (
		in  io.Reader = bytes.NewReader(f.data)
		sum hash.Hash
	)
	if f.data == nil {
		opened, err := r.opener.Open(r.ctx, *f.Attachment)
		if err != nil {
			return f.failed(err)
		}
		defer opened.Close()
		in, sum = opened, sha256.New()
	}
	buf := fileBuffers.Get().(*fileBlocks)
	defer fileBuffers.Put(buf)
	for written := int64(0); ; {
		n, err := io.ReadFull(in, buf.plain[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return f.failed(err)
		}
		if written += int64(n); written > f.Size {
			return f.check(written, nil)
		}
		if sum != nil {
			sum.Write(buf.plain[:n])
		}
		base64.StdEncoding.Encode(buf.text[:], buf.plain[:n])
		if _, werr := w.Write(buf.text[:base64.StdEncoding.EncodedLen(n)]); werr != nil {
			return werr
		}
		if err == nil {
			continue
		}
		if written != f.Size {
			return f.check(written, nil)
		}
		if sum != nil {
			return f.check(written, sum.Sum(nil))
		}
		return nil
	}
}

// file finds the place of an attachment, which need not be in the order of Content.
func (r *Rendered) file(n int) *file {
	wanted := &r.Content.Attachments[n]
	for i := range r.files {
		if r.files[i].Attachment == wanted {
			return &r.files[i]
		}
	}
	panic("mail: the content was changed after it was rendered")
}

// Inline says whether a file is shown within the HTML.
func (c *Content) Inline(n int) bool { return isImage(&c.Attachments[n], c) }
