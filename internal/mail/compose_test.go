package mail

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var noon = time.Date(2026, 11, 23, 12, 30, 15, 999, time.FixedZone("CET", 3600))

func testProfile() *Profile {
	return &Profile{
		ID: "prf_1", Level: LevelCompany, OwnerRef: "ZOE", Name: "Comptabilité", Transport: "sandbox", MaxConnections: 2,
		From: Address{Name: "Bureau Dupont", Address: "factures@dupont.example"},
		Signatures: map[string]Signature{
			"fr": {Text: "Bureau Dupont\r\nRue Neuve 1, Liège"},
			"nl": {HTML: "<p>Kantoor Dupont<br><b>Nieuwstraat 1</b>, Luik</p>"},
		},
	}
}

func testTemplate() *Template {
	return &Template{
		ID: "tpl_1", Version: 3, Name: "Factures", DocumentType: "invoice", DefaultLanguage: "fr", Tokens: []string{"MONTANT"},
		Translations: map[string]Translation{
			"fr": {Subject: "Votre TYPEDOC NUMFACT", Text: "Bonjour NOMCLIENT,\r\n\r\nVoici notre TYPEDOC NUMFACT du DATEFACT, de MONTANT TVAC.\r\n\r\nRestent ouverts :\r\n{REMINDER}\r\nMerci."},
			"nl": {Subject: "Uw TYPEDOC NUMFACT", HTML: `<html><body style="margin:0"><p>Beste NOMCLIENT,</p>
<p>Hierbij onze <a href="https://dupont.example/f?n=NUMFACT" title="NOMCLIENT">TYPEDOC NUMFACT</a> van DATEFACT: MONTANT.</p>
<p>Nog open: {REMINDER}Bedankt.</p></body></html>`},
			"en": {Subject: "Your TYPEDOC NUMFACT", Text: "Dear NOMCLIENT, our TYPEDOC of DATEFACT: MONTANT.", HTML: "<p>Dear NOMCLIENT,</p><p>our TYPEDOC of DATEFACT: MONTANT.</p>"},
			"de": {Subject: "Ihre TYPEDOC NUMFACT", Text: "TYPEDOC vom DATEFACT, MONTANT\n{REMINDER}"},
		},
	}
}

func testDraft() *Draft {
	d := SampleDraft(nil, "fr-BE")
	d.MessageID = "msg_01JDABCDEFGHJKMNPQRSTVWXYZ"
	d.Client.Name = `Café "Zoë" & <Fils>`
	d.Tokens["MONTANT"] = "1.210,00 €"
	return d
}

func mustCompose(t testing.TB, c *Composer, d *Draft) (*Content, []Recipient) {
	t.Helper()
	content, rs, ps := c.Compose(d, noon)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return content, rs
}

