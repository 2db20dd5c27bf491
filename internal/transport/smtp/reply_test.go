package smtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/winprest/facteur/internal/mail"
)

func TestReadReply(t *testing.T) {
	for _, test := range []struct {
		in   string
		code int
		text string
		err  error
	}{
		{"250 ok\r\n", 250, "ok", nil},
		{"250 ok\n", 250, "ok", nil},
		{"250\r\n", 250, "", nil},
		{"250 \r\n", 250, "", nil},
		{"250-a\r\n250-b\r\n250 c\r\n", 250, "a\nb\nc", nil},
		{"250-a\r\n250\r\n", 250, "a\n", nil},
		{"354 go\r\n250 more", 354, "go", nil},
		{"550 " + strings.Repeat("x", 2000) + "\r\n", 550, strings.Repeat("x", 2000), nil},
		{strings.Repeat("250-x\r\n", 99) + "250 x\r\n", 250, strings.Repeat("x\n", 99) + "x", nil},

		{"", 0, "", io.ErrUnexpectedEOF},
		{"250 ok", 0, "", io.ErrUnexpectedEOF},
		{"250-a\r\n", 0, "", io.ErrUnexpectedEOF},
		{"250-a\r\n251 b\r\n", 0, "", errProtocol},
		{"250ok\r\n", 0, "", errProtocol},
		{"25 ok\r\n", 0, "", errProtocol},
		{"2500 ok\r\n", 0, "", errProtocol},
		{"150 ok\r\n", 0, "", errProtocol},
		{"650 ok\r\n", 0, "", errProtocol},
		{"290 ok\r\n", 0, "", errProtocol},
		{"-50 ok\r\n", 0, "", errProtocol},
		{"\r\n250 ok\r\n", 0, "", errProtocol},
		{"HTTP/1.1 400 Bad Request\r\n", 0, "", errProtocol},
		{"\x15\x03\x01\x00\x02\n", 0, "", errProtocol},
		{"250 " + strings.Repeat("x", 2100) + "\r\n", 0, "", errProtocol},
		{"250 " + strings.Repeat("x", 9000), 0, "", errProtocol},
		{strings.Repeat("250-x\r\n", 101) + "250 x\r\n", 0, "", errProtocol},
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(test.in), 4<<10), nil)
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("%.40q: %v", test.in, err)
		}
		if err == nil && (r.code != test.code || string(r.text) != test.text) {
			t.Errorf("%.40q: %d %q", test.in, r.code, r.text)
		}
	}
}

func TestShown(t *testing.T) {
	for _, test := range []struct {
		code int
		text string
		want mail.Reply
	}{
		{250, "2.0.0 ok", mail.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}},
		{550, "5.1.1 no\n5.1.1 such user", mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}},
		{550, "5.7.606 blocked", mail.Reply{Code: 550, Enhanced: "5.7.606", Text: "blocked"}},
		{550, "5.1.1", mail.Reply{Code: 550, Enhanced: "5.1.1"}},
		{550, "4.1.1 another class", mail.Reply{Code: 550, Text: "4.1.1 another class"}},
		{550, "5.1 no", mail.Reply{Code: 550, Text: "5.1 no"}},
		{550, "5.1.1.1 no", mail.Reply{Code: 550, Text: "5.1.1.1 no"}},
		{550, "5.1000.1 no", mail.Reply{Code: 550, Text: "5.1000.1 no"}},
		{550, "55.1.1 no", mail.Reply{Code: 550, Text: "55.1.1 no"}},
		{550, "5..1 no", mail.Reply{Code: 550, Text: "5..1 no"}},
		{550, "", mail.Reply{Code: 550}},
		{550, "a\x00b\x1b[31m\x7fé\xff", mail.Reply{Code: 550, Text: "a?b?[31m?é?"}},
	} {
		if got := (reply{test.code, []byte(test.text)}).shown(); got != test.want {
			t.Errorf("%d %q: %+v", test.code, test.text, got)
		}
	}
	long := reply{550, []byte(strings.Repeat("é", 400))}.shown().Text
	if len(long) != 500 || !utf8.ValidString(long) {
		t.Errorf("%d bytes", len(long))
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 no\r\n", "250-a\r\n251 b\r\n", "\x00", "999 \n", "250-5.1.1\n250 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReaderSize(strings.NewReader(string(in)), 4<<10)
		r, err := readReply(br, nil)
		if err != nil {
			return
		}
		if r.code < 200 || r.code > 559 {
			t.Fatalf("code %d", r.code)
		}
		s := r.shown()
		if len(s.Text) > 500 || !utf8.ValidString(s.Text) || strings.ContainsAny(s.Text, "\r\n\x00") {
			t.Fatalf("shown %+q", s.Text)
		}
		if s.Enhanced != "" && s.Enhanced[0] != byte('0'+r.code/100) {
			t.Fatalf("%d %s", r.code, s.Enhanced)
		}
		v := classify(stepFinal, s)
		if v.Outcome == mail.OutcomeSent || r.ok() && v.Outcome != mail.OutcomeUncertain {
			t.Fatalf("%+v", v)
		}
	})
}

func FuzzParseExtensions(f *testing.F) {
	f.Add("sink\nPIPELINING\nSIZE 1000\nAUTH PLAIN LOGIN\nAUTH=LOGIN")
	f.Add("x\nSIZE\nSIZE -1\nsize 99999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		e := parseExtensions(text)
		if e.size < 0 || e.size > 0 && !e.hasSize {
			t.Fatalf("%+v", e)
		}
	})
}
