package events

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k, base64.StdEncoding.EncodeToString(der)
}

func sign(t *testing.T, k *ecdsa.PrivateKey, body string, at time.Time) (signature, timestamp string) {
	t.Helper()
	timestamp = strconv.FormatInt(at.Unix(), 10)
	sum := sha256.Sum256([]byte(timestamp + body))
	der, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der), timestamp
}

func TestVerify(t *testing.T) {
	one, oneText := newKey(t)
	two, twoText := newKey(t)
	stranger, _ := newKey(t)
	keys, err := ParseKeys("eu=" + oneText + ",\n old=" + twoText)
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	now := time.Unix(1_800_000_000, 0)
	const body = "[{\"event\":\"processed\"}]\r\n"
	for name, c := range map[string]struct {
		key    *ecdsa.PrivateKey
		at     time.Time
		change func(signature, timestamp, body *string)
		want   error
	}{
		"signed":              {one, now, nil, nil},
		"by the other key":    {two, now, nil, nil},
		"a retry a day later": {one, now.Add(-24 * time.Hour), nil, nil},
		"our clock is behind": {one, now.Add(9 * time.Minute), nil, nil},
		"by nobody we know":   {stranger, now, nil, ErrSignature},
		"stale":               {one, now.Add(-25 * time.Hour), nil, ErrStale},
		"from the future":     {one, now.Add(11 * time.Minute), nil, ErrStale},
		"another body":        {one, now, func(_, _, b *string) { *b += " " }, ErrSignature},
		"another time":        {one, now.Add(-25 * time.Hour), func(_, ts, _ *string) { *ts = strconv.FormatInt(now.Unix(), 10) }, ErrSignature},
		// The timestamp and the body are signed as one text: what is cut off one must not pass at the head of the other.
		"moved boundary": {one, now, func(_, ts, b *string) { *ts, *b = (*ts)[:5], (*ts)[5:]+*b }, ErrStale},
		"no signature":   {one, now, func(s, _, _ *string) { *s = "" }, ErrSignature},
		"no timestamp":   {one, now, func(_, ts, _ *string) { *ts = "" }, ErrSignature},
		"no base64":      {one, now, func(s, _, _ *string) { *s = "%%" }, ErrSignature},
		"no DER":         {one, now, func(s, _, _ *string) { *s = "AAAA" }, ErrSignature},
	} {
		b := body
		signature, timestamp := sign(t, c.key, b, c.at)
		if c.change != nil {
			c.change(&signature, &timestamp, &b)
		}
		if err := keys.Verify(signature, timestamp, []byte(b), now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	signature, timestamp := sign(t, one, body, now)
	if err := (Keys{}).Verify(signature, timestamp, []byte(body), now); !errors.Is(err, ErrSignature) {
		t.Errorf("without keys: %v", err)
	}
}

func TestParseKeysSaysWhatIsWrong(t *testing.T) {
	_, good := newKey(t)
	for text, want := range map[string]string{
		good: "base64", "name": "name=key", "a=" + good + ",a=" + good: "twice", "a=AAAA": "no public key", "a=%": "base64",
	} {
		if _, err := ParseKeys(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v, want %s", text, err, want)
		}
	}
	if keys, err := ParseKeys(""); err != nil || len(keys) != 0 {
		t.Errorf("nothing: %v %v", keys, err)
	}
}

func TestParseMapsEveryEvent(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for fields, want := range map[string]struct {
		kind     mail.EventKind
		suppress mail.SuppressionReason
		evidence string
	}{
		`"event":"processed","sg_message_id":"abc.1"`:                         {mail.EventProcessed, "", "abc.1"},
		`"event":"processed"`:                                                 {mail.EventProcessed, "", "SendGrid: processed"},
		`"event":"deferred","response":"451 later","attempt":5`:               {mail.EventDeferred, "", "451 later"},
		`"event":"delivered","response":"250 OK"`:                             {mail.EventDelivered, "", "250 OK"},
		`"event":"bounce","type":"bounce","status":"5.1.1","reason":"550 no"`: {mail.EventBounced, mail.SuppressedBounce, "550 no"},
		`"event":"bounce","type":"bounce","status":"5.0.0","reason":"550 no","bounce_classification":"Invalid Address"`:       {mail.EventBounced, mail.SuppressedBounce, "550 no"},
		`"event":"bounce","type":"bounce","status":"5.2.2","reason":"552 full","bounce_classification":"Mailbox Unavailable"`: {mail.EventBounced, "", "552 full"},
		`"event":"bounce","type":"blocked","status":"5.1.1","reason":"550 blocked"`:                                           {mail.EventBounced, "", "550 blocked"},
		`"event":"dropped","reason":"Bounced Address"`:                                                                        {mail.EventDropped, mail.SuppressedBounce, "Bounced Address"},
		`"event":"dropped","reason":"Spam Reporting Address"`:                                                                 {mail.EventDropped, mail.SuppressedComplaint, "Spam Reporting Address"},
		`"event":"dropped","reason":"Unsubscribed Address"`:                                                                   {mail.EventDropped, "", "Unsubscribed Address"},
		`"event":"spamreport"`:                         {mail.EventComplained, mail.SuppressedComplaint, "SendGrid: spamreport"},
		`"event":"open","sg_machine_open":true`:        {mail.EventOpened, "", "SendGrid: open"},
		`"event":"click","url":"https://x.example"`:    {mail.EventClicked, "", "SendGrid: click"},
		`"event":"unsubscribe"`:                        {mail.EventUnsubscribed, "", "SendGrid: unsubscribe"},
		`"event":"group_unsubscribe","asm_group_id":1`: {mail.EventUnsubscribed, "", "SendGrid: group_unsubscribe"},
		`"event":"group_resubscribe"`:                  {},
		`"event":"account_status_change"`:              {},
	} {
		body := fmt.Sprintf(`[{"email":"a@zoe.example","timestamp":1700000000,"sg_event_id":"e1","category":["x"],"facteur_tenant":"ten_1","facteur_message":"msg_1",%s}]`, fields)
		got, ignored, err := Parse([]byte(body), now)
		if err != nil {
			t.Fatalf("%s: %v", fields, err)
		}
		if want.kind == "" {
			if len(got) != 0 || ignored != 1 {
				t.Errorf("%s: %+v, want it ignored", fields, got)
			}
			continue
		}
		e := mail.Event{TenantID: "ten_1", MessageID: "msg_1", ID: "e1", Kind: want.kind, Address: "a@zoe.example", Evidence: want.evidence, At: 1700000000_000000, Suppress: want.suppress}
		if len(got) != 1 || got[0] != e {
			t.Errorf("%s:\n%+v\n%+v", fields, got, e)
		}
	}
}

// One damaged or foreign event does not spoil the others of its batch.
func TestParseGoesOnAfterADamagedEvent(t *testing.T) {
	const good = `{"event":"delivered","email":"a@zoe.example","facteur_tenant":"ten_1","facteur_message":"msg_1"`
	body := `[5, null, "x", {}, {"event":"delivered","email":"a@zoe.example"}, ` + good + `,"timestamp":"soon","status":5}, ` +
		good + `,"facteur_message":"msg_\u0000"}, ` + good + `,"email":"no address"}, ` + good + `,"sg_event_id":"é\u0000"}]` + "\r\n"
	got, ignored, err := Parse([]byte(body), time.Unix(1_800_000_000, 0))
	if err != nil || len(got) != 2 || ignored != 7 {
		t.Fatalf("%d events, %d ignored, %v", len(got), ignored, err)
	}
	if got[0].At != 1_800_000_000_000000 {
		t.Errorf("without a time: %d", got[0].At)
	}
	again, _, _ := Parse([]byte(body), time.Now())
	if got[1].ID != again[1].ID || got[0].ID == got[1].ID || !strings.HasPrefix(got[1].ID, "sha256:") {
		t.Errorf("ids: %q %q", got[0].ID, got[1].ID)
	}
	for _, bad := range []string{"", "{}", "[", "nul"} {
		if _, _, err := Parse([]byte(bad), time.Now()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"event":"bounce","email":"a@zoe.example","timestamp":1,"facteur_tenant":"t","facteur_message":"m","reason":"\u0000é"}]`))
	f.Add([]byte(`[{"event":1,"sg_event_id":[]}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, _, err := Parse(body, time.Unix(1_800_000_000, 0))
		if err != nil {
			return
		}
		for _, e := range got {
			if strings.ContainsRune(e.TenantID+e.MessageID+e.ID+e.Address+e.Evidence, 0) {
				t.Errorf("a NUL, which PostgreSQL refuses: %+v", e)
			}
			if !isID(e.TenantID) || !isID(e.MessageID) || e.ID == "" || len(e.Evidence) > 500 || e.At <= 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}
