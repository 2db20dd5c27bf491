package sendgrid

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// Client is an account at SendGrid: a key, perhaps on behalf of a subuser. Its errors are *transport.Error with a verdict; none
// has anything of the key. It is safe for concurrent use.
type Client struct {
	t       *Transport
	key     *key
	subuser string
}

// header is of every call. There is never an Idempotency-Key: net/http would take it for leave to send again.
func (c *Client) header() http.Header {
	h := http.Header{"Authorization": {"Bearer " + c.key.secret}, "Content-Type": {"application/json"}, "User-Agent": {"facteur"}}
	if c.subuser != "" {
		h["On-Behalf-Of"] = []string{c.subuser}
	}
	return h
}

// call makes a call that sends no mail. into may be nil.
func (c *Client) call(ctx context.Context, method string, path string, query url.Values, body, into any) (onepost.Exchange, error) {
	u := c.key.base.JoinPath(path)
	u.RawQuery = query.Encode()
	var doc []byte
	if body != nil {
		var err error
		if doc, err = json.Marshal(body); err != nil {
			return onepost.Exchange{}, &transport.Error{Err: err, Verdict: mail.Verdict{Outcome: permanent, Scope: mail.ScopeMessage, Code: CodeMessageInvalid, Step: stepLogin}}
		}
	}
	x := c.t.http.Call(ctx, method, u, c.header(), doc, c.t.timeouts.Read, c.key.secret)
	if x.Status/100 != 2 {
		v := classify(x)
		v.Step = stepLogin
		return x, &transport.Error{Verdict: v, Err: failure(v)}
	}
	if into == nil {
		return x, nil
	}
	if err := json.Unmarshal(x.Body, into); err != nil {
		return x, &transport.Error{Err: err, Verdict: mail.Verdict{
			Outcome: temporary, Scope: mail.ScopeProfile, Code: CodeProtocolError, Step: stepLogin, Reply: mail.Reply{Code: x.Status},
		}}
	}
	return x, nil
}

// Scopes are the key's permissions (https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions).
func (c *Client) Scopes(ctx context.Context) ([]string, error) {
	var answer struct {
		Scopes []string `json:"scopes"`
	}
	_, err := c.call(ctx, http.MethodGet, "v3/scopes", nil, nil, &answer)
	return answer.Scopes, err
}

// VerifiedSender is a single sender (https://www.twilio.com/docs/sendgrid/api-reference/sender-verification). Whoever opens the
// link in the mail that SendGrid sends to FromEmail verifies it.
type VerifiedSender struct {
	ID          int64  `json:"id,omitempty"`
	Nickname    string `json:"nickname"` // of the account's own; unique
	FromEmail   string `json:"from_email"`
	FromName    string `json:"from_name,omitempty"`
	ReplyTo     string `json:"reply_to"`
	ReplyToName string `json:"reply_to_name,omitempty"`
	// A law of the United States has them in commercial mail, and SendGrid wants them of everybody.
	Address  string `json:"address"`
	Address2 string `json:"address2,omitempty"`
	City     string `json:"city"`
	State    string `json:"state,omitempty"`
	Zip      string `json:"zip,omitempty"`
	Country  string `json:"country"`

	Verified bool `json:"verified,omitempty"`
	Locked   bool `json:"locked,omitempty"`
}

// pageSize is of lists, and maxPages is where one ends that never does.
const (
	pageSize = 100
	maxPages = 100
)

// VerifiedSenders are all single senders of the account, verified or not.
func (c *Client) VerifiedSenders(ctx context.Context) ([]VerifiedSender, error) {
	var all []VerifiedSender
	var last int64
	for range maxPages {
		query := url.Values{"limit": {strconv.Itoa(pageSize)}}
		if last > 0 {
			query.Set("lastSeenID", strconv.FormatInt(last, 10))
		}
		var page struct {
			Results []VerifiedSender `json:"results"`
		}
		if _, err := c.call(ctx, http.MethodGet, "v3/verified_senders", query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Results...)
		if len(page.Results) < pageSize {
			break
		}
		last = page.Results[len(page.Results)-1].ID
	}
	return all, nil
}

