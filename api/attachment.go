package api

import "time"

// Attachment is an uploaded file. Its bytes are stored once per tenant, however often they are uploaded; every upload has
// an id of its own. It never changes.
type Attachment struct {
	// ID of the attachment.
	ID string `json:"id" example:"att_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Filename that the recipient sees.
	Filename string `json:"filename" example:"2026-0042.pdf"`
	// MediaType of the contents.
	MediaType string `json:"media_type" example:"application/pdf"`
	// Kind says what the file is in the firm's business.
	Kind string `json:"kind" enums:"invoice_pdf,ubl,e_fff,facturx_pdf,terms,other" example:"invoice_pdf"`
	// Size in bytes.
	Size int64 `json:"size" example:"104857"`
	// SHA256 of the contents, in lower-case hex.
	SHA256 string `json:"sha256" example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	// CreatedAt is when it was uploaded.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// MessageAttachment is a file of one mail: an uploaded one by its id, or one given here in base64. Uploading is cheaper for
// both sides, and a file that goes with many mails is uploaded once.
type MessageAttachment struct {
	// ID of an uploaded file. Give it or content.
	ID string `json:"id,omitempty" example:"att_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// Filename that the recipient sees. Required with content; with an id it replaces the upload's for this mail.
	Filename string `json:"filename,omitempty" example:"2026-0042.pdf" validate:"max=200"`
	// MediaType of the content. Default: by the file name. Not with an id.
	MediaType string `json:"media_type,omitempty" example:"application/pdf" validate:"max=200"`
	// Kind of the content. Default: other. Not with an id.
	Kind string `json:"kind,omitempty" enums:"invoice_pdf,ubl,e_fff,facturx_pdf,terms,other" example:"invoice_pdf"`
	// Content is the file in base64 (RFC 4648 section 4).
	Content []byte `json:"content,omitempty" swaggertype:"string" format:"byte" example:"JVBERi0xLjcK"`
	// ContentID makes it an image inside the HTML, shown by <img src="cid:...">.
	ContentID string `json:"content_id,omitempty" example:"logo" validate:"max=100"`
}
