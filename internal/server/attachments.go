package server

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

const (
	codeFileMissing      = "file_missing"
	codeFileEmpty        = "file_empty"
	codeMultipartInvalid = "multipart_invalid"
)

// kinds are what a file can be in the firm's business.
var kinds = []string{"invoice_pdf", "ubl", "e_fff", "facturx_pdf", "terms", "other"}

const uploadTimeout = 15 * time.Minute

// uploadAttachment stores a file.
//
//	@Summary		Upload a file
//	@Description	The body is the file as it is; its name comes from `filename` or a Content-Disposition header. Or a multipart form with the field `file` and, before it, `kind`. At most 25 MiB. The same bytes are stored once.
//	@ID				uploadAttachment
//	@Tags			attachments
//	@Accept			octet-stream
//	@Produce		json
//	@Param			Idempotency-Key	header		string			false	"-"
//	@Param			filename		query		string			false	"Name that the recipient sees."
//	@Param			kind			query		string			false	"What the file is."	Enums(invoice_pdf, ubl, e_fff, facturx_pdf, terms, other)	default(other)
//	@Param			file			body		string			true	"-"
//	@Success		201				{object}	api.Attachment
//	@Header			201				{string}	Location	"-"
//	@Failure		422				{object}	api.Problem
//	@Router			/v1/attachments [post]
func (s *Server) uploadAttachment(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		q := newQuery(c)
		meta := store.AttachmentMeta{ID: store.NewID("att"), CreatedAt: store.Now(), Filename: q.text("filename"), Kind: q.oneOf("kind", kinds...)}
		if err := q.err(); err != nil {
			return nil, err
		}
		deadline := http.NewResponseController(c.Writer)
		if err := deadline.SetReadDeadline(time.Now().Add(uploadTimeout)); err == nil {
			defer deadline.SetReadDeadline(time.Time{}) //nolint:errcheck // a connection has deadlines
		}
		const formOverhead = 64 << 10
		if c.Request.ContentLength > s.limits.Attachment+formOverhead {
			return nil, &http.MaxBytesError{Limit: s.limits.Attachment}
		}
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, s.limits.Attachment+formOverhead)
		up := s.store.NewUpload(c.Request.Context(), tenantOf(c), s.limits.Attachment)
		defer up.Abort()
		if err := receiveFile(c.Request, up, &meta); err != nil {
			if errors.Is(err, store.ErrTooLarge) {
				err = &http.MaxBytesError{Limit: s.limits.Attachment}
			}
			return nil, err
		}
		if err := checkFile(&meta, up.Size()); err != nil {
			return nil, err
		}
		if err := id.about(c, nil, meta.Filename, meta.Kind, meta.MediaType, up.SHA256()); err != nil {
			return nil, err
		}
		a, err := newAnswer(http.StatusCreated, attachmentOf(&store.Attachment{
			Attachment: mail.Attachment{ID: meta.ID, SHA256: up.SHA256(), Filename: meta.Filename, MediaType: meta.MediaType, Kind: meta.Kind, Size: up.Size()},
			CreatedAt:  meta.CreatedAt,
		}))
		if err != nil {
			return nil, err
		}
		a.location = "/v1/attachments/" + meta.ID
		_, err = up.Commit(c.Request.Context(), meta, id.record(a))
		return a, err
	})
}

// receiveFile streams the request's file into up and fills what the query left open of meta.
func receiveFile(r *http.Request, up io.Writer, meta *store.AttachmentMeta) error {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && mediaType == "multipart/form-data" {
		return receiveForm(r, params["boundary"], up, meta)
	}
	if meta.Filename == "" {
		meta.Filename = dispositionName(r.Header.Get("Content-Disposition"))
	}
	// curl calls every body a form; nobody attaches one.
	if ct := r.Header.Get("Content-Type"); mediaType != "application/x-www-form-urlencoded" {
		meta.MediaType = ct
	}
	return copyFile(up, r.Body)
}

func dispositionName(header string) string {
	_, params, err := mime.ParseMediaType(header)
	if err != nil {
		return ""
	}
	return params["filename"]
}

// copyFile tells what the store says of the bytes from what the network says.
func copyFile(to io.Writer, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return bodyError(err)
		}
	}
}

func receiveForm(r *http.Request, boundary string, up io.Writer, meta *store.AttachmentMeta) error {
	if boundary == "" {
		return refuse(http.StatusBadRequest, codeMultipartInvalid)
	}
	form := multipart.NewReader(r.Body, boundary)
	got := false
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				return large
			}
			return refuse(http.StatusBadRequest, codeMultipartInvalid)
		}
		switch name := part.FormName(); {
		case name == "file" && !got:
			got = true
			if meta.Filename == "" {
				meta.Filename = part.FileName()
			}
			if meta.MediaType == "" {
				meta.MediaType = part.Header.Get("Content-Type")
			}
			if err := copyFile(up, part); err != nil {
				return err
			}
		case name == "kind" || name == "filename":
			value, err := io.ReadAll(io.LimitReader(part, 1024))
			if err != nil {
				return bodyError(err)
			}
			if name == "kind" {
				meta.Kind = string(value)
			} else {
				meta.Filename = string(value)
			}
		default:
			return refuseField("/"+mail.EscapePointer(mail.Shown(name)), codeFieldUnknown)
		}
	}
	if !got {
		return refuseField("/file", codeFileMissing)
	}
	return nil
}

