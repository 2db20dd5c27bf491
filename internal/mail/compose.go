package mail

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Composer makes mails for one profile from one template. What is the same in every mail is worked out once, so a batch uses
// one Composer. It is safe for concurrent use; the profile and the template must not change meanwhile.
type Composer struct {
	profile   *Profile
	template  *Template
	idEnd     string // of Message-ID headers: "@dupont.example>"
	alwaysCC  []Recipient
	alwaysBCC []Recipient

	mu       sync.Mutex
	versions map[string]*version // by the language asked for, as it was written
	own      ownBody             // the last of the mails' own texts: those of a batch are often the same
}

type ownBody struct {
	texts Translation
	body  *body
	ps    Problems
}

// version is a Composer's work for one language.
type version struct {
	language  string
	locale    *locale
	body      *body // nil: each mail brings its own
	signature signature
	valid     bool // the language asked for is a language tag
}

// NewComposer makes a Composer. t may be nil: the mails bring their own content. Both have passed their Check.
func NewComposer(p *Profile, t *Template) *Composer {
	return &Composer{
		profile: p, template: t, idEnd: "@" + p.From.Domain() + ">", versions: map[string]*version{},
		alwaysCC: recipients(KindCC, p.AlwaysCC), alwaysBCC: recipients(KindBCC, p.AlwaysBCC),
	}
}

func recipients(kind RecipientKind, addresses []Address) []Recipient {
	rs := make([]Recipient, len(addresses))
	for i, a := range addresses {
		rs[i] = newRecipient(kind, a)
	}
	return rs
}

func newRecipient(kind RecipientKind, a Address) Recipient {
	r := Recipient{Address: a, Kind: kind, Status: RecipientPending}
	if form, _ := EnvelopeForm(a.Address); form != a.Address {
		r.ASCII = form
	}
	return r
}

// Language says in which language a mail is written that asks for one: the template's translation for that tag, for the tag
// cut from the right ("nl-be" → "nl"), or for the template's default. Mails with their own content are in the language they
// name. It is "" when there is none.
func (c *Composer) Language(asked string) string {
	return c.version(asked).language
}

func (c *Composer) version(asked string) *version {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.versions[asked]
	if !ok {
		const most = 100 // callers invent tags; real ones are few
		if len(c.versions) >= most {
			clear(c.versions)
		}
		if v = c.newVersion(NormalizeLanguage(asked)); v.valid {
			c.versions[asked] = v
		}
	}
	return v
}

// newVersion finds the signature in the language that is used: the exact tag, its base language, then the template's default
// language; a profile that has one signature only uses that one.
func (c *Composer) newVersion(asked string) *version {
	v := &version{language: asked, valid: asked == "" || CheckLanguage(asked)}
	choices := []string{asked}
	if c.template != nil {
		v.language, _ = pickLanguage(c.template.Translations, asked, c.template.DefaultLanguage)
		if texts, ok := c.template.Translations[v.language]; ok {
			v.body = compile(new(Problems), "", texts, c.template.Tokens, false)
		}
		if baseLanguage(asked) != baseLanguage(v.language) {
			choices[0] = v.language
		}
		choices = append(choices, v.language, c.template.DefaultLanguage)
	}
	v.locale = localeFor(v.language)
	if tag, ok := pickLanguage(c.profile.Signatures, choices...); ok {
		v.signature = newSignature(c.profile.Signatures[tag])
	} else if len(c.profile.Signatures) == 1 {
		for _, only := range c.profile.Signatures {
			v.signature = newSignature(only)
		}
	}
	return v
}

// Compose checks a mail and makes its content. Every problem is found at once; with any, the other results are nil. Pointers
// are those of the API's message: "/to/0/address", "/document/number", "/tokens/MONTANT", "/subject".
//
// The recipients are in the order to, cc, bcc, the profile's own after the mail's. An address is a recipient once, in the first
// place it has; the case of a domain does not make two. date is kept to the second. The draft is not changed, but the content
// shares its slices.
func (c *Composer) Compose(d *Draft, date time.Time) (*Content, []Recipient, Problems) {
	var ps Problems
	content := &Content{
		Format: formatOne, MessageIDHeader: c.messageID(d.MessageID), Date: date.UTC().Truncate(time.Second),
		From: c.profile.From, ReplyTo: d.ReplyTo, InReplyTo: d.InReplyTo, References: d.References,
		Headers: d.Headers, Automatic: d.Automatic, OverrideSuppression: d.OverrideSuppression, Attachments: d.Attachments,
	}
	if c.profile.Transport == "sendgrid" {
		content.Categories = d.Tags
	}
	if len(d.ReplyTo) == 0 {
		content.ReplyTo = c.profile.ReplyTo
	}
	rs := c.address(&ps, d, content)
	checkHeaders(&ps, d)

	v := c.version(d.Language)
	content.Language = v.language
	if !v.valid {
		ps.Add("/language", CodeLanguageInvalid, "value", Shown(d.Language))
	} else if c.template != nil && v.body == nil {
		ps.Add("/language", CodeTemplateLanguageMissing, "language", d.Language)
	}
	checkValues(&ps, d)
	b := v.body
	if c.template == nil {
		b = c.ownBody(&ps, Translation{Subject: d.Subject, Text: d.Text, HTML: d.HTML})
	}
	if b != nil {
		c.fill(&ps, d, v, b, content)
		checkAttachments(&ps, d.Attachments, b, v.signature.images)
	}
	if len(ps) > 0 {
		return nil, nil, ps
	}
	return content, rs, nil
}

