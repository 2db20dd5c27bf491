package bounce_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/bounce"
)

const messageID = "<01kbvf8q3d9x5t2m7n4c6w1e0z@dupont.example>"

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRealReports(t *testing.T) {
	failed := func(status, diagnostic, mta string) []bounce.Recipient {
		return []bounce.Recipient{{Final: "zoe@client.example", Action: bounce.Failed, Status: status, Diagnostic: diagnostic, RemoteMTA: mta}}
	}
	original := failed("5.1.1", "550 5.1.1 <zoe@client.example>: Recipient address rejected: User unknown in virtual mailbox table", "mx.client.example")
	original[0].Original = "zoe@client.example"
	for name, want := range map[string][]bounce.Recipient{
		"postfix":  original,
		"exim":     failed("5.1.1", "550 5.1.1 No such user here", "mx.client.example"),
		"exchange": failed("5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient zoe@client.example not found by SMTP address lookup", ""),
		"gmail": failed("5.1.1", "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's "+
			"email address for typos. 550 5.1.1 For more information, go to https://support.google.com/mail/?p=NoSuchUser",
			"mx.client.example. (192.0.2.7, the server for the domain client.example.)"),
		"sendmail": failed("5.1.2", "", "client.example"),
		"wrapped":  failed("5.1.1", "Utilisateur inconnu \xe0 cette adresse", ""),
		"several": {
			{Final: "zoe@client.example", Action: bounce.Failed, Status: "5.2.2", Diagnostic: "552 5.2.2 Mailbox full"},
			{Final: "yan@client.example", Action: bounce.Delayed, Status: "4.4.1"},
			{Original: "xavier@client.example", Final: "x.y@elsewhere.example", Action: bounce.Delivered, Status: "2.1.5"},
			{Original: "wim@client.example", Final: "wim@client.example", Action: bounce.Relayed, Status: "2.1.9"},
			{Final: "vic@client.example", Action: bounce.Failed, Status: "5.7.1"},
			{Final: "zoë@client.example", Action: bounce.Expanded},
		},
	} {
		r, err := bounce.Parse(bytes.NewReader(sample(t, name+".eml")))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(r.Recipients, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, r.Recipients, want)
		}
		if r.MessageID != messageID {
			t.Errorf("%s: Message-ID %q", name, r.MessageID)
		}
		if at := r.Date; name != "wrapped" && (at.Before(time.Date(2026, 11, 23, 8, 0, 4, 0, time.UTC)) || at.After(time.Date(2026, 11, 23, 8, 0, 7, 0, time.UTC))) {
			t.Errorf("%s: date %s", name, at)
		}
		if !slices.ContainsFunc(r.Addresses, func(a string) bool { return strings.HasSuffix(a, "@dupont.example") }) {
			t.Errorf("%s: addresses %q", name, r.Addresses)
		}
	}
	for _, name := range []string{"plain", "forwarded", "receipt"} {
		if r, err := bounce.Parse(bytes.NewReader(sample(t, name+".eml"))); !errors.Is(err, bounce.ErrNoReport) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// A report that is cut off after its second part says the same, and wherever it is cut never names another mail.
func TestCutOff(t *testing.T) {
	whole := sample(t, "postfix.eml")
	full, err := bounce.Parse(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.Index(whole, []byte("--7D1B51C0D2.1795420805/mx.dupont.example\r\nContent-Description: Undelivered"))
	for n := range len(whole) {
		r, err := bounce.Parse(bytes.NewReader(whole[:n]))
		if n >= end && (err != nil || !reflect.DeepEqual(r.Recipients, full.Recipients)) {
			t.Fatalf("cut at %d: %+v %v", n, r, err)
		}
		if r != nil && r.MessageID != "" && r.MessageID != messageID {
			t.Fatalf("cut at %d: Message-ID %q", n, r.MessageID)
		}
	}
}

// The same report has the same id wherever it lies, and another report on the same mail another.
func TestReportID(t *testing.T) {
	mail := string(sample(t, "postfix.eml"))
	id := func(mail string) string {
		r, err := bounce.Parse(strings.NewReader(mail))
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	moved := "X-Spam-Status: No\r\nDelivered-To: other@dupont.example\r\n" + mail
	if id(mail) != id(moved) {
		t.Error("a copy is another report")
	}
	if id(mail) == id(strings.Replace(mail, "Message-Id: <20261123", "Message-Id: <20261124", 1)) {
		t.Error("another mail is the same report")
	}
	if id(mail) == id(strings.Replace(mail, "Status: 5.1.1", "Status: 5.1.2", 1)) {
		t.Error("another status is the same report")
	}
}

// Whatever the size, what is read is bounded: of a huge mail the report in front is found, and a huge part in front costs no memory.
func TestHuge(t *testing.T) {
	whole := sample(t, "exim.eml")
	end := bytes.LastIndex(whole, []byte("--1795420806"))
	huge := append(slices.Clone(whole[:end]), bytes.Repeat([]byte("JVBERi0xLjQK\r\n"), 4<<20/14)...)
	r, err := bounce.Parse(bytes.NewReader(append(huge, whole[end:]...)))
	if err != nil || r.MessageID != messageID || len(r.Recipients) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	var many strings.Builder
	many.WriteString("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n")
	for many.Len() < 2<<20 {
		many.WriteString("Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\n\r\n")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err = bounce.Parse(strings.NewReader(many.String()))
	runtime.ReadMemStats(&after)
	if err != nil || len(r.Recipients) > 200 {
		t.Errorf("%d recipients, %v", len(r.Recipients), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes for a report of 2 MB", used)
	}
}

func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(names) == 0 {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add(sample(f, filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, mail []byte) {
		r, err := bounce.Parse(bytes.NewReader(mail))
		if err != nil {
			if !errors.Is(err, bounce.ErrNoReport) || r != nil {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		if len(r.Recipients) == 0 || len(r.Recipients) > 200 || r.ID == "" {
			t.Fatalf("%+v", r)
		}
		for _, rc := range r.Recipients {
			if rc.Original == "" && rc.Final == "" || strings.ContainsAny(rc.Original+rc.Final, "<> \r\n\t") {
				t.Fatalf("%+v", rc)
			}
		}
		again, err := bounce.Parse(bytes.NewReader(mail))
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v and %+v, %v", r, again, err)
		}
	})
}
