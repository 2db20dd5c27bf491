package mail

import (
	"strings"
	"testing"
	"unicode"
)

func TestCheckAddress(t *testing.T) {
	label := strings.Repeat("a", 63)
	for addr, want := range map[string]string{
		"compta@zoe.example":                   "",
		"Jean.Dupont+factures@Zoe.Example":     "",
		"o'neil&co/x=y#1!$%*?^`{|}~@a-b.co.uk": "",
		"1@2.example":                          "",
		"demo@localhost":                       "",
		"demo@LOCALHOST":                       "",
		"info@café.example":                    "",
		"info@straße.example":                  "",
		"info@例え.テスト":                          "",
		"info@xn--caf-dma.example":             "",
		"zoë@zoe.example":                      "",
		"почта@пример.example":                 "",
		strings.Repeat("x", 64) + "@a.example": "",
		"x@" + label + ".example":              "",

		"":                            CodeAddressMissing,
		"  ":                          CodeAddressMissing,
		"\t":                          CodeAddressMissing,
		"zoe":                         CodeAddressInvalid,
		"@zoe.example":                CodeAddressInvalid,
		"a b@zoe.example":             CodeAddressInvalid,
		" a@zoe.example":              CodeAddressInvalid,
		"a @zoe.example":              CodeAddressInvalid,
		"<a@zoe.example>":             CodeAddressInvalid,
		"Zoë <a@zoe.example>":         CodeAddressInvalid,
		"a(comment)@zoe.example":      CodeAddressInvalid,
		"a@b@zoe.example":             CodeAddressInvalid,
		"a,b@zoe.example":             CodeAddressInvalid,
		"a;b@zoe.example":             CodeAddressInvalid,
		"a:b@zoe.example":             CodeAddressInvalid,
		`a\b@zoe.example`:             CodeAddressInvalid,
		"a[b]@zoe.example":            CodeAddressInvalid,
		".a@zoe.example":              CodeAddressInvalid,
		"a.@zoe.example":              CodeAddressInvalid,
		"a..b@zoe.example":            CodeAddressInvalid,
		"a\u00a0b@zoe.example":        CodeAddressInvalid,
		"a\u200bb@zoe.example":        CodeAddressInvalid,
		"a\u202eb@zoe.example":        CodeAddressInvalid,
		"a\ufffdb@zoe.example":        CodeAddressInvalid,
		"a\xffb@zoe.example":          CodeAddressInvalid,
		`"a b"@zoe.example`:           CodeAddressQuotedLocal,
		`"a> ORCPT=evil"@zoe.example`: CodeAddressQuotedLocal,

		"a\r\nRCPT TO:<b@x.example>@zoe.example": CodeAddressControlCharacter,
		"a@zoe.example\n":                        CodeAddressControlCharacter,
		"a@zoe.example\r":                        CodeAddressControlCharacter,
		"a\x00@zoe.example":                      CodeAddressControlCharacter,
		"a\x7f@zoe.example":                      CodeAddressControlCharacter,
		"a\u0085@zoe.example":                    CodeAddressControlCharacter,

		"a@":                              CodeAddressDomainInvalid,
		"a@zoe":                           CodeAddressDomainInvalid,
		"a@zoe.example.":                  CodeAddressDomainInvalid,
		"a@.example":                      CodeAddressDomainInvalid,
		"a@zoe..example":                  CodeAddressDomainInvalid,
		"a@-zoe.example":                  CodeAddressDomainInvalid,
		"a@zoe-.example":                  CodeAddressDomainInvalid,
		"a@zoe_x.example":                 CodeAddressDomainInvalid,
		"a@zoe.example>":                  CodeAddressDomainInvalid,
		"a@zoe.example ORCPT=evil":        CodeAddressDomainInvalid,
		"a@[192.0.2.1]":                   CodeAddressDomainInvalid,
		"a@[IPv6:2001:db8::1]":            CodeAddressDomainInvalid,
		"a@192.0.2.1":                     CodeAddressDomainInvalid,
		"a@xn--a.example":                 CodeAddressDomainInvalid,
		"a@\u200e.example":                CodeAddressDomainInvalid,
		"a@" + label + "a.example":        CodeAddressDomainInvalid,
		"a@" + strings.Repeat("é.", 130):  CodeAddressDomainInvalid,
		"a@caf\u00e9 .example":            CodeAddressDomainInvalid,
		"a@zoe.example,b@zoe.example":     CodeAddressInvalid,
		strings.Repeat("x", 65) + "@a.be": CodeAddressTooLong,
		strings.Repeat("x", 10) + "@" + strings.Repeat(label[:60]+".", 4) + "example": CodeAddressTooLong,
		"x@" + strings.Repeat("a.", 600) + "example":                                  CodeAddressTooLong,
	} {
		if got := CheckAddress(addr); got != want {
			t.Errorf("CheckAddress(%q) = %q, want %q", addr, got, want)
		}
	}
}

