package mail

import (
	"context"
	"io"
)

// Files opens the stored bytes of an attachment.
type Files interface {
	Open(ctx context.Context, a Attachment) (io.ReadCloser, error)
}

// Rendered is a complete mail, ready to be written. Its size is known and everything that could be missing was found.
type Rendered struct {
	Envelope Envelope
	Content  *Content
	Profile  *Profile
}
