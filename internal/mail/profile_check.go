package mail

import (
	"crypto/x509"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Limits of a profile; texts in bytes.
const (
	maxOwnerRef          = 100
	maxAlways            = 20 // addresses of always_cc and of always_bcc
	maxSignature         = 64 << 10
	maxProfileFiles      = 20
	maxConnections       = 50
	maxPerWindow         = 1_000_000 // mails of a minute, an hour or a day
	maxLogin             = 1000      // a user name or password; access tokens are long
	maxCertificates      = 256 << 10
	maxTransport         = 50
	maxGmailClient       = 50
	maxSignatureLanguage = 50
)

// Check finds every problem of a profile's settings, as far as they can be judged without asking anybody: not whether the
// server exists, nor whether the transport is one that this process has. Pointers are those of the API's sender profile:
// "/from/address", "/smtp/host", "/signatures/fr/html". No param holds a secret.
func (p *Profile) Check() Problems {
	var ps Problems
	checkOneOf(&ps, "/level", p.Level, LevelUser, LevelCompany)
	requireLine(&ps, "/owner_ref", p.OwnerRef, maxOwnerRef)
	requireLine(&ps, "/name", p.Name, maxName)
	ps.Under("/from", p.From.Check())
	checkAlways(&ps, "/reply_to", p.ReplyTo, maxReplyTo)
	checkAlways(&ps, "/always_cc", p.AlwaysCC, maxAlways)
	checkAlways(&ps, "/always_bcc", p.AlwaysBCC, maxAlways)
	p.checkSignatures(&ps)
	if len(p.Attachments) > maxProfileFiles {
		ps.Add("/attachments", CodeTooMany, "max", strconv.Itoa(maxProfileFiles))
	}
	for i, a := range p.Attachments {
		at := "/attachments/" + strconv.Itoa(i)
		requireLine(&ps, at+"/attachment_id", a.AttachmentID, maxField)
		for j, tag := range a.Languages {
			checkLanguageTag(&ps, at+"/languages/"+strconv.Itoa(j), tag)
		}
	}
	requireLine(&ps, "/transport", p.Transport, maxTransport)
	switch {
	case p.SMTP != nil:
		p.SMTP.check(&ps)
	case p.Transport == "smtp":
		ps.Add("/smtp", CodeFieldRequired)
	}
	if p.Gmail != nil {
		p.Gmail.check(&ps)
	}
	if p.BounceMailbox != nil {
		p.checkBounceMailbox(&ps)
	}
	checkRange(&ps, "/max_connections", p.MaxConnections, 1, maxConnections)
	checkRange(&ps, "/limits/per_minute", p.Limits.PerMinute, 0, maxPerWindow)
	checkRange(&ps, "/limits/per_hour", p.Limits.PerHour, 0, maxPerWindow)
	checkRange(&ps, "/limits/per_day", p.Limits.PerDay, 0, maxPerWindow)
	return ps
}

func checkAlways(ps *Problems, at string, addresses []Address, most int) {
	if len(addresses) > most {
		ps.Add(at, CodeTooMany, "max", strconv.Itoa(most))
		return
	}
	checkAddresses(ps, at, addresses)
}

func (p *Profile) checkSignatures(ps *Problems) {
	if len(p.Signatures) > maxSignatureLanguage {
		ps.Add("/signatures", CodeTooMany, "max", strconv.Itoa(maxSignatureLanguage))
		return
	}
	for _, tag := range slices.Sorted(maps.Keys(p.Signatures)) {
		at, s := "/signatures/"+EscapePointer(Shown(tag)), p.Signatures[tag]
		checkLanguageTag(ps, at, tag)
		checkText(ps, at+"/text", s.Text, maxSignature)
		checkText(ps, at+"/html", s.HTML, maxSignature)
		if len(s.HTML) > maxSignature {
			continue
		}
		if found := scanHTML(s.HTML); found.active != "" {
			ps.Add(at+"/html", CodeHTMLActiveContent, "found", found.active)
		}
		if _, err := htmlToText(s.HTML); err != nil {
			ps.Add(at+"/html", CodeHTMLInvalid)
		}
	}
}

func (s *SMTPSettings) check(ps *Problems) {
	if s.Host == "" {
		ps.Add("/smtp/host", CodeFieldRequired)
	} else {
		checkHost(ps, "/smtp/host", s.Host)
	}
	checkRange(ps, "/smtp/port", s.Port, 1, 65535)
	checkOneOf(ps, "/smtp/security", s.Security, SecuritySTARTTLS, SecurityTLS, SecurityNone)
	checkOneOf(ps, "/smtp/auth", s.Auth, AuthNone, AuthAuto, AuthPlain, AuthLogin, AuthCRAMMD5, AuthSCRAMSHA1, AuthSCRAMSHA256, AuthXOAUTH2)
	if s.Auth != AuthNone {
		requireLogin(ps, "/smtp/username", s.Username)
		requireLogin(ps, "/smtp/password", string(s.Password))
	}
	if s.Security == SecurityNone && !s.AllowPlaintextLogin && (s.Auth == AuthPlain || s.Auth == AuthLogin || s.Auth == AuthXOAUTH2) {
		ps.Add("/smtp/allow_plaintext_login", CodePlaintextLoginNotAllowed)
	}
	checkHost(ps, "/smtp/helo", s.HELO)
	checkHost(ps, "/smtp/tls_server_name", s.TLSServerName)
	if len(s.CACertificates) > maxCertificates {
		ps.Add("/smtp/ca_certificates", CodeFieldTooLong, "max", strconv.Itoa(maxCertificates))
	} else if s.CACertificates != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(s.CACertificates)) {
		ps.Add("/smtp/ca_certificates", CodeCertificatesInvalid)
	}
	if s.EnvelopeFrom != "" {
		if code := CheckAddress(s.EnvelopeFrom); code != "" {
			ps.Add("/smtp/envelope_from", code, "address", Shown(s.EnvelopeFrom))
		}
	}
}