func TestEnvelopeForm(t *testing.T) {
	for _, tt := range []struct {
		addr, want string
		utf8       bool
	}{
		{"Compta@Zoe.example", "Compta@Zoe.example", false},
		{"info@café.example", "info@xn--caf-dma.example", false},
		{"info@CAFÉ.example", "info@xn--caf-dma.example", false},
		{"info@straße.example", "info@xn--strae-oqa.example", false},
		{"info@ＡＢＣ。example", "info@abc.example", false},
		{"zoë@café.example", "zoë@xn--caf-dma.example", true},
		{"zoë@zoe.example", "zoë@zoe.example", true},
		{"not an address", "not an address", false},
	} {
		got, utf8 := EnvelopeForm(tt.addr)
		if got != tt.want || utf8 != tt.utf8 {
			t.Errorf("EnvelopeForm(%q) = %q, %v, want %q, %v", tt.addr, got, utf8, tt.want, tt.utf8)
		}
	}
	if d := (Address{Address: "info@café.example"}).Domain(); d != "xn--caf-dma.example" {
		t.Errorf("Domain = %q", d)
	}
}

func TestAddressCheck(t *testing.T) {
	for _, tt := range []struct {
		a    Address
		want string
	}{
		{Address{Name: `Zoë "la belle" <patronne>, Café`, Address: "a@zoe.example"}, ""},
		{Address{Name: "Zoë\r\nBcc: evil@x.example", Address: "a@zoe.example"}, "/name: line_break"},
		{Address{Name: "Zoë\x00", Address: "a@zoe.example"}, "/name: control_character"},
		{Address{Name: "Zo\të", Address: "a@zoe.example"}, "/name: control_character"},
		{Address{Name: "Zo\xeb", Address: "a@zoe.example"}, "/name: invalid_utf8"},
		{Address{Name: strings.Repeat("z", 201), Address: "zoe"}, "/address: address_invalid; /name: field_too_long"},
		{Address{}, "/address: address_missing"},
	} {
		if got := tt.a.Check().Error(); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.a, got, tt.want)
		}
	}
}

func FuzzCheckAddress(f *testing.F) {
	for _, s := range []string{"a@b.example", "zoë@café.example", `"a"@b.example`, "a@[::1]", "a@xn--a.example", "a@b\r\n", "a@例え。テスト"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		form, needsUTF8 := EnvelopeForm(s)
		if CheckAddress(s) != "" {
			if form != s {
				t.Fatalf("%q is refused, but changed to %q", s, form)
			}
			return
		}
		if strings.ContainsFunc(form, func(r rune) bool {
			return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`<>()[],;:"\`, r)
		}) {
			t.Fatalf("%q gives %q", s, form)
		}
		if len(form) > maxAddress || strings.Count(form, "@") != 1 || isASCII(form) == needsUTF8 {
			t.Fatalf("%q gives %q, SMTPUTF8 %v", s, form, needsUTF8)
		}
		if again, _ := EnvelopeForm(form); again != form {
			t.Fatalf("%q gives %q, which gives %q", s, form, again)
		}
	})
}
