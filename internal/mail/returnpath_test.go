package mail_test

import (
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/mail"
)

func TestReturnPath(t *testing.T) {
	const id = "msg_01kbvf8q3d9x5t2m7n4c6w1e0z"
	p := &mail.Profile{
		ID: "prf_1", From: mail.Address{Address: "Factures@Zoë.example"},
		BounceMailbox: &mail.BounceMailbox{VERP: true, VERPKey: "key"},
	}
	plain := p.EnvelopeFrom()
	path := p.ReturnPath(id)
	if local, domain, _ := strings.Cut(path, "@"); len(local) > 64 || !strings.HasPrefix(local, "Factures+"+id[4:]+"-") || domain != "xn--zo-ija.example" {
		t.Errorf("return path %q", path)
	}
	if got, ok := mail.ReturnPathMessage(strings.ToUpper(path)); !ok || got != id {
		t.Errorf("message %q, %t", got, ok)
	}
	for _, good := range []string{path, strings.ToUpper(path), strings.Replace(path, "xn--zo-ija", "zoë", 1)} {
		if !p.IsReturnPath(good, id) {
			t.Errorf("%q is refused", good)
		}
	}
	last := strings.IndexByte(path, '@')
	for i := range path {
		if strings.EqualFold(path[i:i+1], "z") {
			continue
		}
		if bad := path[:i] + "z" + path[i+1:]; p.IsReturnPath(bad, id) {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"", plain, path[:last], path + "x", "x" + path, path[:last-1] + path[last:]} {
		if p.IsReturnPath(bad, id) {
			t.Errorf("%q is taken", bad)
		}
	}
	if p.IsReturnPath(path, "msg_01kbvf8q3d9x5t2m7n4c6w1e10") {
		t.Error("the return path of one message is another's")
	}
	other := *p
	other.ID = "prf_2"
	if other.IsReturnPath(path, id) {
		t.Error("the return path of one profile is another's")
	}
	for name, change := range map[string]func(*mail.Profile){
		"off":               func(p *mail.Profile) { p.BounceMailbox = &mail.BounceMailbox{VERPKey: "key"} },
		"no key":            func(p *mail.Profile) { p.BounceMailbox = &mail.BounceMailbox{VERP: true} },
		"no mailbox":        func(p *mail.Profile) { p.BounceMailbox = nil },
		"too long":          func(p *mail.Profile) { p.From.Address = strings.Repeat("f", 25) + "@x.example" },
		"too long a domain": func(p *mail.Profile) { p.From.Address = "f@" + strings.Repeat("abcdefg.", 30) + "example" },
	} {
		q := *p
		change(&q)
		if got := q.ReturnPath(id); got != q.EnvelopeFrom() {
			t.Errorf("%s: %q", name, got)
		}
		if q.IsReturnPath(q.EnvelopeFrom(), id) || q.IsReturnPath(path, id) {
			t.Errorf("%s: a return path is taken", name)
		}
	}
	if got := p.ReturnPath("job_1"); got != plain {
		t.Errorf("%q for what is no message", got)
	}
	for _, none := range []string{"", "a@b.example", "factures+x@b.example", "+" + id[4:] + "-abcdefghijk@b.example", "f+" + id[4:] + "_abcdefghijkl@b.example"} {
		if got, ok := mail.ReturnPathMessage(none); ok {
			t.Errorf("%q is of %q", none, got)
		}
	}
}
