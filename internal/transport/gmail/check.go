package gmail

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// Check asks for an access token and, with it, whose account it is: the profile's own or one of its declared aliases. The scope
// gmail.send covers no call of the Gmail API that sends nothing. A profile that opted in to reading is also looked up among the
// addresses that the account may send as, because Gmail puts its own address in the place of a From that it does not know.
func (t *Transport) Check(ctx context.Context, p *mail.Profile) []transport.CheckStep {
	login := transport.CheckStep{Name: stepLogin, OK: true}
	sender := transport.CheckStep{Name: stepSender, OK: true}
	failed := func(s transport.CheckStep, v mail.Verdict) transport.CheckStep {
		s.OK, s.Code, s.Reply = false, v.Code, v.Reply
		return s
	}
	token, err := t.token(ctx, p, "")
	if err != nil {
		return []transport.CheckStep{failed(login, verdictOf(err))}
	}
	account, err := t.account(ctx, p, &token)
	if err != nil {
		v := verdictOf(err)
		if v.Code == CodeReauthorizationRequired {
			return []transport.CheckStep{failed(login, v)}
		}
		return []transport.CheckStep{login, failed(sender, v)}
	}
	switch {
	case !p.MayConnect(account):
		sender = failed(sender, mail.Verdict{Code: CodeAccountMismatch, Reply: mail.Reply{Text: "connected as " + account}})
	case settings(p).Reconcile && !mail.SameMailbox(account, p.From.Address):
		if err := t.maySendAs(ctx, p.From.Address, token); err != nil {
			sender = failed(sender, verdictOf(err))
		}
	}
	return []transport.CheckStep{login, sender}
}

func settings(p *mail.Profile) mail.GmailSettings {
	if p.Gmail == nil {
		return mail.GmailSettings{}
	}
	return *p.Gmail
}

// account asks whose the token is. A token that Google refuses is renewed once, in place.
func (t *Transport) account(ctx context.Context, p *mail.Profile, token *string) (string, error) {
	for renewed := false; ; renewed = true {
		x := t.get(ctx, t.userinfoURL, *token)
		if x.Status == http.StatusOK {
			var info struct {
				Email    string `json:"email"`
				Verified bool   `json:"email_verified"`
			}
			failure := mail.Verdict{Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeScopeMissing, Step: stepSender}
			err := json.Unmarshal(x.Body, &info)
			switch {
			case err != nil:
				failure.Outcome, failure.Code = temporary, CodeProtocolError
			case info.Email == "" || !info.Verified:
				err = errors.New("gmail: userinfo has no verified address")
			}
			if err != nil {
				return "", &transport.Error{Verdict: failure, Err: err}
			}
			return info.Email, nil
		}
		if x.Status != http.StatusUnauthorized || renewed {
			return "", readFailure(x, stepSender)
		}
		var err error
		if *token, err = t.token(ctx, p, *token); err != nil {
			return "", err
		}
	}
}

// get makes a call that changes nothing.
func (t *Transport) get(ctx context.Context, address, token string) exchange {
	u, err := url.Parse(address)
	if err != nil {
		return exchange{Err: err, Now: time.Now()}
	}
	return t.http.Call(ctx, http.MethodGet, u, http.Header{"Authorization": {"Bearer " + token}}, nil, t.timeouts.Read, token)
}

// readFailure is the verdict on a call that changes nothing and did not work.
func readFailure(x exchange, step string) *transport.Error {
	x.Whole = false
	v := classify(x)
	v.Step = step
	return &transport.Error{Verdict: v, Err: x.Err}
}
