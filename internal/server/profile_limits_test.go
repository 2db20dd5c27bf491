package server

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
)

// The presets of the contract are those of the domain, with the numbers that it promises.
func TestLimitPresetsAreDocumented(t *testing.T) {
	field, _ := reflect.TypeFor[api.LimitsRequest]().FieldByName("Preset")
	names := strings.Split(field.Tag.Get("enums"), ",")
	if got, want := slices.Sorted(slices.Values(names)), slices.Sorted(maps.Keys(mail.LimitPresets)); !slices.Equal(got, want) {
		t.Errorf("contract %v, domain %v", got, want)
	}
	h := onSQLite(t)
	for name, l := range mail.LimitPresets {
		a := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", limitedProfile("smtp", "x@firm.example", `{"preset":"`+name+`"}`))
		if got := a.doc["limits"]; !reflect.DeepEqual(got, limitsOf(l.PerMinute, l.PerHour, l.PerDay)) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func limitedProfile(transport, from, limits string) string {
	smtp := ""
	if transport == "smtp" {
		smtp = `,"smtp":{"host":"smtp.firm.example"}`
	}
	if limits != "" {
		limits = `,"limits":` + limits
	}
	return fmt.Sprintf(`{"level":"company","owner_ref":"C002","from":{"address":%q},"transport":%q%s%s}`, from, transport, smtp, limits)
}

func limitsOf(perMinute, perHour, perDay int) object {
	return object{"per_minute": float64(perMinute), "per_hour": float64(perHour), "per_day": float64(perDay)}
}

func TestProfileLimits(t *testing.T) {
	h := onSQLite(t)
	for _, tt := range []struct {
		transport, from, limits string
		want                    object
	}{
		{"smtp", "x@firm.example", "", limitsOf(0, 0, 0)},
		{"smtp", "x@firm.example", `{"per_minute":30,"per_day":10000}`, limitsOf(30, 0, 10000)},
		{"smtp", "x@firm.example", `{"preset":"gmail_workspace","per_day":1500,"per_minute":0}`, limitsOf(0, 0, 1500)},
		{"sandbox", "x@gmail.com", "", limitsOf(0, 0, 0)},
		{"gmail", "x@firm.example", "", limitsOf(60, 0, 2000)},
		{"gmail", "x@gmail.com", "", limitsOf(60, 0, 500)},
		{"gmail", "x@gmail.com", `{"per_day":100}`, limitsOf(60, 0, 100)},
		{"gmail", "x@gmail.com", `{"preset":"none"}`, limitsOf(0, 0, 0)},
	} {
		a := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", limitedProfile(tt.transport, tt.from, tt.limits))
		if got := a.doc["limits"]; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s %s %s: %v", tt.transport, tt.from, tt.limits, got)
		}
	}
	a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/sender-profiles",
		limitedProfile("smtp", "x", `{"preset":"yahoo","per_minute":-1,"per_hour":1000001,"per_day":"many"}`))
	if want := []string{"/limits/preset value_unknown", "/limits/per_minute number_range", "/limits/per_hour number_range", "/limits/per_day field_type", "/from/address address_invalid"}; !slices.Equal(a.errors(), want) {
		t.Errorf("%v", a.errors())
	}

	path := "/v1/sender-profiles/" + h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", limitedProfile("smtp", "x@firm.example", `{"per_minute":30,"per_day":500}`)).text("id")
	for _, tt := range []struct {
		patch string
		want  object
	}{
		{`{"name":"n"}`, limitsOf(30, 0, 500)},
		{`{"limits":{"per_hour":100}}`, limitsOf(30, 100, 500)},
		{`{"limits":{"per_hour":null,"per_minute":0}}`, limitsOf(0, 0, 500)},
		{`{"limits":{"preset":"microsoft_365","per_day":900}}`, limitsOf(30, 0, 900)},
		{`{"transport":"gmail"}`, limitsOf(60, 0, 2000)},
		{`{"transport":"smtp","smtp":{"host":"h.example"},"limits":{"per_day":7}}`, limitsOf(0, 0, 7)},
	} {
		if got := h.must(http.StatusOK, h.ours.all, "PATCH", path, tt.patch).doc["limits"]; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v", tt.patch, got)
		}
	}
}

// A profile whose limits leave no room is ready, and says until when its mails wait.
func TestLimitedProfileSaysSo(t *testing.T) {
	h := onSQLite(t)
	a := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", limitedProfile("smtp", "x@firm.example", `{"per_day":1}`))
	id := a.text("id")
	path := "/v1/sender-profiles/" + id
	mails := object{"to": []any{object{"address": "a@client.example"}}, "sender_profile_id": id, "subject": "s", "text": "t"}
	for range 2 {
		h.must(http.StatusAccepted, h.ours.send, "POST", "/v1/messages", mails)
	}
	if claimed, err := h.store.ClaimWithin(t.Context(), id, "a", time.Minute, 5); err != nil || len(claimed) != 1 {
		t.Fatalf("%d claimed, %v", len(claimed), err)
	}
	etag := h.must(http.StatusOK, h.ours.read, "GET", path, nil).Header().Get("ETag")
	if _, err := h.store.ClaimWithin(t.Context(), id, "b", time.Minute, 5); err != nil {
		t.Fatal(err)
	}
	a = h.must(http.StatusOK, h.ours.read, "GET", path, nil, "If-None-Match", etag, "Accept-Language", "fr")
	l, _ := a.doc["limited"].(object)
	until, err := time.Parse(time.RFC3339, fmt.Sprint(l["until"]))
	if err != nil || time.Until(until) < 23*time.Hour || l["limit"] != "per_day" || !strings.Contains(fmt.Sprint(l["text"]), "1 e-mails en 24 heures") || a.text("status") != "ready" {
		t.Errorf("%s", a.Body)
	}
	if a := h.must(http.StatusOK, h.ours.all, "PATCH", path, `{"limits":{"per_day":2}}`); a.doc["limited"] != nil {
		t.Errorf("%s", a.Body)
	}
}
