package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Address is a mailbox: an address and the name shown with it.
type Address struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"` // as typed by the caller, checked by CheckAddress
}

const (
	maxAddress   = 254 // octets of an address: a path of 256 without its brackets, RFC 5321 section 4.5.3.1.3
	maxLocalPart = 64  // RFC 5321 section 4.5.3.1.1
	maxName      = 200 // octets of a display name
)

// domains maps a domain to its A-labels as a mail program must (RFC 5891 section 5, UTS 46 without the transitional mapping,
// so that "straße.example" is not "strasse.example").
var domains = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.ValidateLabels(true),
	idna.CheckHyphens(true), idna.CheckJoiners(true), idna.BidiRule(), idna.VerifyDNSLength(true))

// CheckAddress says what is wrong with an address, as a problem code; "" when nothing is.
//
// It takes less than RFC 5321 allows, because an address goes into headers, envelopes and other people's programs: the local
// part is a dot-atom (no quotes, spaces, comments or brackets) of at most 64 octets, in any script (RFC 6531); the domain has
// at least two labels and may be internationalised. No IP literals; "localhost" is the one single label, for trials.
func CheckAddress(addr string) string {
	_, _, code := parseAddress(addr)
	return code
}

// EnvelopeForm gives an address as it goes into an envelope, its domain as A-labels, and says whether the local part needs a
// server that offers SMTPUTF8 (RFC 6531). An address that CheckAddress refuses comes back as it is.
func EnvelopeForm(addr string) (form string, needsSMTPUTF8 bool) {
	local, domain, code := parseAddress(addr)
	if code != "" {
		return addr, false
	}
	if len(local)+1+len(domain) == len(addr) && strings.HasSuffix(addr, domain) {
		return addr, !isASCII(local)
	}
	return local + "@" + domain, !isASCII(local)
}

// Check checks the address and its name; the pointers are "/address" and "/name".
func (a Address) Check() Problems {
	var ps Problems
	a.check(&ps)
	return ps
}

func (a Address) check(ps *Problems) {
	switch code := CheckAddress(a.Address); code {
	case "":
	case CodeAddressMissing:
		ps.Add("/address", code)
	default:
		ps.Add("/address", code, "address", Shown(a.Address))
	}
	checkLine(ps, "/name", a.Name, maxName)
}

// Domain is the part of an envelope form or a checked address after the last @, as A-labels.
func (a Address) Domain() string {
	form, _ := EnvelopeForm(a.Address)
	return form[strings.LastIndexByte(form, '@')+1:]
}

// parseAddress splits a good address; the domain is given as A-labels, in the case it was typed in when it is ASCII already.
func parseAddress(addr string) (local, domain, code string) {
	if strings.TrimSpace(addr) == "" {
		return "", "", CodeAddressMissing
	}
	if !utf8.ValidString(addr) {
		return "", "", CodeAddressInvalid
	}
	if strings.ContainsFunc(addr, unicode.IsControl) {
		return "", "", CodeAddressControlCharacter
	}
	if strings.HasPrefix(addr, `"`) {
		return "", "", CodeAddressQuotedLocal
	}
	at := strings.LastIndexByte(addr, '@')
	if at <= 0 {
		return "", "", CodeAddressInvalid
	}
	local, domain = addr[:at], addr[at+1:]
	if len(local) > maxLocalPart || len(addr) > 4*maxAddress {
		return "", "", CodeAddressTooLong
	}
	if !isDotAtom(local) {
		return "", "", CodeAddressInvalid
	}
	if domain = asciiDomain(domain); domain == "" {
		return "", "", CodeAddressDomainInvalid
	}
	if len(local)+1+len(domain) > maxAddress {
		return "", "", CodeAddressTooLong
	}
	return local, domain, ""
}

// isDotAtom follows RFC 5322 section 3.2.3, extended by RFC 6532 section 3.2 to every rune that a person can see.
func isDotAtom(s string) bool {
	afterDot := true
	for _, r := range s {
		switch {
		case r == '.':
			if afterDot {
				return false
			}
		case r < utf8.RuneSelf:
			if !isLetterOrDigit(byte(r)) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r) {
				return false
			}
		case !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == utf8.RuneError:
			return false
		}
		afterDot = r == '.'
	}
	return !afterDot
}

// asciiDomain gives a mail domain as A-labels, or "" when it is none.
func asciiDomain(domain string) string {
	if !isASCII(domain) || strings.Contains(strings.ToLower(domain), "xn--") {
		var err error
		if domain, err = domains.ToASCII(domain); err != nil {
			return ""
		}
	}
	if !isHostName(domain) || !strings.Contains(domain, ".") && !strings.EqualFold(domain, "localhost") {
		return ""
	}
	return domain
}

// isHostName says whether s is a DNS name in ASCII (RFC 1123 section 2.1) and not a dotted-decimal number.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	label := 0 // length of the label so far
	digits := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 || s[i-1] == '-' {
				return false
			}
			label, digits = 0, true
			continue
		case c == '-':
			if label == 0 {
				return false
			}
			digits = false
		case !isLetterOrDigit(c):
			return false
		case c < '0' || c > '9':
			digits = false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && s[len(s)-1] != '-' && !digits
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
