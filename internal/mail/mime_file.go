package mail

import (
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// fileHeader writes the header of a file's part, and the empty line after it. The name is given in three ways, for programs of
// three ages: RFC 2231 (filename*=, first because some take the first of the two), ASCII without it (filename=), and for old
// Outlook in the Content-Type, in encoded words.
func (m *mimeWriter) fileHeader(a *Attachment, disposition string) {
	name := cleanFilename(a.Filename)
	plain := isVerbatim(name)

	m.b = append(append(m.b, "Content-Type: "...), mediaType(a.MediaType)...)
	m.b = append(m.b, ';')
	m.fold()
	m.b = append(m.b, " name="...)
	if plain {
		m.quoted(name)
	} else {
		m.encoded(name, inPhrase, '"')
		m.b = append(m.b, '"')
	}
	m.b = append(m.b, "\r\nContent-Transfer-Encoding: base64\r\n"...)
	if a.ContentID != "" {
		m.b = append(append(append(m.b, "Content-ID: <"...), a.ContentID...), ">\r\n"...)
	}
	m.b = append(append(append(m.b, "Content-Disposition: "...), disposition...), ';')
	m.fold()
	if !plain {
		m.b = append(m.b, " filename*=utf-8''"...)
		m.percent(name)
		m.b = append(m.b, ';')
		m.fold()
		name = asciiFilename(name)
	}
	m.b = append(m.b, " filename="...)
	m.quoted(name)
	m.b = append(m.b, "\r\n\r\n"...)
}

// quoted writes printable ASCII as a quoted-string.
func (h *headerWriter) quoted(s string) {
	h.b = append(append(append(h.b, '"'), escapeQuoted(s)...), '"')
}

// percent writes an extended value (RFC 8187 section 3.2.1, of RFC 2231). It is not cut in pieces: fewer programs read those
// than read a long line.
func (h *headerWriter) percent(s string) {
	for i := range len(s) {
		if c := s[i]; isLetterOrDigit(c) || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			h.b = append(h.b, c)
		} else {
			h.b = append(h.b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
}

// mediaType gives the media type as it goes into the header: lower case, its charset the only parameter left. XML is
// application/xml, because text types are rewritten on the way; what is no media type is application/octet-stream.
func mediaType(s string) string {
	switch s {
	case "application/pdf", "application/xml":
		return s
	}
	if !CheckMediaType(s) {
		return "application/octet-stream"
	}
	t, params, _ := mime.ParseMediaType(s) // CheckMediaType has seen the error
	if t == "text/xml" {
		t = "application/xml"
	}
	if charset := params["charset"]; isFieldName(charset) {
		t += "; charset=" + charset
	}
	return t
}

// cleanFilename is cleanLine for a file's name: one that CheckFilename refuses loses what it refused.
func cleanFilename(s string) string {
	if CheckFilename(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || !unicode.IsGraphic(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxFilename {
		cut := maxFilename
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	if strings.Trim(s, ".") == "" {
		return "attachment"
	}
	return s
}

// asciiFilename is what is left of a name for a program that knows ASCII only: it keeps the letters of western Europe without
// their accents, and the ending.
func asciiFilename(s string) string {
	const first, bare = 'À', "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYTsaaaaaaaceeeeiiiidnooooo_ouuuuyty"
	return strings.Map(func(r rune) rune {
		switch {
		case r >= first && r < first+rune(len(bare)):
			return rune(bare[r-first])
		case r == '–' || r == '—':
			return '-'
		case r >= utf8.RuneSelf || r == '?' || r == '=':
			return '_'
		}
		return r
	}, s)
}