// Everything that a mail's reader sees, per language.
func TestComposeGolden(t *testing.T) {
	if ps := testTemplate().Check(); len(ps) > 0 {
		t.Fatal(ps)
	}
	c := NewComposer(testProfile(), testTemplate())
	for _, lang := range []string{"fr-BE", "nl_BE", "EN", "de", "it"} {
		d := testDraft()
		d.Language = lang
		if lang == "de" {
			d.Reminder[0].Open = "210,00 €"
			d.Reminder[1].DueDate = ""
		}
		content, _ := mustCompose(t, c, d)
		golden(t, NormalizeLanguage(lang), fmt.Sprintf("Language: %s\nMessage-ID: %s\nDate: %s\nSubject: %s\n--- text\n%s\n--- html\n%s\n",
			content.Language, content.MessageIDHeader, content.Date.Format(time.RFC3339Nano), content.Subject, content.Text, content.HTML))
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "compose", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestRecipients(t *testing.T) {
	p := testProfile()
	p.AlwaysCC = []Address{{Address: "copie@dupont.example"}, {Address: "TO@zoe.example"}}
	p.AlwaysBCC = []Address{{Address: "archive@dupont.example"}, {Address: "cc@ZOE.example"}}
	d := testDraft()
	d.To = []Address{{Name: "Zoë", Address: "to@zoe.example"}, {Address: "to@Zoe.Example"}, {Address: "info@café.example"}}
	d.CC = []Address{{Address: "cc@zoe.example"}, {Name: "again", Address: "to@zoe.example"}}
	d.BCC = []Address{{Address: "info@xn--caf-dma.example"}, {Address: "hidden@zoe.example"}}
	content, rs := mustCompose(t, NewComposer(p, testTemplate()), d)

	var got []string
	for _, r := range rs {
		if r.Status != RecipientPending || r.Reply != nil {
			t.Errorf("%+v is not pending", r)
		}
		got = append(got, string(r.Kind)+" "+r.Envelope())
	}
	want := []string{"to to@zoe.example", "to info@xn--caf-dma.example", "cc cc@zoe.example", "cc copie@dupont.example",
		"cc TO@zoe.example", "bcc hidden@zoe.example", "bcc archive@dupont.example"}
	if !slices.Equal(got, want) {
		t.Errorf("recipients\n%q\nwant\n%q", got, want)
	}
	if len(content.To) != 2 || content.To[0].Name != "Zoë" || content.To[1].Address != "info@café.example" {
		t.Errorf("To: %v", content.To)
	}
	if len(content.CC) != 3 || content.CC[0].Address != "cc@zoe.example" {
		t.Errorf("Cc: %v", content.CC)
	}
	if len(d.To) != 3 || len(d.CC) != 2 {
		t.Error("the draft was changed")
	}
}

func TestReplyTo(t *testing.T) {
	p := testProfile()
	p.ReplyTo = []Address{{Address: "bureau@dupont.example"}}
	c := NewComposer(p, testTemplate())
	d := testDraft()
	if content, _ := mustCompose(t, c, d); content.ReplyTo[0].Address != "bureau@dupont.example" {
		t.Errorf("Reply-To: %v", content.ReplyTo)
	}
	d.ReplyTo = []Address{{Address: "marie@dupont.example"}}
	if content, _ := mustCompose(t, c, d); content.ReplyTo[0].Address != "marie@dupont.example" {
		t.Errorf("Reply-To: %v", content.ReplyTo)
	}
}

// Tags go to nobody but the one provider that has a use for them.
func TestCategories(t *testing.T) {
	for transport, want := range map[string]int{"smtp": 0, "gmail": 0, "sendgrid": 2} {
		p, d := testProfile(), testDraft()
		p.Transport, d.Tags = transport, []string{"november", "vat"}
		if content, _ := mustCompose(t, NewComposer(p, testTemplate()), d); len(content.Categories) != want {
			t.Errorf("%s: %q", transport, content.Categories)
		}
	}
}

func TestSignatureLanguage(t *testing.T) {
	signed := func(tags ...string) *Profile {
		p := testProfile()
		p.Signatures = map[string]Signature{}
		for _, tag := range tags {
			p.Signatures[tag] = Signature{Text: "signed " + tag}
		}
		return p
	}
	for _, tt := range []struct {
		profile  *Profile
		own      bool
		language string
		want     string
	}{
		{signed("fr", "nl", "fr-be"), false, "fr-BE", "fr-be"},
		{signed("fr", "nl"), false, "fr-BE", "fr"},
		{signed("fr", "nl"), false, "nl", "nl"},
		{signed("fr", "nl", "it"), false, "it", "fr"}, // written in French, the template's default
		{signed("fr", "nl"), false, "en", "fr"},
		{signed("nl", "de"), false, "en", ""},
		{signed("nl"), false, "en", "nl"},
		{signed("fr", "nl"), true, "nl-BE", "nl"},
		{signed("fr", "nl"), true, "", ""},
		{signed("nl"), true, "", "nl"},
	} {
		tpl := testTemplate()
		if tt.own {
			tpl = nil
		}
		d := testDraft()
		d.Language, d.Subject, d.Text = tt.language, "s", "texte"
		content, _ := mustCompose(t, NewComposer(tt.profile, tpl), d)
		if _, got, _ := strings.Cut(content.Text, "\n\nsigned "); got != tt.want {
			t.Errorf("asked %q: signature %q, want %q", tt.language, got, tt.want)
		}
	}
}

// Each line changes one thing of a good mail.
func TestComposeProblems(t *testing.T) {
	many := func(n int) (a []Address) {
		for i := range n {
			a = append(a, Address{Address: fmt.Sprintf("a%d@zoe.example", i)})
		}
		return a
	}
	for _, tt := range []struct {
		name   string
		change func(*Draft)
		want   string
	}{
		{"nothing", func(d *Draft) {}, ""},
		{"no recipient", func(d *Draft) { d.To = nil }, "/to: recipients_missing"},
		{"too many recipients", func(d *Draft) { d.To, d.BCC = many(60), many(41) }, "/to: too_many_recipients"},
		{"many recipients", func(d *Draft) { d.To, d.BCC = many(60), many(40) }, ""},
		{"bad addresses", func(d *Draft) {
			d.To = append(d.To, Address{Address: "zoe", Name: "a\nb"})
			d.CC, d.BCC, d.ReplyTo = []Address{{}}, []Address{{Address: "a@[::1]"}}, []Address{{Address: "a b@c.example"}}
		}, "/reply_to/0/address: address_invalid; /to/1/address: address_invalid; /to/1/name: line_break; /cc/0/address: address_missing; /bcc/0/address: address_domain_invalid"},
		{"language", func(d *Draft) { d.Language = "français" }, "/language: language_invalid"},
		{"language with CR", func(d *Draft) { d.Language = "fr\r\nX: y" }, "/language: language_invalid"},
		{"no number", func(d *Draft) { d.Document.Number = " " }, "/document/number: token_unfilled"},
		{"no date", func(d *Draft) { d.Document.Date = "" }, "/document/date: token_unfilled"},
		{"bad date", func(d *Draft) { d.Document.Date = "23/11/2026" }, "/document/date: date_invalid"},
		{"no such day", func(d *Draft) { d.Document.Date = "2026-02-30" }, "/document/date: date_invalid"},
		{"no type: the template's", func(d *Draft) { d.Document.Type = "" }, ""},
		{"no client", func(d *Draft) { d.Client.Name = "" }, "/client/name: token_unfilled"},
		{"no reminder", func(d *Draft) { d.Reminder = nil }, "/reminder: token_unfilled"},
		{"own reminder", func(d *Draft) { d.Reminder, d.Tokens["REMINDER"] = nil, "rien" }, ""},
		{"declared token missing", func(d *Draft) { delete(d.Tokens, "MONTANT") }, "/tokens/MONTANT: token_unfilled"},
		{"token said to be empty", func(d *Draft) { d.Tokens["MONTANT"] = "" }, ""},
		{"all at once", func(d *Draft) {
			d.Document, d.Client, d.Tokens, d.Reminder = Document{}, Client{}, nil, nil
		}, "/tokens/MONTANT: token_unfilled; /document/number: token_unfilled; /client/name: token_unfilled; /document/date: token_unfilled; /reminder: token_unfilled"},
		{"line breaks", func(d *Draft) { d.Document.Number, d.Client.Name, d.Document.Type = "1\n2", "a\rb", "x\r\ny" },
			"/document/type: line_break; /document/number: line_break; /client/name: line_break"},
		{"NUL", func(d *Draft) { d.Document.Number, d.Tokens["MONTANT"] = "1\x002", "\x1b[1m" }, "/document/number: control_character; /tokens/MONTANT: control_character"},
		{"marks", func(d *Draft) { d.Client.Name = "\uFDD00\uFDD1" }, "/client/name: control_character"},
		{"not UTF-8", func(d *Draft) { d.Client.Name, d.Tokens["MONTANT"] = "Zo\xeb", "\xff" }, "/client/name: invalid_utf8; /tokens/MONTANT: invalid_utf8"},
		{"token names", func(d *Draft) {
			for _, n := range []string{"a", "X", "Montant", "A/B", "1A", "A\r\nB", "{AB}", strings.Repeat("A", 41)} {
				d.Tokens[n] = ""
			}
		}, "/tokens/1A: token_name_invalid; /tokens/A\uFFFD\uFFFDB: token_name_invalid; /tokens/A~1B: token_name_invalid; /tokens/" + strings.Repeat("A", 41) +
			": token_name_invalid; /tokens/Montant: token_name_invalid; /tokens/X: token_name_invalid; /tokens/a: token_name_invalid; /tokens/{AB}: token_name_invalid"},
		{"long token value", func(d *Draft) { d.Tokens["MONTANT"] = strings.Repeat("9", maxTokenValue+1) }, "/tokens/MONTANT: field_too_long"},
		{"reminder rows", func(d *Draft) {
			d.Reminder = []ReminderItem{{}, {Number: "1", Date: "x", DueDate: "y", Amount: "1\n", Open: "\x00"}}
		}, "/reminder/0/number: field_required; /reminder/0/date: field_required; /reminder/0/amount: field_required; " +
			"/reminder/1/date: date_invalid; /reminder/1/due_date: date_invalid; /reminder/1/amount: line_break; /reminder/1/open: control_character"},
		{"too many reminder rows", func(d *Draft) { d.Reminder = make([]ReminderItem, 501) }, "/reminder: too_many"},
		{"headers", func(d *Draft) {
			d.Headers = []Header{{"X-Ref", "C001"}, {"", "x"}, {"X Ref", "x"}, {"X-Ref:", "x"}, {"X-\r\nBcc", "x"}, {"bcc", "x"}, {"Content-Foo", "x"},
				{"DKIM-Signature", "x"}, {"Resent-To", "x"}, {"X-A", "x\r\nBcc: y@z.example"}, {"X-B", ""}, {"X-C", strings.Repeat("x", 901)}, {"Contents", "x"}, {"É", "x"}}
		}, "/headers/1/name: header_name_invalid; /headers/2/name: header_name_invalid; /headers/3/name: header_name_invalid; /headers/4/name: header_name_invalid; " +
			"/headers/5/name: header_name_reserved; /headers/6/name: header_name_reserved; /headers/7/name: header_name_reserved; /headers/8/name: header_name_reserved; " +
			"/headers/9/value: line_break; /headers/10/value: field_required; /headers/11/value: field_too_long; /headers/13/name: header_name_invalid"},
		{"too many headers", func(d *Draft) { d.Headers = make([]Header, 21) }, "/headers: too_many"},
		{"threading", func(d *Draft) {
			d.InReplyTo, d.References = "<a@b>\r\nX: y", []string{"<a@dupont.example>", "a@b", "<a b@c>", "<>", "<é@c.example>"}
		}, "/in_reply_to: message_id_invalid; /references/1: message_id_invalid; /references/2: message_id_invalid; /references/3: message_id_invalid; /references/4: message_id_invalid"},
		{"attachments", func(d *Draft) {
			d.Attachments = []Attachment{{Filename: "Facture 2026-0042 – Zoë.pdf", MediaType: "application/pdf"}, {Filename: "../a.pdf"}, {Filename: `a\b`}, {Filename: "a\r\nb"},
				{Filename: ""}, {Filename: "fac\u202efdp.exe"}, {Filename: "a.xml", MediaType: "text/xml; charset=utf-8"}, {Filename: "a", MediaType: "multipart/mixed; boundary=x"},
				{Filename: "a", MediaType: "text"}, {Filename: "a", MediaType: "text/x\r\nY: z"}}
		}, "/attachments/1/filename: filename_invalid; /attachments/2/filename: filename_invalid; /attachments/3/filename: filename_invalid; /attachments/4/filename: field_required; " +
			"/attachments/5/filename: filename_invalid; /attachments/7/media_type: media_type_invalid; /attachments/8/media_type: media_type_invalid; /attachments/9/media_type: media_type_invalid"},
		{"too many attachments", func(d *Draft) { d.Attachments = make([]Attachment, 51) }, "/attachments: too_many"},
		{"inline image without HTML", func(d *Draft) { d.Attachments = []Attachment{{Filename: "a.png", ContentID: "logo"}} }, "/attachments/0/content_id: inline_image_without_html"},
	} {
		d := testDraft()
		tt.change(d)
		content, rs, ps := NewComposer(testProfile(), testTemplate()).Compose(d, noon)
		if got := ps.Error(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if (content == nil) != (tt.want != "") || (rs == nil) != (tt.want != "") {
			t.Errorf("%s: content %v, recipients %v beside %d problems", tt.name, content, rs, len(ps))
		}
	}
}

func TestOwnContent(t *testing.T) {
	huge := strings.Repeat("GROS ", 20_000)
	for _, tt := range []struct {
		name, subject, text, html string
		problems                  string
		wantText, wantHTML        string
	}{
		{name: "text", subject: "s", text: "Bonjour NOMCLIENT\r\n", wantText: "Bonjour Zoë & <Fils>"},
		{name: "html", subject: "s", html: "<p>Bonjour <b>NOMCLIENT</b></p>", wantText: "Bonjour Zoë & <Fils>", wantHTML: "<p>Bonjour <b>Zoë &amp; &lt;Fils&gt;</b></p>"},
		{name: "image only", subject: "NUMFACT", html: `<img src="CID:logo%40x">`, wantText: "2026/0042", wantHTML: `<img src="CID:logo%40x">`},
		{name: "image in a style", subject: "s", html: `<p style="background:url('cid:none')">a</p><style>p{background:url( cid:nix )}</style>`,
			problems: "/attachments: inline_image_missing; /attachments: inline_image_missing"},
		{name: "nothing", problems: "/subject: field_required; /text: content_missing"},
		{name: "blank", subject: " ", text: "\n", html: " \n", problems: "/subject: field_required; /text: content_missing"},
		{name: "subject of two lines", subject: "a\nBcc: x@y.example", text: "t", problems: "/subject: line_break"},
		{name: "controls", subject: "a\tb", text: "a\x00b", html: "<p>\u0085</p>", problems: "/subject: control_character; /text: control_character; /html: control_character"},
		{name: "long subject", subject: strings.Repeat("é", 251), text: "t", problems: "/subject: field_too_long"},
		{name: "subject too long once filled", subject: "LONG LONG", text: "t", problems: "/subject: field_too_long"},
		{name: "several lines in the subject", subject: "LINES", text: "LINES", problems: "/tokens/LINES: token_line_break"},
		{name: "reminder in the subject", subject: "{REMINDER}", text: "t", problems: "/subject: token_misplaced"},
		{name: "tab in the subject", subject: "TAB.", text: "t", wantText: "t"},
		{name: "gigabytes", subject: "s", text: huge, problems: "/text: content_too_large"},
		{name: "braces", subject: "s", text: "{FOO} {foo} {F} {FOO } FOO", problems: "/tokens/FOO: token_unfilled"},
		{name: "split by markup", subject: "s", html: "<p>NUM<b>FACT</b> &#123;REMINDER}</p>", problems: "/html: token_split; /html: token_split"},
		{name: "unquoted", subject: "s", html: "<a href={LINK}>x</a><a title=NUMFACT>y</a><TABLE LINES=1>", problems: "/html: token_misplaced; /html: token_misplaced"},
		{name: "reminder in an attribute", subject: "s", html: `<a title="{REMINDER}">x</a>`, problems: "/html: token_misplaced"},
		{name: "script", subject: "s", html: "<p>a</p></body><script>x</script>", problems: "/html: html_active_content"},
		{name: "too deep", subject: "s", html: strings.Repeat("<div>", 3000), problems: "/html: html_invalid"},
		{name: "lines", subject: "s", text: "LINES", html: `<p title="LINES">LINES</p>`, wantText: "a\nb\nc", wantHTML: `<p title="a b c">a<br>` + "\n" + `b<br>` + "\n" + `c</p>`},
		{name: "not twice", subject: "s", text: "TRICKY", html: "<p>TRICKY</p>", wantText: "NUMFACT {REMINDER} {FOO} <b>", wantHTML: "<p>NUMFACT {REMINDER} {FOO} &lt;b&gt;</p>"},
		{name: "attribute", subject: "s", text: "t", html: `<a href='https://x/?q=QUOTES'>x</a>`, wantText: "t", wantHTML: `<a href='https://x/?q=&#34;&#39;&gt;&lt;'>x</a>`},
		{name: "program in a link", subject: "s", text: "PROG", html: `<a href="PROG">PROG</a><a href='PROG'>x</a>`, problems: "/tokens/PROG: html_active_content"},
		{name: "program in a text", subject: "s", text: "t", html: `<p>PROG</p>`, wantText: "t", wantHTML: "<p> Java\tScript:x()</p>"},
		{name: "style is left alone", subject: "s", text: "t", html: "<style>.NUMFACT{}</style><!--NUMFACT-->", wantText: "t", wantHTML: "<style>.NUMFACT{}</style><!--2026/0042-->"},
		{name: "override", subject: "s", text: "TYPEDOC", wantText: "facture pro forma"},
	} {
		p := testProfile()
		p.Signatures = nil
		d := testDraft()
		d.Subject, d.Text, d.HTML = tt.subject, tt.text, tt.html
		d.Client.Name = "Zoë & <Fils>"
		d.Attachments = []Attachment{{Filename: "logo.png", ContentID: "logo@x"}}
		if tt.html == "" || strings.TrimSpace(tt.html) == "" {
			d.Attachments = nil
		}
		d.Tokens = map[string]string{
			"LINES": "a\r\nb\rc", "LONG": strings.Repeat("x", 600), "TAB": "a\tb", "GROS": strings.Repeat("x", 9_999),
			"TRICKY": "NUMFACT {REMINDER} {FOO} <b>", "QUOTES": `"'><`, "TYPEDOC": "facture pro forma", "PROG": " Java\tScript:x()",
		}
		content, _, ps := NewComposer(p, nil).Compose(d, noon)
		if got := ps.Error(); got != tt.problems {
			t.Errorf("%s: %s\nwant %s", tt.name, got, tt.problems)
			continue
		}
		if tt.problems != "" {
			continue
		}
		if content.Text != tt.wantText || content.HTML != tt.wantHTML {
			t.Errorf("%s:\n%q\n%q\nwant\n%q\n%q", tt.name, content.Text, content.HTML, tt.wantText, tt.wantHTML)
		}
		if strings.ContainsAny(content.Subject, "\r\n\t") {
			t.Errorf("%s: subject %q", tt.name, content.Subject)
		}
	}
}

func TestComposeTemplateWithoutLanguage(t *testing.T) {
	tpl := testTemplate()
	tpl.DefaultLanguage = "es"
	d := testDraft()
	d.Language = "it"
	if _, _, ps := NewComposer(testProfile(), tpl).Compose(d, noon); ps.Error() != "/language: template_language_missing" {
		t.Error(ps)
	}
}

func TestHTMLOnlyWhenGiven(t *testing.T) {
	d := testDraft()
	d.Language = "de"
	p := testProfile()
	p.Signatures = map[string]Signature{"de": {HTML: "<b>Büro</b>"}}
	if content, _ := mustCompose(t, NewComposer(p, testTemplate()), d); content.HTML != "" || !strings.HasSuffix(content.Text, "\n\nBüro") {
		t.Errorf("%+v", content)
	}
}

// A batch's mails are composed by several requests at a time, in languages that nobody foresaw.
func TestComposerIsShared(t *testing.T) {
	c, own := NewComposer(testProfile(), testTemplate()), NewComposer(testProfile(), nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				d := testDraft()
				d.Language = []string{"fr", "nl"}[i%2] + "-" + strconv.Itoa(100+(g*i)%150)
				d.Subject, d.Text = "s", strconv.Itoa(i%3)
				d.Document.Number = strconv.Itoa(g) + "/" + strconv.Itoa(i)
				content, _, ps := c.Compose(d, noon)
				if ps != nil || content.Language != d.Language[:2] || !strings.HasSuffix(content.Subject, " "+d.Document.Number) {
					t.Errorf("%s: %v %+v", d.Language, ps, content)
				}
				if content, _, ps = own.Compose(d, noon); ps != nil || !strings.HasPrefix(content.Text, d.Text) {
					t.Errorf("%v %+v", ps, content)
				}
			}
		})
	}
	wg.Wait()
}

