package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
)

// The settings of a SendGrid profile come back as they were given, are edited one by one, and belong to that transport alone.
func TestSendGridSettings(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	h.must(http.StatusOK, h.operator, "PUT", "/v1/tenants/"+h.ours.id+"/add-ons/sendgrid", `{}`)
	a := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", object{
		"level": "company", "owner_ref": "C9", "transport": "sendgrid", "from": object{"address": "billing@firm.example"}, "sendgrid": object{"careful": true},
	})
	profile := "/v1/sender-profiles/" + a.text("id")
	settings := func() map[string]any {
		var p struct{ SendGrid map[string]any }
		if err := json.Unmarshal(h.must(http.StatusOK, h.ours.all, "GET", profile, nil).Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		return p.SendGrid
	}
	if s := settings(); s["careful"] != true || s["tracking"] != nil {
		t.Errorf("settings %v", s)
	}
	h.must(http.StatusOK, h.ours.all, "PATCH", profile, object{"sendgrid": object{"tracking": true}})
	if s := settings(); s["careful"] != true || s["tracking"] != true {
		t.Errorf("settings %v", s)
	}
	a = h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", "/v1/sender-profiles/"+f.user, object{"sendgrid": object{}})
	if got := a.errors(); !slices.Equal(got, []string{"/sendgrid sendgrid_settings_not_used"}) {
		t.Errorf("%v", got)
	}
}
