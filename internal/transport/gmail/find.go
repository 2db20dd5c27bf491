package gmail

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	api "google.golang.org/api/gmail/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

var _ transport.Finder = (*Transport)(nil)

// Find implements transport.Finder for profiles that opted in to gmail.readonly, the least scope that may search
// (https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages/list). A mail that its user has moved to
// the trash was sent all the same.
func (t *Transport) Find(ctx context.Context, p *mail.Profile, messageID string) (string, bool, error) {
	id := strings.TrimSuffix(strings.TrimPrefix(messageID, "<"), ">")
	if !settings(p).Reconcile {
		return "", false, transport.ErrCannotFind
	}
	if id == "" || strings.ContainsAny(id, " \t\r\n\"(){}<>") { // an operator of a search, or the end of one
		return "", false, errors.New("gmail: not a message id")
	}
	token, err := t.token(ctx, p, "")
	if err != nil {
		return "", false, err
	}
	var found *api.ListMessagesResponse
	search := func(ctx context.Context, s *api.Service) (err error) {
		found, err = s.Users.Messages.List("me").Q("rfc822msgid:" + id).LabelIds("SENT").IncludeSpamTrash(true).MaxResults(1).
			Fields("messages(id,threadId)").Context(ctx).Do()
		return err
	}
	err = t.read(ctx, token, search)
	if err != nil && verdictOf(err).Code == CodeReauthorizationRequired {
		if token, err = t.token(ctx, p, token); err != nil {
			return "", false, err
		}
		err = t.read(ctx, token, search)
	}
	if err != nil || len(found.Messages) == 0 {
		return "", false, err
	}
	return evidenceOf(found.Messages[0]), true, nil
}

// maySendAs looks for a From among the addresses that Gmail lets the account send as, once its owner has proved that it is his
// (https://support.google.com/mail/answer/22370).
func (t *Transport) maySendAs(ctx context.Context, from, token string) error {
	var list *api.ListSendAsResponse
	err := t.read(ctx, token, func(ctx context.Context, s *api.Service) (err error) {
		list, err = s.Users.Settings.SendAs.List("me").Fields("sendAs(sendAsEmail,isPrimary,verificationStatus)").Context(ctx).Do()
		return err
	})
	if err != nil {
		return err
	}
	for _, a := range list.SendAs {
		if mail.SameMailbox(a.SendAsEmail, from) && (a.IsPrimary || a.VerificationStatus == "accepted") {
			return nil
		}
	}
	return &transport.Error{Err: errors.New("gmail: not a send-as address"), Verdict: mail.Verdict{
		Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeSenderNotAllowed, Step: stepSender,
	}}
}

// read makes a call that changes nothing through Google's own client. Errors are *transport.Error.
func (t *Transport) read(ctx context.Context, token string, call func(context.Context, *api.Service) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeouts.Read, onepost.ErrTooSlow)
	defer cancel()
	x := exchange{}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { x.Connected = true }})
	client := &http.Client{
		Transport: bearer{t.http, token},
		// A token goes where it was meant to go and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	service, err := api.NewService(ctx, option.WithHTTPClient(client), option.WithEndpoint(t.base.String()))
	if err == nil {
		err = call(ctx, service)
	}
	if err == nil {
		return nil
	}
	var refused *googleapi.Error
	if errors.As(err, &refused) {
		x.Status, x.Header = refused.Code, refused.Header
		x.Body = []byte(strings.ReplaceAll(refused.Body, token, "…"))
	}
	if strings.Contains(err.Error(), token) {
		err = errors.New(strings.ReplaceAll(err.Error(), token, "…"))
	}
	x.Err, x.Now = err, time.Now()
	if cause := context.Cause(ctx); cause != nil {
		x.Err = cause
	}
	return readFailure(x, stepFinal)
}

// bearer adds the token below Google's client, where nothing of it is ever logged.
type bearer struct {
	http  http.RoundTripper
	token string
}

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token)
	return b.http.RoundTrip(req)
}