func (s *GmailSettings) check(ps *Problems) {
	checkLine(ps, "/gmail/client", s.Client, maxGmailClient)
	if len(s.Aliases) > maxAlways {
		ps.Add("/gmail/aliases", CodeTooMany, "max", strconv.Itoa(maxAlways))
		return
	}
	for i, a := range s.Aliases {
		if code := CheckAddress(a); code != "" {
			ps.Add("/gmail/aliases/"+strconv.Itoa(i), code, "address", Shown(a))
		}
	}
}

// requireLogin differs from requireLine in that a password may begin with, or even be, spaces.
func requireLogin(ps *Problems, at, s string) {
	if s == "" {
		ps.Add(at, CodeFieldRequired)
		return
	}
	checkLine(ps, at, s, maxLogin)
}

// checkHost checks a DNS name, in any script, or an IP address without brackets; "" is good. A name may have one label: an
// office's server is often known by such a name.
func checkHost(ps *Problems, at, s string) {
	if s == "" || isHostName(s) {
		return
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return
	}
	if !isASCII(s) {
		if _, err := domains.ToASCII(s); err == nil && !strings.ContainsAny(s, "\r\n\x00") {
			return
		}
	}
	ps.Add(at, CodeHostInvalid, "value", Shown(s))
}

func checkRange(ps *Problems, at string, n, low, high int) {
	if n < low || n > high {
		ps.Add(at, CodeNumberRange, "min", strconv.Itoa(low), "max", strconv.Itoa(high))
	}
}

func checkOneOf[T ~string](ps *Problems, at string, value T, allowed ...T) {
	if slices.Contains(allowed, value) {
		return
	}
	if value == "" {
		ps.Add(at, CodeFieldRequired)
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	ps.Add(at, CodeValueUnknown, "value", Shown(string(value)), "allowed", strings.Join(names, ", "))
}