// The batch's figure: an HTML mail of 3 KB with four tokens and its text.
func BenchmarkCompose(b *testing.B) {
	tpl := testTemplate()
	filler := strings.Repeat("<p>Nous restons à votre disposition pour tout renseignement complémentaire.</p>\n", 20)
	tpl.Translations["fr"] = Translation{Subject: "Votre TYPEDOC NUMFACT", HTML: "<html><body><p>Bonjour NOMCLIENT,</p><p>NUMFACT du DATEFACT: MONTANT</p>" + filler + "</body></html>"}
	c, d := NewComposer(testProfile(), tpl), testDraft()
	b.ReportAllocs()
	for b.Loop() {
		mustCompose(b, c, d)
	}
}

// A mail that brings its own HTML, different for each, pays for the parsing and for its plain text.
func BenchmarkComposeOwnHTML(b *testing.B) {
	filler := strings.Repeat("<p>Nous restons à votre disposition pour tout renseignement complémentaire.</p>\n", 30)
	c, d, i := NewComposer(testProfile(), nil), testDraft(), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		d.Subject, d.HTML = "Votre TYPEDOC", "<p>Bonjour NOMCLIENT "+strconv.Itoa(i)+"</p>"+filler
		mustCompose(b, c, d)
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("Votre TYPEDOC NUMFACT", "Bonjour NOMCLIENT {REMINDER}", "<p title='MINE'>NOMCLIENT {REMINDER}</p>", "2026/0042", "Café <b>", "a\nNUMFACT", "X-Ref", "v")
	f.Add("MINE", "", "<a href=\"x?MINE\">{MINE}</a></body>", "{REMINDER}", "NUMFACT", "{MINE}\"'", "Bcc", "a\r\nb")
	f.Add("s", "", "<table><tr><td>{REMINDER}<td>NUM<b>FACT", "1", "\xff", "\x00", "", "")
	f.Fuzz(func(t *testing.T, subject, text, html, number, client, mine, header, value string) {
		d := testDraft()
		d.Subject, d.Text, d.HTML, d.Document.Number, d.Client.Name = subject, text, html, number, client
		d.Tokens["MINE"] = mine
		d.Headers = []Header{{header, value}}
		d.Reminder[0].Number = number
		d.To[0].Name = client
		compose(t, NewComposer(testProfile(), nil), d)

		tpl := testTemplate()
		tpl.Translations = map[string]Translation{"fr": {Subject: subject, Text: text, HTML: html}}
		if tpl.Check() == nil {
			compose(t, NewComposer(testProfile(), tpl), d)
		}

		// A value in HTML brings no markup and no token of its own.
		d = testDraft()
		d.Subject, d.HTML, d.Tokens["MINE"], d.Tokens["NUMFACT"] = "s", `<p title="MINE">MINE</p>`, mine, "expanded again"
		p := testProfile()
		p.Signatures = nil
		if content, _, ps := NewComposer(p, nil).Compose(d, noon); ps == nil {
			if strings.Count(strings.ReplaceAll(content.HTML, "<br>\n", ""), "<") != 2 || strings.Count(content.HTML, `"`) != 2 {
				t.Fatalf("%q became %s", mine, content.HTML)
			}
			if strings.Contains(content.HTML, "expanded again") && !strings.Contains(mine, "expanded again") {
				t.Fatal(content.HTML)
			}
		}
	})
}

