package preflight

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/winprest/facteur/internal/mail"
)

func TestMeant(t *testing.T) {
	for domain, want := range map[string]string{
		"gmial.com": "gmail.com", "gmal.com": "gmail.com", "gmaill.com": "gmail.com", "gmail.con": "gmail.com", "hotmial.fr": "hotmail.fr",
		"outlok.be": "outlook.be", "skynet.eb": "skynet.be", "proximsu.be": "proximus.be", "telnet.be": "telenet.be",
		// The providers themselves, however near to another; short names; two slips; and names that only look alike.
		"hotmail.be": "", "hotmail.de": "", "yahoo.fr": "", "vo.be": "", "lve.be": "", "gmx.be": "", "gamli.com": "", "gmail.example": "", "dupont.be": "", "a": "", "": "",
	} {
		if got := meant(domain); got != want {
			t.Errorf("meant(%q) = %q, want %q", domain, got, want)
		}
	}
}

func TestVerdictOn(t *testing.T) {
	for _, tc := range []struct {
		r        route
		near     string
		code     string
		severity Severity
	}{
		{routeMX, "", "", ""}, {routeHost, "", "", ""}, {routeUnknown, "", "", ""},
		{routeNone, "", CodeDomainWithoutMail, Blocking}, {routeNull, "", CodeDomainRefusesMail, Blocking},
		{routeMX, "gmail.com", "", ""}, {routeHost, "gmail.com", CodeDomainTypo, Warning}, {routeUnknown, "gmail.com", CodeDomainTypo, Warning},
		{routeNone, "gmail.com", CodeDomainTypo, Blocking}, {routeNull, "gmail.com", CodeDomainTypo, Blocking},
	} {
		if code, severity := verdictOn(tc.r, tc.near); code != tc.code || severity != tc.severity {
			t.Errorf("%d, %q: %s, %s; want %s, %s", tc.r, tc.near, code, severity, tc.code, tc.severity)
		}
	}
}

// answers is a DNS with one answer to each question.
type answers struct {
	mx         []*net.MX
	mxErr      error
	host       []string
	hostErr    error
	asked, was string
}

func (a *answers) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	a.asked = name
	return a.mx, a.mxErr
}

func (a *answers) LookupHost(_ context.Context, name string) ([]string, error) {
	a.was = name
	return a.host, a.hostErr
}

func TestAsk(t *testing.T) {
	none := &net.DNSError{Err: "no such host", IsNotFound: true}
	slow := &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	mx := []*net.MX{{Host: "mx.zoe.example."}}
	for name, tc := range map[string]struct {
		a    answers
		want route
	}{
		"MX":                  {answers{mx: mx}, routeMX},
		"MX, one of them bad": {answers{mx: mx, mxErr: &net.DNSError{Err: "invalid names"}}, routeMX},
		"null MX":             {answers{mx: []*net.MX{{Host: "."}}}, routeNull},
		"address only":        {answers{mxErr: none, host: []string{"192.0.2.1"}}, routeHost},
		"nothing":             {answers{mxErr: none, hostErr: none}, routeNone},
		"no answer":           {answers{mxErr: slow}, routeUnknown},
		"no answer at last":   {answers{mxErr: none, hostErr: slow}, routeUnknown},
		"any other error":     {answers{mxErr: errors.New("refused")}, routeUnknown},
	} {
		if got := ask(t.Context(), &tc.a, "zoe.example"); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
		if tc.a.asked != "zoe.example." {
			t.Errorf("%s: asked for %q", name, tc.a.asked)
		}
	}
}

func TestBears(t *testing.T) {
	reminder := &mail.Draft{Document: mail.Document{Number: "R-1"}, Reminder: []mail.ReminderItem{{Number: "2026/0041"}}}
	for _, tc := range []struct {
		d      *mail.Draft
		number string
		want   bool
	}{
		{&mail.Draft{Document: mail.Document{Number: "2026/0042"}}, "2026-0042", true},
		{&mail.Draft{Document: mail.Document{Number: "2026/0042"}}, "2026-0043", false},
		{&mail.Draft{Document: mail.Document{Number: "2026/0042"}}, "", true},
		{&mail.Draft{}, "2026-0043", true},
		{reminder, "2026 0041", true}, {reminder, "r1", true}, {reminder, "2026/0042", false},
	} {
		if got := bears(tc.d, tc.number); got != tc.want {
			t.Errorf("%+v, %q: %v", tc.d, tc.number, got)
		}
	}
}

func TestForAll(t *testing.T) {
	for _, tc := range []struct {
		mails, of int
		want      bool
	}{{2, 2, false}, {3, 3, true}, {2, 3, false}, {9, 12, false}, {10, 19, true}, {10, 20, false}, {900, 1000, true}} {
		if got := forAll(tc.mails, tc.of); got != tc.want {
			t.Errorf("%d of %d: %v", tc.mails, tc.of, got)
		}
	}
}

func FuzzOneSlip(f *testing.F) {
	f.Add("gmial.com", "gmail.com")
	f.Fuzz(func(t *testing.T, a, b string) {
		if oneSlip(a, b) != oneSlip(b, a) {
			t.Fatalf("%q and %q: not the same both ways", a, b)
		}
		if oneSlip(a, a) {
			t.Fatalf("%q is no slip of itself", a)
		}
	})
}
