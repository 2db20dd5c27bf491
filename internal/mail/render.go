package mail

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Files opens the stored bytes of an attachment.
type Files interface {
	Open(ctx context.Context, a Attachment) (io.ReadCloser, error)
}

// ErrFileChanged is the error of a file that has not the length or the SHA-256 that its Attachment says.
var ErrFileChanged = errors.New("file is not the one that was attached")

// ErrErased is the error of a mail whose content was erased.
var ErrErased = errors.New("mail: the content was erased")

// Files up to maxHeldFile bytes are held in memory, as long as they are not more than maxHeld together.
const (
	maxHeldFile = 1 << 20
	maxHeld     = 4 << 20
)

// formatOne is the rules of this package's mime and header files.
const formatOne = 1

// Rendered is a complete mail, ready to be written. Its size is known and everything that could be missing was found.
//
// What is written is always:
//   - lines of at most 998 octets (RFC 5322 section 2.1.1), all ended by CRLF, the last one too; no bare CR or LF;
//   - 7-bit, but for the header fields of a mail that NeedsSMTPUTF8;
//   - DotSafe: no line begins with ".", so that SMTP has none to double (RFC 5321 section 4.5.2) and the bytes can be written
//     after DATA as they are, followed by ".\r\n".
type Rendered struct {
	Envelope Envelope
	Content  *Content
	Profile  *Profile // nil when the mail is only shown
	// ParentEvidence is what proved that the mail which this one answers was sent, through the same profile (Verdict.Evidence);
	// a provider that files mails in threads knows the thread by it. Empty when there is no such mail. Render leaves it empty.
	ParentEvidence string

	lead  []byte // written first: see AddressedByHeader
	text  []byte // all but the files' contents
	files []file // in the order of their places
	size  int64
	utf8  bool

	ctx    context.Context // of Render, for the files that WriteTo opens
	opener Files
}

// file is an attachment's place in a mail.
type file struct {
	*Attachment
	at   int    // before text[at]
	data []byte // nil: opened when it is written
}

// Render makes the mail of a content. Texts and small files (1 MiB each, 4 MiB together) are in memory afterwards and were
// compared with their SHA-256; larger files were opened to see that they are there, and are opened again with the same ctx each
// time the mail is written. p may be nil. c must not change as long as the Rendered is used.
//
// The errors: ErrErased; a format that this version does not know; an address, message id, header name or content id that Compose would
// have refused; an error of Files; ErrFileChanged.
func Render(ctx context.Context, c *Content, p *Profile, env Envelope, files Files) (*Rendered, error) {
	r, err := layOut(c)
	if err != nil {
		return nil, err
	}
	r.Envelope, r.Profile, r.ctx, r.opener = env, p, ctx, files
	held := int64(0)
	for i := range r.files {
		f := &r.files[i]
		hold := f.Size <= maxHeldFile && held+f.Size <= maxHeld
		if hold {
			held += f.Size
		}
		if err := f.load(ctx, files, hold); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// RenderedSize is the number of bytes that the mail of a content will have, worked out without opening its files.
func RenderedSize(c *Content) (int64, error) {
	r, err := layOut(c)
	if err != nil {
		return 0, err
	}
	return r.size, nil
}

// layOut makes all of a mail but the contents of its files, whose sizes it knows.
func layOut(c *Content) (*Rendered, error) {
	if c.Erased {
		return nil, ErrErased
	}
	if c.Format != formatOne {
		return nil, fmt.Errorf("mail: content has format %d, which this version does not know", c.Format)
	}
	m := mimeWriter{content: c, plainBody: newTextBody(c.Text), htmlBody: newTextBody(c.HTML), boundary: boundaryOf(c.MessageIDHeader)}
	m.b = make([]byte, 0, m.estimate())
	if err := m.header(); err != nil {
		return nil, err
	}
	if err := m.body(); err != nil {
		return nil, err
	}
	r := &Rendered{Content: c, text: m.b, files: m.files, utf8: m.utf8, size: int64(len(m.b))}
	for i := range r.files {
		f := &r.files[i]
		if f.Size < 0 {
			return nil, f.changed("its length is negative")
		}
		r.size += base64Size(f.Size)
	}
	return r, nil
}

// load opens the file and, to hold it, reads and checks it.
func (f *file) load(ctx context.Context, files Files, hold bool) error {
	r, err := files.Open(ctx, *f.Attachment)
	if err != nil {
		return f.failed(err)
	}
	defer r.Close()
	if !hold {
		return nil
	}
	data := make([]byte, f.Size+1) // one more, to see a file that is longer
	n, err := io.ReadFull(r, data)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return f.failed(err)
	}
	sum := sha256.Sum256(data[:n])
	if err := f.check(int64(n), sum[:]); err != nil {
		return err
	}
	f.data = data[:n]
	return nil
}

// check compares what was read with what was attached. n may stop at one more than the right length.
func (f *file) check(n int64, sum []byte) error {
	if n != f.Size {
		return f.changed("its length is not " + fmt.Sprint(f.Size))
	}
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum)
	if string(text[:]) != f.SHA256 {
		return f.changed("its SHA-256 is another")
	}
	return nil
}