func compose(t *testing.T, c *Composer, d *Draft) {
	content, rs, ps := c.Compose(d, noon)
	if len(ps) > 0 {
		if content != nil || rs != nil {
			t.Fatal("a result beside problems")
		}
		return
	}
	if content.Text == "" || content.Subject == "" {
		t.Fatalf("empty: %+v", content)
	}
	bound := []string{content.Subject, content.MessageIDHeader, content.To[0].Name, content.To[0].Address}
	for _, h := range content.Headers {
		bound = append(bound, h.Name, h.Value)
	}
	for _, s := range bound {
		if strings.ContainsAny(s, "\r\n\x00") {
			t.Fatalf("%q goes into a header", s)
		}
	}
	if strings.ContainsAny(content.Text+content.HTML, "\r\x00") {
		t.Fatalf("%+v", content)
	}
}

// What is between a mail's values is the same in every mail of the template, whatever the values are.
func TestValuesOfTexts(t *testing.T) {
	without := func(text string, values []Span) string {
		var b strings.Builder
		at := 0
		for _, v := range values {
			b.WriteString(text[at:v.From] + "|")
			at = v.To
		}
		return b.String() + text[at:]
	}
	c := NewComposer(testProfile(), testTemplate())
	for _, language := range []string{"fr", "nl", "en", "de"} {
		var texts, htmls []string
		for i := range 2 {
			d := SampleDraft(testTemplate(), language)
			d.Client.Name = strings.Repeat("Zoë & <Fils> ", i+1)
			d.Document.Number += strings.Repeat("0", i)
			d.Reminder = d.Reminder[i:]
			d.Tokens = map[string]string{"MONTANT": strings.Repeat("1\r\n", i) + "€"}
			content, _ := mustCompose(t, c, d)
			texts, htmls = append(texts, without(content.Text, content.TextValues)), append(htmls, without(content.HTML, content.HTMLValues))
			if strings.Contains(texts[i]+htmls[i], "Zo") || len(content.TextValues) < 3 {
				t.Errorf("%s: not all values are told: %q %q", language, texts[i], htmls[i])
			}
		}
		if texts[0] != texts[1] || htmls[0] != htmls[1] {
			t.Errorf("%s: %q, %q", language, texts, htmls)
		}
	}
}

// A text that is all words in capitals is told no places of values: it would take many times its size.
func TestManyWordsHaveNoSpans(t *testing.T) {
	for words, want := range map[int]int{maxSpans: maxSpans, maxSpans + 1: 0} {
		d := testDraft()
		d.Subject, d.Text = "s", strings.Repeat("AA ", words)
		content, _ := mustCompose(t, NewComposer(testProfile(), nil), d)
		if got := len(content.TextValues); got != want || !strings.HasPrefix(content.Text, strings.TrimSpace(d.Text)) {
			t.Errorf("%d words have %d spans, want %d", words, got, want)
		}
	}
}