func (c *Composer) ownBody(ps *Problems, texts Translation) *body {
	c.mu.Lock()
	own := c.own
	c.mu.Unlock()
	if own.body == nil || own.texts != texts {
		own = ownBody{texts: texts}
		own.body = compile(&own.ps, "", texts, nil, false)
		c.mu.Lock()
		c.own = own
		c.mu.Unlock()
	}
	*ps = append(*ps, own.ps...)
	return own.body
}

// messageID makes the Message-ID header of our id: the same for every attempt to send the mail, so that a mailbox that gets
// it twice can tell.
func (c *Composer) messageID(id string) string {
	_, unique, ok := strings.Cut(id, "_")
	if !ok {
		unique = id
	}
	if unique == "" {
		unique = "preview"
	}
	return "<" + strings.ToLower(unique) + c.idEnd
}

// maxRecipients counts To, Cc and Bcc together, without the profile's own.
const (
	maxRecipients = 100
	maxReplyTo    = 10
)

// address checks the mail's addresses and fills the content's To and CC.
func (c *Composer) address(ps *Problems, d *Draft, content *Content) []Recipient {
	if len(d.To) == 0 {
		ps.Add("/to", CodeRecipientsMissing)
	}
	if len(d.To)+len(d.CC)+len(d.BCC) > maxRecipients {
		ps.Add("/to", CodeTooManyRecipients, "max", strconv.Itoa(maxRecipients))
		return nil
	}
	if len(d.ReplyTo) > maxReplyTo {
		ps.Add("/reply_to", CodeTooMany, "max", strconv.Itoa(maxReplyTo))
	}
	checkAddresses(ps, "/reply_to", d.ReplyTo)
	checkAddresses(ps, "/to", d.To)
	checkAddresses(ps, "/cc", d.CC)
	checkAddresses(ps, "/bcc", d.BCC)
	if len(*ps) > 0 {
		return nil
	}

	all := recipientList{rs: make([]Recipient, 0, len(d.To)+len(d.CC)+len(d.BCC)+len(c.alwaysCC)+len(c.alwaysBCC))}
	all.addresses(KindTo, d.To)
	to := len(all.rs)
	all.addresses(KindCC, d.CC)
	all.add(c.alwaysCC)
	cc := len(all.rs)
	all.addresses(KindBCC, d.BCC)
	all.add(c.alwaysBCC)

	content.To, content.CC = d.To, d.CC
	if to < len(d.To) {
		content.To = addressesOf(all.rs[:to])
	}
	if cc-to != len(d.CC) || len(c.alwaysCC) > 0 {
		content.CC = addressesOf(all.rs[to:cc])
	}
	return all.rs
}

func checkAddresses(ps *Problems, at string, addresses []Address) {
	each(ps, at, addresses, func(sub *Problems, _ int, a *Address) { a.check(sub) })
}

func addressesOf(rs []Recipient) []Address {
	if len(rs) == 0 {
		return nil
	}
	addresses := make([]Address, len(rs))
	for i, r := range rs {
		addresses[i] = r.Address
	}
	return addresses
}

// recipientList keeps each address once. A mail has few: a map would cost more than it saves.
type recipientList struct {
	rs []Recipient
}

func (l *recipientList) addresses(kind RecipientKind, addresses []Address) {
	for _, a := range addresses {
		l.addOne(newRecipient(kind, a))
	}
}

func (l *recipientList) add(rs []Recipient) {
	for _, r := range rs {
		l.addOne(r)
	}
}

func (l *recipientList) addOne(r Recipient) {
	if !slices.ContainsFunc(l.rs, func(other Recipient) bool { return sameMailbox(r.Envelope(), other.Envelope()) }) {
		l.rs = append(l.rs, r)
	}
}

// sameMailbox compares envelope forms: local parts are told apart by case (RFC 5321 section 2.4), domains are not.
func sameMailbox(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	at := strings.LastIndexByte(a, '@') + 1
	return a[:at] == b[:at] && strings.EqualFold(a[at:], b[at:])
}

// fill makes the texts of the content.
func (c *Composer) fill(ps *Problems, d *Draft, v *version, b *body, content *Content) {
	vals := values{draft: d, docType: d.Document.Type, locale: v.locale}
	if c.template != nil {
		vals.declared = c.template.Tokens
		if vals.docType == "" {
			vals.docType = c.template.DocumentType
		}
		for _, name := range vals.declared {
			if _, ok := vals.own(name); !ok {
				note(&vals.unfilled, name)
			}
		}
	}
	content.Subject, _ = vals.build(b.subject, "", nil)
	if len(content.Subject) > 2*maxSubject {
		ps.Add("/subject", CodeFieldTooLong, "max", strconv.Itoa(2*maxSubject))
	}
	content.Text, content.TextValues = vals.build(b.text, v.signature.text, nil)
	if b.html != nil {
		content.HTML, content.HTMLValues = vals.build(b.html, v.signature.html, b.tail)
	}
	if vals.tooLarge {
		at := "/text"
		if b.html != nil {
			at = "/html"
		}
		ps.Add(at, CodeContentTooLarge, "max", strconv.Itoa(maxFilled))
	}
	for _, name := range vals.unfilled {
		at, token := "/tokens/"+name, name
		if b := builtinOf(name); b != ownToken {
			at = b.source()
			if b == tokenReminder {
				token = "{" + name + "}"
			}
		}
		ps.Add(at, CodeTokenUnfilled, "token", token)
	}
	for _, name := range vals.multiline {
		ps.Add("/tokens/"+name, CodeTokenLineBreak, "token", name)
	}
	for _, name := range vals.programs {
		at := "/tokens/" + name
		if _, own := vals.own(name); !own {
			at = builtinOf(name).source()
		}
		value, _ := vals.value(&part{name: name, builtin: builtinOf(name)})
		ps.Add(at, CodeHTMLActiveContent, "found", scriptScheme(value))
	}
}