func (f *file) failed(err error) error {
	return fmt.Errorf("mail: attachment %s: %w", Shown(f.ID), err)
}

func (f *file) changed(how string) error {
	return f.failed(fmt.Errorf("%w: %s", ErrFileChanged, how))
}

// Size is the exact number of bytes that WriteTo writes.
func (r *Rendered) Size() int64 { return r.size }

// NeedsSMTPUTF8 says that the mail can only go to a server that offers SMTPUTF8 (RFC 6531): the local part of an address in the
// envelope or in the header is not ASCII.
func (r *Rendered) NeedsSMTPUTF8() bool {
	if r.utf8 || !isASCII(r.Envelope.From) {
		return true
	}
	for _, to := range r.Envelope.To {
		if !isASCII(to) {
			return true
		}
	}
	return false
}

// WriteTo writes the mail. It can be called again, and writes the same bytes. An error means that the mail is not complete: the
// final boundary, at the least, was not written, and the caller must not end the mail as if it were.
func (r *Rendered) WriteTo(w io.Writer) (int64, error) {
	if len(r.files) == 0 && len(r.lead) == 0 {
		n, err := w.Write(r.text)
		return int64(n), err
	}
	out := outputs.Get().(*output)
	defer out.release()
	out.w, out.written = w, 0
	out.buf.Reset(out)
	err := r.write(out)
	if err == nil {
		err = out.buf.Flush()
	}
	return out.written, err
}

func (r *Rendered) write(out *output) error {
	if _, err := out.buf.Write(r.lead); err != nil {
		return err
	}
	at := 0
	for i := range r.files {
		f := &r.files[i]
		if _, err := out.buf.Write(r.text[at:f.at]); err != nil {
			return err
		}
		at = f.at
		var err error
		if f.data != nil {
			err = out.base64(f.data)
		} else {
			err = out.stream(r.ctx, r.opener, f)
		}
		if err != nil {
			return err
		}
	}
	_, err := out.buf.Write(r.text[at:])
	return err
}

// blockLines is how many lines of base64 are made at once.
const blockLines = 400

// output is what it takes to write files, kept for the next mail.
type output struct {
	w       io.Writer
	written int64
	buf     *bufio.Writer // to the output itself, which counts
	block   []byte        // of a streamed file; made when first used
	hash    hash.Hash
	one     [1]byte
}

var outputs = sync.Pool{New: func() any {
	return &output{buf: bufio.NewWriterSize(nil, blockLines*lineWidth)}
}}

func (o *output) release() {
	o.w = nil
	outputs.Put(o)
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.written += int64(n)
	return n, err
}

// base64 encodes into the buffer's own room. All but the last block of a file are whole lines.
func (o *output) base64(data []byte) error {
	for len(data) > 0 {
		lines := o.buf.Available() / lineWidth
		if lines == 0 {
			if err := o.buf.Flush(); err != nil {
				return err
			}
			continue
		}
		n := min(len(data), lines*lineBytes)
		if _, err := o.buf.Write(appendBase64(o.buf.AvailableBuffer(), data[:n])); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// stream reads a file while it is written. Whatever is wrong with it is known before what follows it is written.
func (o *output) stream(ctx context.Context, files Files, f *file) error {
	r, err := files.Open(ctx, *f.Attachment)
	if err != nil {
		return f.failed(err)
	}
	defer r.Close()
	if o.block == nil {
		o.block, o.hash = make([]byte, blockLines*lineBytes), sha256.New()
	}
	o.hash.Reset()
	left := f.Size
	for left > 0 {
		n, err := io.ReadFull(r, o.block[:min(left, int64(len(o.block)))])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return f.check(f.Size-left+int64(n), nil)
		}
		if err != nil {
			return f.failed(err)
		}
		left -= int64(n)
		o.hash.Write(o.block[:n])
		if err := o.base64(o.block[:n]); err != nil {
			return err
		}
	}
	switch _, err := io.ReadFull(r, o.one[:]); err {
	case io.EOF:
		return f.check(f.Size, o.hash.Sum(nil))
	case nil:
		return f.check(f.Size+1, nil)
	default:
		return f.failed(err)
	}
}
