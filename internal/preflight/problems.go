package preflight

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/winprest/facteur/internal/mail"
)

// Severity says what a problem means for the mail.
type Severity string

const (
	Blocking Severity = "blocking" // it would be refused, would fail, or would bring somebody what is not his
	Warning  Severity = "warning"  // it can go, but somebody should look first
	Info     Severity = "info"     // good to know
)

// Codes of what only this package finds, with the names of their params.
const (
	CodeProfileNotReady       = "profile_not_ready"
	CodeProfilePaused         = "profile_paused"
	CodeProfileUnchecked      = "profile_unchecked"
	CodeDomainTypo            = "domain_typo"              // address, suggestion
	CodeDomainWithoutMail     = "domain_without_mail"      // address, domain
	CodeDomainRefusesMail     = "domain_refuses_mail"      // address, domain
	CodeDomainsUnchecked      = "domains_unchecked"        // count, domain
	CodeDocumentSentBefore    = "document_sent_before"     // number, recipient, at, message_id
	CodeDocumentAcceptedEarly = "document_accepted_before" // likewise
	CodeTokenUnknown          = "token_unknown"            // token
	CodeLanguageNotInTemplate = "language_not_in_template" // language, used
	CodeFileEmpty             = "file_empty"
	CodeFileNotPDF            = "file_not_pdf"            // filename
	CodeFileNotXML            = "file_not_xml"            // filename
	CodeFileDoctype           = "file_doctype"            // filename
	CodeFileNotUBL            = "file_not_ubl"            // filename
	CodeFileOfAnotherDocument = "file_of_other_document"  // filename, found, number
	CodeFileOfAnotherClient   = "file_of_another_client"  // filename, other
	CodeMessageTooLarge       = "message_over_size_limit" // size, limit
	CodeDayLimit              = "day_limit_exceeded"      // max, days
)

// Problem is one entry of the list.
type Problem struct {
	mail.Problem
	Severity Severity
	Remedy   string               // key of a text on what to do
	Message  *Ref                 // nil: the batch
	Cause    *mail.ProfileTrouble // of CodeProfileNotReady and CodeProfilePaused
}

// Count is how often there is a problem.
type Count struct {
	Code     string
	Severity Severity
	Count    int
	Listed   int
}

const (
	maxListed  = 1000 // problems in a result
	maxPerCode = 200  // of one code and severity
)

type kind struct {
	severity Severity
	code     string
}

// collector counts problems and keeps some. The zero collector is ready.
type collector struct {
	kinds map[kind]*kept
	said  map[string]bool // of the batch: pointer and code
}

type kept struct {
	n    int
	list []Problem
}

func (c *collector) put(p Problem) {
	if c.kinds == nil {
		c.kinds = map[kind]*kept{}
	}
	k := c.kinds[kind{p.Severity, p.Code}]
	if k == nil {
		k = &kept{}
		c.kinds[kind{p.Severity, p.Code}] = k
	}
	k.n++
	if len(k.list) < maxPerCode {
		p.Remedy = remedyOf(p.Code)
		if p.Message != nil {
			ref := *p.Message
			p.Message = &ref // the page goes
		}
		k.list = append(k.list, p)
	}
}

// more counts problems of a kind that are not kept.
func (c *collector) more(severity Severity, code string, n int) {
	if n > 0 {
		c.kinds[kind{severity, code}].n += n
	}
}

// add adds a problem of a message, nil for the batch; params are key, value pairs.
func (c *collector) add(m *Message, severity Severity, pointer, code string, params ...string) {
	var ps mail.Problems
	ps.Add(pointer, code, params...)
	p := Problem{Problem: ps[0], Severity: severity}
	if m != nil {
		p.Message = &m.Ref
	}
	c.put(p)
}

// fault adds what would have the request refused. One that is not about the message's own fields is about all, and said once.
func (c *collector) fault(m *Message, p mail.Problem) {
	if p.Pointer != m.At && !strings.HasPrefix(p.Pointer, m.At+"/") {
		c.once(p)
		return
	}
	c.put(Problem{Problem: p, Severity: Blocking, Message: &m.Ref})
}

func (c *collector) once(p mail.Problem) {
	if c.first(p.Pointer, p.Code) {
		c.put(Problem{Problem: p, Severity: Blocking})
	}
}

// first says whether this was not said of the batch yet.
func (c *collector) first(pointer, code string) bool {
	key := pointer + " " + code
	if c.said[key] {
		return false
	}
	if c.said == nil {
		c.said = map[string]bool{}
	}
	c.said[key] = true
	return true
}

// into lists the gravest problems, as many as there is room for, in the order of the messages; those of the batch come first.
func (c *collector) into(r *Result) {
	order := []Severity{Blocking, Warning, Info}
	for k, v := range c.kinds {
		r.Counts = append(r.Counts, Count{Code: k.code, Severity: k.severity, Count: v.n})
	}
	slices.SortFunc(r.Counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity)), cmp.Compare(a.Code, b.Code))
	})
	for i := range r.Counts {
		n := &r.Counts[i]
		list := c.kinds[kind{n.Severity, n.Code}].list
		n.Listed = min(len(list), maxListed-len(r.Problems))
		r.Problems = append(r.Problems, list[:n.Listed]...)
		r.Omitted += n.Count - n.Listed
	}
	index := func(p *Problem) int {
		if p.Message == nil {
			return -1
		}
		return p.Message.Index
	}
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(index(&a), index(&b)), cmp.Compare(a.Pointer, b.Pointer))
	})
}

// remedies are the texts on what to do, by what their problems' codes begin with; the first that fits.
var remedies = []struct{ remedy, prefixes string }{
	{"sender", "profile_ sender_"},
	{"address", "address_ recipients_ too_many_recipients domain_"},
	{"unchecked", "domains_"},
	{"once_more", "document_"},
	{"suppression", "recipient_"},
	{"size", "message_over file_too_large"},
	{"limit", "day_limit"},
	{"another_client", "file_of_"},
	{"file", "file_ filename_ media_type_ content_id_ inline_image_ attachment_ base64_"},
	{"token", "token_"},
	{"template", "template_ content_ html_ language_"},
	{"field", ""},
}

// remedyOf gives the key of the text on what to do about a code.
func remedyOf(code string) string {
	for _, r := range remedies {
		for prefix := range strings.SplitSeq(r.prefixes, " ") {
			if strings.HasPrefix(code, prefix) {
				return r.remedy
			}
		}
	}
	return ""
}

// Remedies lists the keys of all texts on what to do.
func Remedies() []string {
	keys := make([]string, len(remedies))
	for i, r := range remedies {
		keys[i] = r.remedy
	}
	return keys
}

func itoa(n int) string { return strconv.Itoa(n) }
