package mail

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func TestTemplateCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Template)
		want   string
	}{
		{"good", func(tpl *Template) {}, ""},
		{"empty", func(tpl *Template) { *tpl = Template{} },
			"/name: field_required; /document_type: field_required; /default_language: field_required; /translations: translations_missing"},
		{"lines", func(tpl *Template) { tpl.Name, tpl.DocumentType, tpl.CompanyRef = "a\nb", "x\r", "\x00" },
			"/name: line_break; /document_type: line_break; /company_ref: control_character"},
		{"default language", func(tpl *Template) { tpl.DefaultLanguage = "it" }, "/default_language: default_language_missing"},
		{"tokens", func(tpl *Template) { tpl.Tokens = []string{"MONTANT", "x", "NUMFACT", "REMINDER", "{AB}"} },
			"/tokens/1: token_name_invalid; /tokens/2: token_name_reserved; /tokens/3: token_name_reserved; /tokens/4: token_name_invalid"},
		{"too many tokens", func(tpl *Template) { tpl.Tokens = slices.Repeat([]string{"AB"}, 51) }, "/tokens: too_many"},
		{"language tags", func(tpl *Template) {
			tpl.Translations["FR/x"] = Translation{Subject: "s", Text: "t"}
			tpl.Translations[""] = Translation{Subject: "s", Text: "t"}
		}, "/translations/: language_invalid; /translations/FR~1x: language_invalid"},
		{"texts", func(tpl *Template) {
			tpl.Translations = map[string]Translation{
				"fr": {},
				"nl": {Subject: "a\r\nBcc: x", Text: "\x00"},
				"en": {Subject: strings.Repeat("s", 501), HTML: "<p>\xff"},
				"de": {Subject: "{REMINDER}", Text: strings.Repeat("t", maxBody+1)},
			}
		}, "/translations/de/text: field_too_long; /translations/en/subject: field_too_long; /translations/en/html: invalid_utf8; " +
			"/translations/fr/subject: field_required; /translations/fr/text: content_missing; /translations/nl/subject: line_break; /translations/nl/text: control_character"},
		{"a declared token in pieces, beside a text", func(tpl *Template) {
			tpl.Translations["fr"] = Translation{Subject: "s", Text: "t", HTML: "<p>MON<i>TANT</i> FOO<b>BAR</b></p>"}
		}, "/translations/fr/html: token_split"},
	} {
		tpl := testTemplate()
		tt.change(tpl)
		if got := tpl.Check().Error(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestActiveContent(t *testing.T) {
	for s, want := range map[string]string{
		`<p onclick="x()">a</p>`:                        "onclick",
		`<P ONMOUSEOVER=x>a</P>`:                        "onmouseover",
		`<script>x</script>`:                            "script",
		`<sCrIpT src=x>`:                                "script",
		`<iframe src="x"></iframe>`:                     "iframe",
		`<form action="x"></form>`:                      "form",
		`<object></object>`:                             "object",
		`<base href="https://x/">`:                      "base",
		`<noscript><img onerror=x></noscript>`:          "noscript",
		`<svg onload=x></svg>`:                          "onload",
		`<a href="javascript:x()">a</a>`:                "javascript:",
		"<a href=\" java\nscript&#58;x()\">a</a>":       "javascript:",
		`<img src="vbscript:x">`:                        "vbscript:",
		`<meta http-equiv="Refresh" content="0;url=x">`: "meta refresh",

		`<meta http-equiv="Content-Type" content="text/html">`:                   "",
		`<a href="https://x/?javascript:">online</a><input one>`:                 "one",
		`<style>p{color:red}</style><table style="color:red"><tr><td>on</table>`: "",
		`&lt;script&gt; onclick="x"`:                                             "",
		`<!--[if mso]><noscript><xml></xml></noscript><![endif]--><p>a</p>`:      "",
	} {
		if got := scanHTML(s).active; got != want {
			t.Errorf("%s: found %q, want %q", s, got, want)
		}
	}
}

func TestProfileCheck(t *testing.T) {
	smtp := func(change func(*SMTPSettings)) func(*Profile) {
		return func(p *Profile) {
			p.Transport = "smtp"
			p.SMTP = &SMTPSettings{Host: "smtp.dupont.example", Port: 587, Security: SecuritySTARTTLS, Auth: AuthAuto, Username: "u", Password: "geheim"}
			change(p.SMTP)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Profile)
		want   string
	}{
		{"good", func(p *Profile) {}, ""},
		{"empty", func(p *Profile) { *p = Profile{} },
			"/level: field_required; /owner_ref: field_required; /name: field_required; /from/address: address_missing; /transport: field_required; /max_connections: number_range"},
		{"level", func(p *Profile) { p.Level = "firm" }, "/level: value_unknown"},
		{"owner", func(p *Profile) { p.OwnerRef = strings.Repeat("x", 101) }, "/owner_ref: field_too_long"},
		{"from", func(p *Profile) { p.From = Address{Name: "a\r\nb", Address: "a b@c.example"} }, "/from/address: address_invalid; /from/name: line_break"},
		{"others", func(p *Profile) {
			p.ReplyTo, p.AlwaysCC, p.AlwaysBCC = []Address{{}}, []Address{{Address: "a@b.example"}, {Address: "x"}}, make([]Address, 21)
		}, "/reply_to/0/address: address_missing; /always_cc/1/address: address_invalid; /always_bcc: too_many"},
		{"signatures", func(p *Profile) {
			p.Signatures = map[string]Signature{"fr": {HTML: "<script>"}, "NL": {Text: "\x00"}, "de": {HTML: strings.Repeat("x", maxSignature+1)}, "en": {HTML: strings.Repeat("<div>", 3000)}}
		}, "/signatures/NL: language_invalid; /signatures/NL/text: control_character; /signatures/de/html: field_too_long; /signatures/en/html: html_invalid; /signatures/fr/html: html_active_content"},
		{"attachments", func(p *Profile) {
			p.Attachments = []ProfileAttachment{{}, {AttachmentID: "att_1", Languages: []string{"fr", "nl_BE"}}}
		}, "/attachments/0/attachment_id: field_required; /attachments/1/languages/1: language_invalid"},
		{"connections", func(p *Profile) { p.MaxConnections = 51 }, "/max_connections: number_range"},
		{"limits", func(p *Profile) { p.Limits = Limits{-1, 1_000_001, 1_000_000} }, "/limits/per_minute: number_range; /limits/per_hour: number_range"},

		{"no smtp settings", func(p *Profile) { p.Transport = "smtp" }, "/smtp: field_required"},
		{"smtp", smtp(func(s *SMTPSettings) {}), ""},
		{"a relay without login", smtp(func(s *SMTPSettings) {
			*s = SMTPSettings{Host: "relay.skynet.be", Port: 25, Security: SecurityNone, Auth: AuthNone}
		}), ""},
		{"hosts", smtp(func(s *SMTPSettings) {
			s.Host, s.HELO, s.TLSServerName = "2001:db8::1", "poste-1", "mail.café.example"
		}), ""},
		{"bad hosts", smtp(func(s *SMTPSettings) {
			s.Host, s.HELO, s.TLSServerName = "smtp://x.example", "a b", "x.example\r\nRCPT"
		}), "/smtp/host: host_invalid; /smtp/helo: host_invalid; /smtp/tls_server_name: host_invalid"},
		{"host with port", smtp(func(s *SMTPSettings) { s.Host = "x.example:25" }), "/smtp/host: host_invalid"},
		{"host with zone", smtp(func(s *SMTPSettings) { s.Host = "fe80::1%eth0" }), "/smtp/host: host_invalid"},
		{"host in brackets", smtp(func(s *SMTPSettings) { s.Host = "[::1]" }), "/smtp/host: host_invalid"},
		{"number that is no address", smtp(func(s *SMTPSettings) { s.Host = "300.1.1.1" }), "/smtp/host: host_invalid"},
		{"nothing filled in", smtp(func(s *SMTPSettings) { *s = SMTPSettings{} }),
			"/smtp/host: field_required; /smtp/port: number_range; /smtp/security: field_required; /smtp/auth: field_required; /smtp/username: field_required; /smtp/password: field_required"},
		{"unknown words", smtp(func(s *SMTPSettings) { s.Port, s.Security, s.Auth = 65536, "ssl", "ntlm" }),
			"/smtp/port: number_range; /smtp/security: value_unknown; /smtp/auth: value_unknown"},
		{"login of several lines", smtp(func(s *SMTPSettings) { s.Username, s.Password = "a\x00b", "geheim\r\nX" }), "/smtp/username: control_character; /smtp/password: line_break"},
		{"login in clear", smtp(func(s *SMTPSettings) { s.Security, s.Auth = SecurityNone, AuthPlain }), "/smtp/allow_plaintext_login: plaintext_login_not_allowed"},
		{"login in clear, said so", smtp(func(s *SMTPSettings) { s.Security, s.Auth, s.AllowPlaintextLogin = SecurityNone, AuthLogin, true }), ""},
		{"challenge in clear", smtp(func(s *SMTPSettings) { s.Security, s.Auth = SecurityNone, AuthSCRAMSHA256 }), ""},
		{"certificates", smtp(func(s *SMTPSettings) { s.CACertificates = "-----BEGIN CERTIFICATE-----" }), "/smtp/ca_certificates: certificates_invalid"},
		{"good certificates", smtp(func(s *SMTPSettings) { s.CACertificates = testCertificate(t) }), ""},
		{"envelope", smtp(func(s *SMTPSettings) { s.EnvelopeFrom = "<>" }), "/smtp/envelope_from: address_invalid"},

		{"gmail", func(p *Profile) {
			p.Transport, p.Gmail = "gmail", &GmailSettings{Client: "key-2", Aliases: []string{"zoe@gmail.example"}, Reconcile: true}
		}, ""},
		{"bad gmail", func(p *Profile) {
			p.Transport, p.Gmail = "gmail", &GmailSettings{Client: "a\nb", Aliases: []string{"a@b.example", "x"}}
		}, "/gmail/client: line_break; /gmail/aliases/1: address_invalid"},
		{"many aliases", func(p *Profile) { p.Transport, p.Gmail = "gmail", &GmailSettings{Aliases: make([]string, 21)} }, "/gmail/aliases: too_many"},
	} {
		p := testProfile()
		tt.change(p)
		ps := p.Check()
		if got := ps.Error(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		for _, problem := range ps {
			for _, v := range problem.Params {
				if strings.Contains(v, "geheim") {
					t.Errorf("%s: a password in %v", tt.name, problem)
				}
			}
		}
	}
}

func testCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestAttachmentIDs(t *testing.T) {
	p := &Profile{Attachments: []ProfileAttachment{
		{AttachmentID: "all"}, {AttachmentID: "fr", Languages: []string{"fr"}}, {AttachmentID: "nl", Languages: []string{"nl", "nl-be"}}, {AttachmentID: "be", Languages: []string{"fr-be"}},
	}}
	for lang, want := range map[string]string{"fr": "all fr", "fr-be": "all fr be", "nl-be": "all nl", "en": "all", "": "all"} {
		if got := strings.Join(p.AttachmentIDs(lang), " "); got != want {
			t.Errorf("%q: %s, want %s", lang, got, want)
		}
	}
}