// checkFile fills the defaults of a file's description and checks it.
func checkFile(meta *store.AttachmentMeta, size int64) error {
	var ps mail.Problems
	switch {
	case meta.Filename == "":
		ps.Add("/filename", mail.CodeFieldRequired)
	case !mail.CheckFilename(meta.Filename):
		ps.Add("/filename", mail.CodeFilenameInvalid, "filename", mail.Shown(meta.Filename))
	}
	if meta.MediaType == "" || meta.MediaType == "application/octet-stream" {
		meta.MediaType = mediaTypeOf(meta.Filename)
	}
	if !mail.CheckMediaType(meta.MediaType) {
		ps.Add("/media_type", mail.CodeMediaTypeInvalid, "media_type", mail.Shown(meta.MediaType))
	}
	if meta.Kind == "" {
		meta.Kind = "other"
	}
	known := false
	for _, k := range kinds {
		known = known || k == meta.Kind
	}
	if !known {
		ps.Add("/kind", mail.CodeValueUnknown, "value", mail.Shown(meta.Kind), "allowed", strings.Join(kinds, ", "))
	}
	if size == 0 {
		ps.Add("/file", codeFileEmpty)
	}
	return ps.Err()
}

// mediaTypeOf guesses by the name, from a list of our own: the system's differs from machine to machine.
func mediaTypeOf(filename string) string {
	switch strings.ToLower(path.Ext(filename)) {
	case ".pdf":
		return "application/pdf"
	case ".xml":
		return "application/xml"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".zip":
		return "application/zip"
	case ".docx":
		return "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	case ".xlsx":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	}
	return "application/octet-stream"
}

// getAttachment describes a file.
//
//	@Summary	Get an attachment
//	@ID			getAttachment
//	@Tags		attachments
//	@Produce	json
//	@Param		id	path		string	true	"Id of the attachment."
//	@Success	200	{object}	api.Attachment
//	@Router		/v1/attachments/{id} [get]
func (s *Server) getAttachment(c *gin.Context) error {
	a, err := s.attachmentInPath(c)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, attachmentOf(a))
}

func (s *Server) attachmentInPath(c *gin.Context) (*store.Attachment, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.store.Attachment(c.Request.Context(), tenantOf(c), id)
}

func attachmentOf(a *store.Attachment) api.Attachment {
	return api.Attachment{
		ID: a.ID, Filename: a.Filename, MediaType: a.MediaType, Kind: a.Kind, Size: a.Size, SHA256: a.SHA256, CreatedAt: a.CreatedAt,
	}
}

// getAttachmentContent gives a file's bytes.
//
//	@Summary		Get a file
//	@Description	The bytes as they were uploaded, to be saved and not shown. The ETag is their SHA-256.
//	@ID				getAttachmentContent
//	@Tags			attachments
//	@Produce		octet-stream
//	@Param			id				path		string	true	"Id of the attachment."
//	@Param			If-None-Match	header		string	false	"-"
//	@Success		200				{file}		binary
//	@Header			200				{string}	ETag				"-"
//	@Header			200				{string}	Content-Disposition	"The name it was uploaded with."
//	@Success		304				"The caller has the file."
//	@Router			/v1/attachments/{id}/content [get]
func (s *Server) getAttachmentContent(c *gin.Context) error {
	a, err := s.attachmentInPath(c)
	if err != nil {
		return err
	}
	if notModified(c, `"`+a.SHA256+`"`) {
		return nil
	}
	f, err := s.store.OpenAttachment(c.Request.Context(), a.TenantID, a.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	h := c.Writer.Header()
	h.Set("Content-Type", a.MediaType)
	h.Set("Content-Length", strconv.FormatInt(a.Size, 10))
	h.Set("Content-Disposition", disposition(a.Filename))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	c.Writer.WriteHeader(http.StatusOK)
	if _, err := io.Copy(c.Writer, f); err != nil {
		panic(http.ErrAbortHandler) // the length was promised: the caller must see that it is not whole
	}
	return nil
}

// disposition is RFC 6266: a plain name for old programs and the real one beside it (RFC 8187).
func disposition(filename string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, filename)
	if plain == filename {
		return `attachment; filename="` + plain + `"`
	}
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(filename), "+", "%20")
}
