package transporttest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// sendGridAccount is the identities of the parent account or of a subuser.
type sendGridAccount struct {
	senders []*sendGridSender
	domains []*sendGridDomain
}

// sendGridSender is a single sender (https://www.twilio.com/docs/sendgrid/api-reference/sender-verification).
type sendGridSender struct {
	ID          int    `json:"id"`
	Nickname    string `json:"nickname"`
	FromEmail   string `json:"from_email"`
	FromName    string `json:"from_name"`
	ReplyTo     string `json:"reply_to"`
	ReplyToName string `json:"reply_to_name"`
	Address     string `json:"address"`
	Address2    string `json:"address2"`
	State       string `json:"state"`
	City        string `json:"city"`
	Zip         string `json:"zip"`
	Country     string `json:"country"`
	Verified    bool   `json:"verified"`
	Locked      bool   `json:"locked"`
}

// sendGridDomain is an authenticated domain (https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication).
type sendGridDomain struct {
	ID                int                        `json:"id"`
	UserID            int                        `json:"user_id"`
	Subdomain         string                     `json:"subdomain"`
	Domain            string                     `json:"domain"`
	Username          string                     `json:"username"`
	IPs               []string                   `json:"ips"`
	CustomSPF         bool                       `json:"custom_spf"`
	Default           bool                       `json:"default"`
	Legacy            bool                       `json:"legacy"`
	AutomaticSecurity bool                       `json:"automatic_security"`
	Valid             bool                       `json:"valid"`
	DNS               map[string]*sendGridRecord `json:"dns"`

	published map[string]bool // by the name of the record
}

type sendGridRecord struct {
	Valid bool   `json:"valid"`
	Type  string `json:"type"`
	Host  string `json:"host"`
	Data  string `json:"data"`
}

// sendGridRecords are the names of a domain's records.
var sendGridRecords = []string{"mail_cname", "dkim1", "dkim2"}

// account gives a subuser's identities. The lock is held.
func (s *SendGrid) account(subuser string) *sendGridAccount {
	if s.accounts[subuser] == nil {
		s.accounts[subuser] = &sendGridAccount{}
	}
	return s.accounts[subuser]
}

// maySendFrom says whether an address is a verified sender or on an authenticated domain.
func (s *SendGrid) maySendFrom(subuser, address string) bool {
	if s.cfg.AnySender {
		return true
	}
	_, domain, _ := strings.Cut(address, "@")
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(subuser)
	return slices.ContainsFunc(a.senders, func(v *sendGridSender) bool { return v.Verified && strings.EqualFold(v.FromEmail, address) }) ||
		slices.ContainsFunc(a.domains, func(d *sendGridDomain) bool { return d.Valid && strings.EqualFold(d.Domain, domain) })
}

// Verify makes an address a verified single sender, or a domain an authenticated one, of a subuser ("": the parent account).
func (s *SendGrid) Verify(subuser, addressOrDomain string) {
	if !strings.Contains(addressOrDomain, "@") {
		s.Publish(subuser, addressOrDomain)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.domain(subuser, addressOrDomain).validate()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(subuser)
	for _, v := range a.senders {
		if strings.EqualFold(v.FromEmail, addressOrDomain) {
			v.Verified = true
			return
		}
	}
	s.lastID++
	a.senders = append(a.senders, &sendGridSender{ID: s.lastID, Nickname: addressOrDomain, FromEmail: addressOrDomain, ReplyTo: addressOrDomain, Verified: true})
}

// Unverify takes back what Verify gave.
func (s *SendGrid) Unverify(subuser, addressOrDomain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(subuser)
	a.senders = slices.DeleteFunc(a.senders, func(v *sendGridSender) bool { return strings.EqualFold(v.FromEmail, addressOrDomain) })
	a.domains = slices.DeleteFunc(a.domains, func(d *sendGridDomain) bool { return strings.EqualFold(d.Domain, addressOrDomain) })
}

// Publish puts records of a domain into the DNS, by their names in SendGrid's answers ("mail_cname", "dkim1", "dkim2"); none: all.
// They count once the domain is validated.
func (s *SendGrid) Publish(subuser, domain string, records ...string) {
	if len(records) == 0 {
		records = sendGridRecords
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domain(subuser, domain)
	for _, name := range records {
		d.published[name] = true
	}
}

// domain finds a domain, or begins its authentication. The lock is held.
func (s *SendGrid) domain(subuser, domain string) *sendGridDomain {
	a := s.account(subuser)
	for _, d := range a.domains {
		if strings.EqualFold(d.Domain, domain) {
			return d
		}
	}
	s.lastID++
	id := strconv.Itoa(s.lastID)
	d := &sendGridDomain{
		ID: s.lastID, UserID: 7, Subdomain: "em" + id, Domain: domain, Username: subuser, IPs: []string{}, AutomaticSecurity: true,
		DNS: map[string]*sendGridRecord{
			"mail_cname": {Type: "cname", Host: "em" + id + "." + domain, Data: "u7.wl" + id + ".sendgrid.net"},
			"dkim1":      {Type: "cname", Host: "s1._domainkey." + domain, Data: "s1.domainkey.u7.wl" + id + ".sendgrid.net"},
			"dkim2":      {Type: "cname", Host: "s2._domainkey." + domain, Data: "s2.domainkey.u7.wl" + id + ".sendgrid.net"},
		},
		published: map[string]bool{},
	}
	a.domains = append(a.domains, d)
	return d
}

// validate looks into the DNS.
func (d *sendGridDomain) validate() {
	d.Valid = true
	for name, record := range d.DNS {
		record.Valid = d.published[name]
		d.Valid = d.Valid && record.Valid
	}
}

// listSenders is GET /v3/verified_senders.
func (s *SendGrid) listSenders(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "senders", "")
	if step == nil {
		return
	}
	results := []sendGridSender{}
	after, _ := strconv.Atoi(r.URL.Query().Get("lastSeenID"))
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit <= 0 {
		limit = 50
	}
	s.mu.Lock()
	for _, v := range s.account(step.Subuser).senders {
		if v.ID > after && len(results) < limit {
			results = append(results, *v)
		}
	}
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"results": results})
}

