package server

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"log/slog"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/server/texts"
)

//go:embed consentpage.html
var consentHTML string

//go:embed consentpage.css
var consentCSS string

var (
	consentPage = template.Must(template.New("page").Parse(consentHTML))
	// The style is part of the page, and the browser takes no other (Content Security Policy Level 3 section 8.4).
	consentStyle = func() string {
		sum := sha256.Sum256([]byte(consentCSS))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

// consentView is what the template shows. Everything but CSS and Back is escaped.
type consentView struct {
	Lang, Title, Text string
	CSS               template.CSS
	Good, Bad         bool
	Facts             [][2]string
	Button, Note      string
	Back              template.URL // from the operator's list: see consent.Request
	BackLabel         string
	Footer            string
}

// consentStart is the page that says what will be connected.
//
//	@Summary		Start page of a consent
//	@Description	A page for a person: which firm and profile will be connected, and a button that leads to Google. It changes nothing but for a cookie, by which the browser is known again.
//	@ID				consentStart
//	@Tags			gmail
//	@Produce		html
//	@Param			ticket	query		string	true	"From the address that POST /v1/sender-profiles/{id}/authorization answers."
//	@Success		200		{string}	string	"What will be connected."
//	@Failure		400		{string}	string	"It cannot be, and why."
//	@Failure		500		{string}	string	"A fault of the service."
//	@Router			/oauth/google/start [get]
func (s *Server) consentStart(c *gin.Context) error {
	browser := s.browser(c)
	p, err := s.consent.Opened(c.Request.Context(), c.Query("ticket"), browser)
	if err != nil || p.Code != "" {
		s.failedPage(c, p, err)
		return nil
	}
	if browser == "" {
		browser = consent.NewBrowser()
	}
	http.SetCookie(c.Writer, &http.Cookie{ //nolint:gosec // Secure wherever there is TLS; without it the page is on loopback
		Name: s.browserCookie(), Value: browser, Path: "/", MaxAge: int(2 * consent.Validity.Seconds()), HttpOnly: true,
		Secure: s.consent.Secure(), SameSite: http.SameSiteLaxMode, // Lax: it comes along when Google sends the browser back, and with no form of another site
	})
	lang := pageLanguage(c, p)
	s.writePage(c, http.StatusOK, consentView{
		Lang: lang, Title: phrase(lang, "start_title"), Text: phrase(lang, "start_text"),
		Facts:  [][2]string{{phrase(lang, "firm"), p.Firm}, {phrase(lang, "profile"), p.Profile}, {phrase(lang, "mailbox"), p.From}},
		Button: phrase(lang, "start_button"), Note: phrase(lang, "start_note", "address", p.From), Footer: phrase(lang, "start_footer"),
	})
	return nil
}

// consentLeave sends the browser to Google.
//
//	@Summary		Go to Google from the start page
//	@Description	The button of the start page. It binds the consent to the browser by its cookie; a form of another site cannot press it.
//	@ID				consentLeave
//	@Tags			gmail
//	@Produce		html
//	@Param			ticket	query		string	true	"As for the start page."
//	@Success		303		"To Google's consent page."
//	@Header			303		{string}	Location	"-"
//	@Failure		400		{string}	string		"It cannot be, and why."
//	@Failure		500		{string}	string		"A fault of the service."
//	@Router			/oauth/google/start [post]
func (s *Server) consentLeave(c *gin.Context) error {
	browser := s.browser(c)
	// Browsers that say where a request comes from say it truthfully (Fetch Metadata, W3C).
	site := c.GetHeader("Sec-Fetch-Site")
	if browser == "" || site != "" && site != "same-origin" {
		s.failedPage(c, consent.Page{Code: consent.CodeOtherBrowser}, nil)
		return nil
	}
	address, p, err := s.consent.Leave(c.Request.Context(), c.Query("ticket"), browser)
	if err != nil || p.Code != "" {
		s.failedPage(c, p, err)
		return nil
	}
	c.Writer.Header().Set("Location", address)
	c.Writer.WriteHeader(http.StatusSeeOther)
	c.Writer.WriteHeaderNow()
	return nil
}

// consentCallback takes the browser back from Google.
//
//	@Summary		Callback page of a consent
//	@Description	A page for a person, where Google sends the browser back to: the mailbox is connected, or it is not, and why. Register its address as redirect URI at Google.
//	@ID				consentCallback
//	@Tags			gmail
//	@Produce		html
//	@Param			state	query		string	true	"The state that went to Google."
//	@Param			code	query		string	false	"The authorization code."
//	@Param			error	query		string	false	"Google's or the person's no (RFC 6749 section 4.1.2.1)."
//	@Param			scope	query		string	false	"Not used: the scopes that count are those of the token."
//	@Success		200		{string}	string	"The mailbox is connected."
//	@Failure		400		{string}	string	"It is not, and why. Nothing is left behind."
//	@Failure		500		{string}	string	"A fault of the service."
//	@Failure		502		{string}	string	"Google could not be reached. Nothing is left behind."
//	@Router			/oauth/google/callback [get]
func (s *Server) consentCallback(c *gin.Context) error {
	if c.Request.Method == http.MethodHead { // it would use up the consent and show nothing
		c.Writer.WriteHeader(http.StatusOK)
		return nil
	}
	p, err := s.consent.Finish(c.Request.Context(), c.Request.URL.Query(), s.browser(c))
	if err != nil || p.Code != "" {
		s.failedPage(c, p, err)
		return nil
	}
	lang := pageLanguage(c, p)
	v := consentView{
		Lang: lang, Good: true, Title: phrase(lang, "connected_title"), Text: phrase(lang, "connected_text", "account", p.Account),
		Facts: [][2]string{{phrase(lang, "firm"), p.Firm}, {phrase(lang, "profile"), p.Profile}},
	}
	if p.ReturnURL != "" { // otherwise the text says all there is to do
		v.back(lang, p)
	}
	s.writePage(c, http.StatusOK, v)
	return nil
}

// failedPage says why nothing was connected.
func (s *Server) failedPage(c *gin.Context, p consent.Page, err error) {
	status := http.StatusBadRequest
	switch {
	case err != nil:
		status, p.Code, p.Params = http.StatusInternalServerError, codeInternalError, nil
		s.log.Error("consent failed", slog.String("request_id", requestID(c)), slog.String("route", c.FullPath()), slog.Any("error", err))
	case p.Code == consent.CodeGoogleDown:
		status = http.StatusBadGateway
	}
	if err == nil {
		s.log.Info("consent came to nothing", slog.String("request_id", requestID(c)), slog.String("code", p.Code), slog.Any("cause", p.Cause))
	}
	lang := pageLanguage(c, p)
	v := consentView{Lang: lang, Bad: true}
	if p.Code != consent.CodeUsed { // what it was used for may well be good
		v.Note = phrase(lang, "failed_note")
	}
	v.Title, v.Text = texts.Lookup(lang, p.Code, p.Params)
	v.back(lang, p)
	s.writePage(c, status, v)
}

// back offers the way back: a link where the caller gave one, else the advice to close the window.
func (v *consentView) back(lang string, p consent.Page) {
	if p.ReturnURL == "" {
		v.Footer = phrase(lang, "close")
		return
	}
	v.Back, v.BackLabel = template.URL(p.ReturnURL), phrase(lang, "back") //nolint:gosec // from the operator's list
}

func (s *Server) writePage(c *gin.Context, status int, v consentView) {
	v.CSS = template.CSS(consentCSS) //nolint:gosec // ours
	var b bytes.Buffer
	if err := consentPage.Execute(&b, v); err != nil {
		s.log.Error("consent page", slog.String("request_id", requestID(c)), slog.Any("error", err))
		status = http.StatusInternalServerError
		b.Reset()
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	// Where a form's answer redirects to counts as the form's action, and so on: Google sends the people of a firm with a login of
	// its own straight on to that.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+consentStyle+"; form-action 'self' https: "+s.consent.AuthOrigin()+
		"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	c.Writer.WriteHeader(status)
	c.Writer.Write(b.Bytes()) //nolint:errcheck // the person closed the window
}

// browserCookie names the cookie that a consent is bound to. The prefix lets no other host of the domain set it (RFC 6265bis section 4.1.3).
func (s *Server) browserCookie() string {
	if s.consent.Secure() {
		return "__Host-facteur-consent"
	}
	return "facteur-consent"
}

// browser is the cookie's value; "" when there is none that can be ours.
func (s *Server) browser(c *gin.Context) string {
	v, err := c.Request.Cookie(s.browserCookie())
	if err != nil || !consent.GoodBrowser(v.Value) {
		return ""
	}
	return v.Value
}

// pageLanguage is the one that was asked for over the API, else the browser's.
func pageLanguage(c *gin.Context, p consent.Page) string {
	if slices.Contains([]string{"fr", "nl", "en", "de"}, p.Language) {
		return p.Language
	}
	return language(c)
}

func phrase(lang, key string, params ...string) string {
	return texts.Phrase(lang, "page", key, params...)
}