// CreateVerifiedSender makes a single sender and has SendGrid mail the link to its address.
func (c *Client) CreateVerifiedSender(ctx context.Context, s VerifiedSender) (VerifiedSender, error) {
	s.ID, s.Verified, s.Locked = 0, false, false
	var made VerifiedSender
	_, err := c.call(ctx, http.MethodPost, "v3/verified_senders", nil, s, &made)
	return made, err
}

// DeleteVerifiedSender forgets a single sender; the link that was mailed for it proves nothing any more.
func (c *Client) DeleteVerifiedSender(ctx context.Context, id int64) error {
	_, err := c.call(ctx, http.MethodDelete, "v3/verified_senders/"+strconv.FormatInt(id, 10), nil, nil, nil)
	return err
}

// Domain is an authenticated domain, or one that is to be (https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication).
type Domain struct {
	ID        int64                `json:"id"`
	Subdomain string               `json:"subdomain"`
	Domain    string               `json:"domain"`
	Username  string               `json:"username"` // of the subuser, or of the account
	Valid     bool                 `json:"valid"`    // every record was found: mail may be sent from every address at Domain
	DNS       map[string]DNSRecord `json:"dns"`      // "mail_cname", "dkim1", "dkim2", or "mail_server", "subdomain_spf", "dkim"
}

// DNSRecord is a record to publish.
type DNSRecord struct {
	Type  string `json:"type"` // "cname", "txt" or "mx"
	Host  string `json:"host"` // a whole name: "s1._domainkey.zoe.example"
	Data  string `json:"data"`
	Valid bool   `json:"valid"` // as of the last validation
}

// Domains are the account's, valid or not. domain narrows them to the one of that name, unless empty.
func (c *Client) Domains(ctx context.Context, domain string) ([]Domain, error) {
	var all []Domain
	for page := range maxPages {
		query := url.Values{"limit": {strconv.Itoa(pageSize)}, "offset": {strconv.Itoa(page * pageSize)}}
		if domain != "" {
			query.Set("domain", domain)
		}
		var list []Domain
		if _, err := c.call(ctx, http.MethodGet, "v3/whitelabel/domains", query, nil, &list); err != nil {
			return nil, err
		}
		for _, d := range list {
			if domain == "" || sameDomain(d.Domain, domain) { // SendGrid's filter takes parts of names, too
				all = append(all, d)
			}
		}
		if len(list) < pageSize {
			break
		}
	}
	return all, nil
}

// Domain is one of the account's domains.
func (c *Client) Domain(ctx context.Context, id int64) (Domain, error) {
	var d Domain
	_, err := c.call(ctx, http.MethodGet, "v3/whitelabel/domains/"+strconv.FormatInt(id, 10), nil, nil, &d)
	return d, err
}

// AuthenticateDomain begins the authentication of a domain, and gives the records that its owner has to publish.
func (c *Client) AuthenticateDomain(ctx context.Context, domain string) (Domain, error) {
	var d Domain
	_, err := c.call(ctx, http.MethodPost, "v3/whitelabel/domains", nil, map[string]any{"domain": domain, "automatic_security": true}, &d)
	return d, err
}

// DeleteDomain forgets a domain; its records prove nothing any more.
func (c *Client) DeleteDomain(ctx context.Context, id int64) error {
	_, err := c.call(ctx, http.MethodDelete, "v3/whitelabel/domains/"+strconv.FormatInt(id, 10), nil, nil, nil)
	return err
}

// Validation is what SendGrid found in the DNS.
type Validation struct {
	ID      int64                       `json:"id"`
	Valid   bool                        `json:"valid"`
	Records map[string]RecordValidation `json:"validation_results"` // by the names of Domain.DNS
}

// RecordValidation is what was found of one record.
type RecordValidation struct {
	Valid  bool   `json:"valid"`
	Reason string `json:"reason"` // SendGrid's words when it is not valid
}

// ValidateDomain has SendGrid look into the DNS.
func (c *Client) ValidateDomain(ctx context.Context, id int64) (Validation, error) {
	var v Validation
	_, err := c.call(ctx, http.MethodPost, "v3/whitelabel/domains/"+strconv.FormatInt(id, 10)+"/validate", nil, nil, &v)
	return v, err
}
