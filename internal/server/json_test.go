package server

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
)

// shape lists what is wrong with a document as "pointer code" lines.
func shape(f findings) string {
	var lines []string
	for _, p := range f.list {
		lines = append(lines, p.Pointer+" "+p.Code)
	}
	return strings.Join(lines, "; ")
}

func TestReadJSONFindsEverything(t *testing.T) {
	for _, tc := range []struct{ name, doc, want string }{
		{"good", `{"to":[{"address":"a@b.example"}],"subject":"x","text":"y"}`, ""},
		{"null is absent", `{"to":null,"cc":null,"subject":null,"document":null,"send_at":null}`, ""},
		{"unknown", `{"recipients":[],"to":[{"adress":"x","name":"n"}]}`, "/recipients field_unknown; /to/0/adress field_unknown"},
		{"case matters", `{"To":[]}`, "/To field_unknown"},
		{"twice", `{"subject":"a","subject":"b"}`, "/subject field_duplicate"},
		{"token twice", `{"tokens":{"A1":"x","A1":"y"}}`, "/tokens/A1 field_duplicate"},
		{"types", `{"to":"a@b.example","subject":1,"tokens":[],"tags":"x","document":[],"send_at":5}`,
			"/to field_type; /subject field_type; /tokens field_type; /tags field_type; /document field_type; /send_at field_type"},
		{"types inside", `{"to":[1,null,{"address":[]}],"tags":["a",2],"tokens":{"AA":1,"BB":null}}`,
			"/to/0 field_type; /to/1 field_type; /to/2/address field_type; /tags/1 field_type; /tokens/AA field_type; /tokens/BB field_type"},
		{"time", `{"send_at":"tomorrow"}`, "/send_at time_invalid"},
		{"base64", `{"attachments":[{"filename":"a.pdf","content":"%%%"}]}`, "/attachments/0/content base64_invalid"},
		{"enum", `{"attachments":[{"kind":"virus"}]}`, "/attachments/0/kind value_unknown"},
		{"too long", `{"external_id":"` + strings.Repeat("x", 201) + `"}`, "/external_id field_too_long"},
		{"too many", `{"tags":["` + strings.Repeat(`a","`, 20) + `a"]}`, "/tags too_many"},
		{"tag too long", `{"tags":["` + strings.Repeat("x", 101) + `"]}`, "/tags/0 field_too_long"},
		{"NUL", `{"external_id":"a\u0000b"}`, "/external_id control_character"},
		{"line break", `{"external_id":"a\r\nBcc: x"}`, "/external_id line_break"},
		{"block", `{"metadata":{"a":"x\ny"},"text":"a\r\n\tb"}`, ""},
		{"NUL in a block", `{"text":"a\u0000"}`, "/text control_character"},
		{"line break in a name", `{"metadata":{"a\nb":"x"}}`, "/metadata/a\uFFFDb line_break"},
		{"pointer escapes", `{"metadata":{"a/b~c":5}}`, "/metadata/a~1b~0c field_type"},
		{"lone surrogate", `{"subject":"\ud800"}`, "/subject invalid_utf8"},
		{"bad UTF-8", "{\"subject\":\"\xff\"}", "/subject invalid_utf8"},
		{"surrogate pair", `{"subject":"\ud83d\ude00"}`, ""},
		{"required", `{"reminder":[{}]}`, "/reminder/0/number field_required; /reminder/0/date field_required; /reminder/0/amount field_required"},
		{"blank", `{"reminder":[{"number":" ","date":"2026-01-01","amount":"1"}]}`, "/reminder/0/number field_required"},
		{"not an object", `[]`, " field_type"},
		{"null", `null`, " field_type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m api.MessageRequest
			f, err := readJSON([]byte(tc.doc), &m, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := shape(f); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestReadJSONRefusesWhatIsNone(t *testing.T) {
	for _, doc := range []string{
		"", " ", "{", `{"to"`, `{"to":}`, `{"to":[}`, `{"to":[1,]}`, `{"a":1,}`, `{,}`, `{"a" 1}`, `nul`, `{} {}`, `{}x`, `{"subject":"a`, "{\"subject\":\"a\nb\"}",
		`{"subject":"\x"}`, `{"subject":"\u12"}`, `{"x":01}`, `{"x":+1}`, `{"x":1.}`, `{"x":1e}`, `{"x":.5}`, `{'a':1}`, `{"x":tru}`, "\ufeff{}",
		`{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, `{"subject":"\ud800\u12"}`,
	} {
		var m api.MessageRequest
		if _, err := readJSON([]byte(doc), &m, false); !errors.Is(err, errMalformed) {
			t.Errorf("%.60q was read", doc)
		}
	}
}

func TestReadJSONPatch(t *testing.T) {
	var p api.SenderProfilePatch
	f, err := readJSON([]byte(`{"name":null,"reply_to":null,"default":true,"signatures":{"fr":null,"nl":{"text":"x"}},"smtp":{"port":null,"password":"p"}}`), &p, true)
	if err != nil || len(f.list) > 0 {
		t.Fatal(err, f.list)
	}
	if p.Name == nil || *p.Name != "" || p.ReplyTo == nil || *p.ReplyTo != nil || p.From != nil || p.SMTP.Host != nil || *p.SMTP.Port != 0 || *p.SMTP.Password != "p" {
		t.Errorf("null must clear and absence must not: %+v", p)
	}
	if sig, ok := p.Signatures["fr"]; !ok || sig != nil || p.Signatures["nl"].Text != "x" {
		t.Errorf("signatures: %v", p.Signatures)
	}
	f, err = readJSON([]byte(`{"max_connections":99,"name":5,"smtp":null}`), &p, true)
	if want := "/max_connections number_range; /name field_type; /smtp field_type"; err != nil || shape(f) != want {
		t.Errorf("got %v, want %s", shape(f), want)
	}
}

// What both readers take they read the same.
func TestReadJSONAgreesWithEncodingJSON(t *testing.T) {
	at := time.Date(2026, 11, 24, 7, 0, 0, 0, time.UTC)
	want := api.SendJobRequest{
		Purpose: "batch", CompanyRef: "C001", SendAt: &at, Tags: []string{"a", "é"}, Metadata: map[string]string{"k": "v\n\"<>&\u2028"},
		Messages: []api.Mail{{
			To: []api.Address{{Name: "Café Zoë 😀", Address: "a@b.example"}}, Document: &api.Document{Number: "2026/1"},
			Tokens: map[string]string{"MONTANT": "1 €"}, Attachments: []api.MessageAttachment{{Filename: "a", Content: []byte{0, 1, 255}}},
			Reminder: []api.ReminderItem{{Number: "1", Date: "2026-01-01", Amount: "2"}}, Headers: []api.Header{{Name: "X-A", Value: "\tb"}},
		}, {}},
	}
	want.Messages[0].Headers[0].Value = "b"
	doc, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got, std api.SendJobRequest
	f, err := readJSON(doc, &got, false)
	if err != nil || len(f.list) > 0 {
		t.Fatal(err, shape(f))
	}
	if err := json.Unmarshal(doc, &std); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, std) {
		t.Errorf("got  %+v\nwant %+v", got, std)
	}
}

func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"to":[{"address":"a@b.example"}],"tokens":{"A":"\ud83d\ude00"},"send_at":"2026-01-01T00:00:00Z","attachments":[{"content":"AAA="}]}`))
	f.Add([]byte(`{"x":[1,-2.5e+3,null,true,{"y":"\\\""}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var m api.MessageRequest
		found, err := readJSON(doc, &m, false)
		if err == nil != json.Valid(doc) && strings.Count(string(doc), "[")+strings.Count(string(doc), "{") < maxDepth {
			t.Fatalf("valid %v, error %v", json.Valid(doc), err)
		}
		if err == nil && len(found.list) == 0 {
			var std api.MessageRequest
			if err := json.Unmarshal(doc, &std); err != nil {
				t.Fatalf("encoding/json: %v", err)
			}
		}
	})
}

func TestMergeSaysThingsOnce(t *testing.T) {
	var f findings
	f.add("/to/0/address", codeFieldType)
	f.add("/document", codeFieldType)
	var more findings
	for _, p := range []string{"/to", "/to/0/address", "/to/1/address", "/document/number", "/documents", ""} {
		more.add(p, "x")
	}
	f.merge(more.list)
	if got, want := shape(f), "/to/0/address field_type; /document field_type; /to/1/address x; /documents x;  x"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func BenchmarkReadJSON(b *testing.B) {
	doc := []byte(`{"user_ref": "jdupont", "to": [{"name": "Café Zoë", "address": "compta@zoe.example"}], "language": "fr-BE",
 "document": {"type": "invoice", "number": "2026/0042", "date": "2026-11-23"}, "client": {"ref": "C001", "name": "Café Zoë"},
 "tokens": {"MONTANT": "1.210,00 €"}, "attachments": [{"id": "att_01kbvf8q3d9x5t2m7n4c6w1e0z"}]}`)
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			var m api.MessageRequest
			if f, err := readJSON(doc, &m, false); err != nil || len(f.list) > 0 {
				b.Fatal(err, f.list)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var m api.MessageRequest
			if err := json.Unmarshal(doc, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
