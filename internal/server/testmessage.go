package server

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// testTexts is what a test message says, by language.
var testTexts = map[string]struct{ subject, text string }{
	"fr": {"Message de test", "Bonjour,\n\nSi vous lisez ce message, ces réglages d'envoi fonctionnent."},
	"nl": {"Testbericht", "Dag,\n\nAls u dit bericht leest, werken deze verzendinstellingen."},
	"en": {"Test message", "Hello,\n\nIf you can read this message, these settings for sending work."},
	"de": {"Testnachricht", "Guten Tag,\n\nwenn Sie diese Nachricht lesen, funktionieren diese Einstellungen für den Versand."},
}

// sendTestMessage sends a short mail with a profile.
//
//	@Summary		Send a test message
//	@Description	Sends a short fixed text with the profile to the given address, as any other mail: it is stored, has an id, and its outcome can be asked for.
//	@ID				sendTestMessage
//	@Tags			sender-profiles
//	@Accept			json
//	@Produce		json
//	@Param			id				path		string					true	"Id of the profile."
//	@Param			Idempotency-Key	header		string					false	"-"
//	@Param			test			body		api.TestMessageRequest	true	"Who gets it."
//	@Success		202				{object}	api.AcceptedMessage		"It is stored."
//	@Header			202				{string}	Location				"-"
//	@Failure		422				{object}	api.Problem
//	@Failure		503				{object}	api.Problem
//	@Router			/v1/sender-profiles/{id}/test-message [post]
func (s *Server) sendTestMessage(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.TestMessageRequest
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		profile, err := s.profileInPath(c)
		if err != nil {
			return nil, err
		}
		if err := needAddOn(profile); err != nil {
			return nil, err
		}
		lang := language(c)
		if req.Language != "" {
			lang = texts.Language(req.Language)
		}
		text := testTexts[lang]
		w, err := s.prepare(c, &sendRequest{
			purpose: outbox.PurposeOneOff, profileID: profile.ID, job: store.JobDetail{Name: text.subject},
			mails: []api.Mail{{To: []api.Address{req.To}, Language: lang, Subject: text.subject, Text: text.text}},
			at:    func(int) string { return "" },
		}, &f)
		if err != nil {
			return nil, pointAtTo(err)
		}
		a, err := w.submit(id, func(r *outbox.Receipt) (*answer, error) { return w.acceptedMessage(r, nil) })
		return a, pointAtTo(err)
	})
}

// pointAtTo makes the pointers of a mail's first recipient those of the one that a test message has.
func pointAtTo(err error) error {
	r, ok := err.(*refusal) //nolint:errorlint // made by the caller
	if !ok || r.status != http.StatusUnprocessableEntity {
		return err
	}
	r.problems = slices.Clone(r.problems)
	for i := range r.problems {
		if rest, ok := cutPrefix(r.problems[i].Pointer, "/to/0"); ok {
			r.problems[i].Pointer = "/to" + rest
		}
	}
	return r
}