// createSender is POST /v3/verified_senders. SendGrid sends a mail with a link; Verify is a click on it.
func (s *SendGrid) createSender(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "senders", "")
	if step == nil {
		return
	}
	var v sendGridSender
	if !readJSON(w, r, &v) {
		return
	}
	for _, f := range []struct{ name, value string }{
		{"nickname", v.Nickname}, {"from_email", v.FromEmail}, {"reply_to", v.ReplyTo}, {"address", v.Address}, {"city", v.City}, {"country", v.Country},
	} {
		if f.value == "" {
			sendGridError(w, http.StatusBadRequest, f.name, f.name+" is required")
			return
		}
	}
	if !isSendGridAddress(v.FromEmail) {
		sendGridError(w, http.StatusBadRequest, "from_email", "must be a valid email address")
		return
	}
	s.mu.Lock()
	a := s.account(step.Subuser)
	taken := slices.ContainsFunc(a.senders, func(o *sendGridSender) bool {
		return strings.EqualFold(o.FromEmail, v.FromEmail) || o.Nickname == v.Nickname
	})
	if !taken {
		s.lastID++
		v.ID, v.Verified, v.Locked = s.lastID, false, false
		kept := v
		a.senders = append(a.senders, &kept)
	}
	s.mu.Unlock()
	if taken {
		sendGridError(w, http.StatusBadRequest, "from_email", "already exists")
		return
	}
	answer(w, http.StatusCreated, v)
}

// deleteSender is DELETE /v3/verified_senders/{id}.
func (s *SendGrid) deleteSender(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "senders", "")
	if step == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(step.Subuser)
	before := len(a.senders)
	a.senders = slices.DeleteFunc(a.senders, func(v *sendGridSender) bool { return strconv.Itoa(v.ID) == r.PathValue("id") })
	if len(a.senders) == before {
		sendGridError(w, http.StatusNotFound, "", "resource not found")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// listDomains is GET /v3/whitelabel/domains.
func (s *SendGrid) listDomains(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "domains", "whitelabel.read")
	if step == nil {
		return
	}
	wanted := r.URL.Query().Get("domain")
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit <= 0 {
		limit = 50
	}
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	list := []*sendGridDomain{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.account(step.Subuser).domains {
		if wanted == "" || strings.Contains(d.Domain, wanted) {
			list = append(list, d)
		}
	}
	list = list[min(max(offset, 0), len(list)):]
	answer(w, http.StatusOK, list[:min(limit, len(list))])
}

// createDomain is POST /v3/whitelabel/domains.
func (s *SendGrid) createDomain(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "domains", "whitelabel.create")
	if step == nil {
		return
	}
	var q struct {
		Domain            string `json:"domain"`
		Subdomain         string `json:"subdomain"`
		AutomaticSecurity bool   `json:"automatic_security"`
	}
	if !readJSON(w, r, &q) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch a := s.account(step.Subuser); {
	case !strings.Contains(q.Domain, ".") || strings.Contains(q.Domain, "@"):
		sendGridError(w, http.StatusBadRequest, "domain", "invalid domain")
	case slices.ContainsFunc(a.domains, func(d *sendGridDomain) bool { return strings.EqualFold(d.Domain, q.Domain) }):
		sendGridError(w, http.StatusBadRequest, "domain", "an authenticated domain already exists for this URL")
	default:
		answer(w, http.StatusCreated, s.domain(step.Subuser, q.Domain))
	}
}

// getDomain is GET /v3/whitelabel/domains/{id}.
func (s *SendGrid) getDomain(w http.ResponseWriter, r *http.Request) {
	if step := s.begin(w, r, "domains", "whitelabel.read"); step != nil {
		s.withDomain(w, r, step, func(d *sendGridDomain) { answer(w, http.StatusOK, d) })
	}
}

// validateDomain is POST /v3/whitelabel/domains/{id}/validate.
func (s *SendGrid) validateDomain(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "domains", "whitelabel.update")
	if step == nil {
		return
	}
	s.withDomain(w, r, step, func(d *sendGridDomain) {
		d.validate()
		results := map[string]any{}
		for name, record := range d.DNS {
			result := map[string]any{"valid": record.Valid, "reason": nil}
			if !record.Valid {
				result["reason"] = "Expected " + strings.ToUpper(record.Type) + " for \"" + record.Host + "\" to match \"" + record.Data + "\", but found none."
			}
			results[name] = result
		}
		answer(w, http.StatusOK, map[string]any{"id": d.ID, "valid": d.Valid, "validation_results": results})
	})
}

// deleteDomain is DELETE /v3/whitelabel/domains/{id}.
func (s *SendGrid) deleteDomain(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "domains", "whitelabel.delete")
	if step == nil {
		return
	}
	s.withDomain(w, r, step, func(gone *sendGridDomain) {
		a := s.account(step.Subuser)
		a.domains = slices.DeleteFunc(a.domains, func(d *sendGridDomain) bool { return d == gone })
		w.WriteHeader(http.StatusNoContent)
	})
}

func (s *SendGrid) withDomain(w http.ResponseWriter, r *http.Request, step *SendGridStep, do func(*sendGridDomain)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.account(step.Subuser).domains {
		if strconv.Itoa(d.ID) == r.PathValue("id") {
			do(d)
			return
		}
	}
	sendGridError(w, http.StatusNotFound, "", "resource not found")
}
