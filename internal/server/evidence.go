package server

import (
	"strconv"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// lineEnds are the words for how a line ended after the whole mail, by what the drivers say of it.
var lineEnds = map[string]string{
	mail.LineClosed: "closed", mail.LineReset: "reset", mail.LineBroke: "broke", mail.LineTimeout: "timeout", mail.LineGarbled: "garbled",
}

// evidenceText says in words what is known of an attempt whose outcome is uncertain.
func evidenceText(lang string, a *store.Attempt) string {
	d := &a.Detail
	switch {
	case d.Code == mail.CodeWorkerLost, d.Code == outbox.CodeInternal:
		return texts.Phrase(lang, "evidence", "interrupted")
	case d.Reply.Code != 0:
		return texts.Phrase(lang, "evidence", "answered", "code", strconv.Itoa(d.Reply.Code))
	}
	key, ok := lineEnds[d.Reply.Text]
	if !ok {
		key = "unknown"
	}
	return texts.Phrase(lang, "evidence", key)
}
