package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// weather is what a mail server does to a firm's mails, and what the firm is told.
type weather struct {
	name   string
	server tt.SMTPConfig
	hook   func(tt.Step) tt.Action // in force until the weather is fine again
	smtp   map[string]any          // settings besides host, port and no protection
	mails  int                     // 0: 3
	file   int                     // bytes of a file that goes with every mail

	// What they come to while it lasts.
	status   mail.Status // of every mail
	profile  string      // "ready", "held" or "paused"
	code     string      // of the problem; empty: none
	reply    int         // code of the server's reply; 0: it said nothing that counts
	accepted int         // mails that the server has

	// mend is a patch of the settings. What was held or paused also goes on after a patch that changes nothing that matters, what
	// was deferred when its time has come, what failed after a retry, what is uncertain after a person's word.
	mend func(*scene) map[string]any
}

// scene is one weather at work.
type scene struct {
	weather
	*service
	server       *tt.SMTPServer
	fine         atomic.Bool
	profile, job string
}

const (
	user     = "billing@firm.example"
	password = "correct horse battery"

	wrongPassword = "horse incorrect"
)

var logins = map[string]string{user: password}

// nobody is a port where nothing listens.
const nobody = 1

// at acts at one verb.
func at(verb string, a tt.Action) func(tt.Step) tt.Action {
	return func(s tt.Step) tt.Action {
		if s.Verb == verb {
			return a
		}
		return tt.Action{}
	}
}

// oneByOne has each command answered before the next is sent, so that it is certain which of them a cut meets.
var oneByOne = tt.SMTPConfig{Hide: []string{"PIPELINING"}}

func weathers() []weather {
	login := map[string]any{"auth": "auto", "username": user, "password": password, "allow_plaintext_login": true}
	starttls := map[string]any{"security": "starttls"}
	list := []weather{
		{name: "nothing listens", smtp: map[string]any{"port": nobody}, status: mail.StatusQueued, profile: "paused", code: "smtp_connection_refused",
			mend: func(s *scene) map[string]any { return map[string]any{"port": s.server.Port()} }},
		{name: "wrong password", server: tt.SMTPConfig{Users: logins},
			smtp:   map[string]any{"auth": "auto", "username": user, "password": wrongPassword, "allow_plaintext_login": true},
			status: mail.StatusHeld, profile: "held", code: "smtp_login_refused", reply: 535,
			mend: func(*scene) map[string]any { return map[string]any{"password": password} }},
		{name: "login needed", server: tt.SMTPConfig{Users: logins}, status: mail.StatusHeld, profile: "held", code: "smtp_login_required", reply: 530,
			mend: func(*scene) map[string]any { return login }},
		{name: "login in clear", server: tt.SMTPConfig{Users: logins, Mechanisms: []string{"PLAIN"}}, smtp: map[string]any{"auth": "auto", "username": user, "password": password},
			status: mail.StatusHeld, profile: "held", code: "smtp_login_needs_tls",
			mend: func(*scene) map[string]any { return login }},
		{name: "STARTTLS stripped", server: tt.SMTPConfig{TLS: true, Hide: []string{"STARTTLS"}}, smtp: starttls,
			status: mail.StatusHeld, profile: "held", code: "smtp_starttls_not_offered",
			mend: func(*scene) map[string]any { return map[string]any{"security": "none"} }},
		{name: "STARTTLS injected", server: tt.SMTPConfig{TLS: true}, hook: at("STARTTLS", tt.Action{Reply: "220 go\r\n250-evil\r\n250 AUTH PLAIN"}), smtp: starttls,
			status: mail.StatusHeld, profile: "held", code: "smtp_tls_injection",
			mend: func(s *scene) map[string]any { return map[string]any{"ca_certificates": s.server.CA()} }},
		{name: "sender refused", hook: at("MAIL", tt.Action{Reply: "550 5.7.1 not your address"}), status: mail.StatusHeld, profile: "held", code: "smtp_sender_refused", reply: 550},
		{name: "421 for everybody", hook: at("CONNECT", tt.Action{Reply: "421 4.3.2 closing", Drop: true}), status: mail.StatusQueued, profile: "paused", code: "smtp_service_unavailable", reply: 421},
		// A server that ends each connection after two mails is normal, and nobody notices.
		{name: "421 in the middle", mails: 7, status: mail.StatusSent, profile: "ready", accepted: 7, hook: func(s tt.Step) tt.Action {
			if s.Verb == "MAIL" && s.N > 2 {
				return tt.Action{Reply: "421 4.7.0 enough", Drop: true}
			}
			return tt.Action{}
		}},
		{name: "421 after the dot", hook: at("DOT", tt.Action{Reply: "421 4.3.2 closing", Drop: true}), status: mail.StatusDeferred, profile: "ready", code: "smtp_service_unavailable", reply: 421},
		{name: "greylisting", hook: at("RCPT", tt.Action{Reply: "450 4.7.1 greylisted, come back later"}), status: mail.StatusDeferred, profile: "ready", code: "greylisted", reply: 450},
		{name: "552", hook: at("DOT", tt.Action{Reply: "552 5.3.4 too big"}), status: mail.StatusFailed, profile: "ready", code: "message_too_large", reply: 552},
		{name: "too big by SIZE", server: tt.SMTPConfig{Size: 100}, status: mail.StatusFailed, profile: "ready", code: "message_too_large",
			mend: func(s *scene) map[string]any { return map[string]any{"port": s.another()} }},
		{name: "spam", hook: at("DOT", tt.Action{Reply: "550 5.7.1 looks like spam"}), status: mail.StatusFailed, profile: "ready", code: "content_refused", reply: 550},

		{name: "cut in the body", hook: at("BODY", tt.Action{Drop: true}), mails: 2, file: 12 << 20, status: mail.StatusDeferred, profile: "ready", code: "smtp_connection_lost"},
		// Three in a row would pause the profile.
		{name: "cut after the dot", hook: at("DOT", tt.Action{Accept: true, Drop: true}), mails: 2, status: mail.StatusUncertain, profile: "ready", code: "smtp_outcome_unknown", accepted: 2},
		{name: "cut at the dot", hook: at("DOT", tt.Action{Drop: true}), mails: 2, status: mail.StatusUncertain, profile: "ready", code: "smtp_outcome_unknown"},
		{name: "garbage after the dot", hook: at("DOT", tt.Action{Accept: true, Reply: "HTTP/1.1 200 OK"}), mails: 2, status: mail.StatusUncertain, profile: "ready", code: "smtp_outcome_unknown", accepted: 2},
	}
	for name, flaw := range map[string]tt.CertificateKind{"expired": tt.CertificateExpired, "for another name": tt.CertificateWrongName, "of an unknown issuer": tt.CertificateUnknown} {
		list = append(list, weather{
			name: "certificate " + name, server: tt.SMTPConfig{TLS: true, Certificate: flaw}, smtp: starttls,
			status: mail.StatusHeld, profile: "held", code: "smtp_certificate_invalid",
			mend: func(s *scene) map[string]any { return map[string]any{"port": s.another(), "security": "none"} },
		})
	}
	for verb, what := range map[string]struct {
		status  mail.Status
		profile string
	}{
		"CONNECT": {mail.StatusQueued, "paused"}, "EHLO": {mail.StatusQueued, "paused"}, "MAIL": {mail.StatusQueued, "paused"},
		"RCPT": {mail.StatusDeferred, "ready"}, "DATA": {mail.StatusDeferred, "ready"},
	} {
		list = append(list,
			weather{name: "cut at " + verb, server: oneByOne, hook: at(verb, tt.Action{Drop: true}), mails: 2, status: what.status, profile: what.profile, code: "smtp_connection_lost"},
			weather{name: "garbage at " + verb, server: oneByOne, hook: at(verb, tt.Action{Reply: "HTTP/1.1 400 Bad Request\r\n\r\n<html>"}), mails: 2, status: what.status, profile: what.profile, code: "smtp_protocol_error"},
		)
	}
	for code, a := range map[string]tt.Action{"smtp_connection_lost": {Drop: true}, "smtp_protocol_error": {Reply: "what?"}} {
		list = append(list,
			weather{name: "STARTTLS " + code, server: tt.SMTPConfig{TLS: true}, hook: at("STARTTLS", a), smtp: starttls, status: mail.StatusQueued, profile: "paused", code: code,
				mend: func(s *scene) map[string]any { return map[string]any{"ca_certificates": s.server.CA()} }},
			weather{name: "AUTH " + code, server: tt.SMTPConfig{Users: logins}, hook: at("AUTH", a), smtp: login, status: mail.StatusQueued, profile: "paused", code: code},
		)
	}
	return list
}

// another starts a good server in place of the scene's and gives its port.
func (s *scene) another() int {
	s.in.t.Helper()
	if n := s.server.Accepted(); n != 0 {
		s.in.t.Errorf("%s: the bad server has %d mails", s.name, n)
	}
	s.server = tt.StartSMTP(s.in.t, tt.SMTPConfig{})
	return s.server.Port()
}

// TestWeather sends through every kind of bad server at once, reads what the firm is told, then lets the weather change and
// counts: every mail that a server does not have already arrives once.
func TestWeather(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		in := install(t, url)
		s := in.start()
		var scenes []*scene
		for _, w := range weathers() {
			scenes = append(scenes, s.set(w))
		}
		for _, sc := range scenes {
			sc.await()
		}
		for _, sc := range scenes {
			sc.change()
		}
		sent, uncertain := 0, 0
		for _, sc := range scenes {
			sc.settle()
			sent += sc.server.Accepted()
			if sc.status == mail.StatusUncertain {
				uncertain += sc.mails
			}
		}
		t.Logf("%d weathers: %d mails arrived, none twice; %d were uncertain", len(scenes), sent, uncertain)
		if code := s.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// set sends a batch into a weather.
func (s *service) set(w weather) *scene {
	s.in.t.Helper()
	sc := &scene{weather: w, service: s}
	if sc.mails == 0 {
		sc.mails = 3
	}
	cfg := w.server
	cfg.Hook = func(step tt.Step) tt.Action {
		if w.hook == nil || sc.fine.Load() {
			return tt.Action{}
		}
		return w.hook(step)
	}
	sc.server = tt.StartSMTP(s.in.t, cfg)
	sc.profile = s.smtpProfile(sc.server.Addr(), 1, w.smtp)
	job := map[string]any{"purpose": "batch", "sender_profile_id": sc.profile, "messages": mails(sc.mails)}
	if w.file > 0 {
		job["attachments"] = []any{map[string]any{"id": s.upload(w.file)}}
	}
	sc.job = s.must("POST", "/v1/send-jobs", job)["id"].(string)
	return sc
}

// object goes down an answer by keys; nil when there is nothing.
func object(answer map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		answer, _ = answer[k].(map[string]any)
	}
	return answer
}

// messages are those of the scene's job.
func (s *scene) messages(language string) []map[string]any {
	s.in.t.Helper()
	items := s.must("GET", "/v1/send-jobs/"+s.job+"/messages?limit=200", nil, "Accept-Language", language)["items"].([]any)
	list := make([]map[string]any, len(items))
	for i := range items {
		list[i] = items[i].(map[string]any)
	}
	return list
}

// await waits until the scene is as its weather says, and checks every word that the firm gets.
func (s *scene) await() {
	s.in.t.Helper()
	eventually(s.in.t, 30*time.Second, func() error {
		if n := object(s.must("GET", "/v1/send-jobs/"+s.job, nil), "counts")[string(s.status)]; n != float64(s.mails) {
			return fmt.Errorf("%s: %v of %d mails are %s: %v", s.name, n, s.mails, s.status, s.messages("en"))
		}
		if p := s.must("GET", "/v1/sender-profiles/"+s.profile, nil); p["status"] != s.weather.profile {
			return fmt.Errorf("%s: the profile is %v: %v", s.name, p["status"], p["problem"])
		}
		return nil
	})
	if n := s.server.Accepted(); n != s.accepted {
		s.in.t.Errorf("%s: the server has %d mails", s.name, n)
	}
	if s.code == "" {
		return
	}
	texts := map[string]bool{}
	for _, language := range []string{"fr", "nl", "en", "de"} {
		told := 0
		for _, m := range s.messages(language) {
			if m["problem"] == nil && s.status == mail.StatusQueued {
				continue // a mail that was never tried has nothing to say: its profile has
			}
			told++
			s.told(object(m, "problem"), texts, s.weather.profile == "ready")
			if next, _ := m["next_attempt_at"].(string); s.status == mail.StatusDeferred {
				s.checkNext(m["updated_at"].(string), next)
			}
			if n := m["attempts"].(float64); n != 0 && (s.status == mail.StatusQueued || s.status == mail.StatusHeld) {
				s.in.t.Errorf("%s: %v attempts are counted, and the fault is the profile's", s.name, n)
			}
		}
		if told == 0 {
			s.in.t.Errorf("%s: no mail says what is wrong", s.name)
		}
		if s.weather.profile != "ready" {
			s.told(object(s.must("GET", "/v1/sender-profiles/"+s.profile, nil, "Accept-Language", language), "problem"), texts, true)
		}
	}
	if len(texts) != 4 {
		s.in.t.Errorf("%s: %d texts in four languages: %v", s.name, len(texts), texts)
	}
}

// told checks a problem as it is shown to a person, and collects its text. The server's own words are with what they are about:
// the mail or the profile.
func (s *scene) told(problem map[string]any, texts map[string]bool, words bool) {
	s.in.t.Helper()
	title, _ := problem["title"].(string)
	detail, _ := problem["detail"].(string)
	if problem["code"] != s.code || title == "" || detail == "" {
		s.in.t.Errorf("%s: problem %v, want %s", s.name, problem, s.code)
		return
	}
	texts[title+"\n"+detail] = true
	if got := object(problem, "reply")["code"]; words && s.reply != 0 && got != float64(s.reply) {
		s.in.t.Errorf("%s: reply %v, want %d", s.name, problem["reply"], s.reply)
	}
	if text := fmt.Sprint(problem); strings.Contains(text, password) || strings.Contains(text, wrongPassword) {
		s.in.t.Errorf("%s: the password shows: %s", s.name, text)
	}
}

// checkNext holds the next attempt against the gaps that are promised: a minute, five when it is greylisting.
func (s *scene) checkNext(updated, next string) {
	s.in.t.Helper()
	from, err1 := time.Parse(time.RFC3339, updated)
	to, err2 := time.Parse(time.RFC3339, next)
	if err := errors.Join(err1, err2); err != nil {
		s.in.t.Errorf("%s: %v", s.name, err)
		return
	}
	least := time.Minute
	if s.code == mail.CodeGreylisted {
		least = 5 * time.Minute
	}
	if gap := to.Sub(from); gap < least-time.Second || gap > 2*least {
		s.in.t.Errorf("%s: the next attempt is after %s", s.name, gap)
	}
}

// change has the weather clear up and a person do what is a person's to do.
func (s *scene) change() {
	s.in.t.Helper()
	s.fine.Store(true)
	if patch := map[string]any{"name": "Mended"}; s.mend != nil || s.weather.profile != "ready" {
		if s.mend != nil {
			patch = map[string]any{"smtp": s.mend(s)}
		}
		s.must("PATCH", "/v1/sender-profiles/"+s.profile, patch)
	}
	switch s.status {
	case mail.StatusDeferred:
		s.in.due(s.job)
	case mail.StatusFailed:
		for _, m := range s.messages("en") {
			s.must("POST", "/v1/messages/"+m["id"].(string)+"/retry", nil)
		}
	case mail.StatusUncertain:
		// Nothing moves them but a person, who looks whether they arrived.
		as := "resend"
		if s.accepted > 0 {
			as = "sent"
		}
		for _, m := range s.messages("en") {
			s.must("POST", "/v1/messages/"+m["id"].(string)+"/resolve", map[string]any{"as": as})
		}
	}
}

// settle waits until everything is sent and counts.
func (s *scene) settle() {
	s.in.t.Helper()
	if counts := s.in.awaitDone(s.job, s.mails); counts[mail.StatusSent] != s.mails {
		s.in.t.Errorf("%s: %v", s.name, counts)
	}
	if n, twice := s.server.Accepted(), s.server.Duplicates(); n != s.mails || twice != 0 {
		s.in.t.Errorf("%s: %d mails arrived, %d of them twice", s.name, n, twice)
	}
	s.in.compare(s.job, s.server)
	if p := s.must("GET", "/v1/sender-profiles/"+s.profile, nil); p["status"] != "ready" || p["problem"] != nil {
		s.in.t.Errorf("%s: the profile is %v: %v", s.name, p["status"], p["problem"])
	}
}

// TestOneBadRecipientOfThree sends to two, and shows the third with the server's own words.
func TestOneBadRecipientOfThree(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		server := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(s tt.Step) tt.Action {
			if s.Verb == "RCPT" && strings.Contains(s.Arg, "gone@") {
				return tt.Action{Reply: "550 5.1.1 no such user here"}
			}
			return tt.Action{}
		}})
		in := install(t, url)
		s := in.start()
		m := s.must("POST", "/v1/messages", map[string]any{
			"sender_profile_id": s.smtpProfile(server.Addr(), 1, nil), "subject": "Invoice", "text": "Please find it.",
			"to": []any{map[string]any{"address": "a@client.example"}, map[string]any{"address": "gone@client.example"}}, "cc": []any{map[string]any{"address": "c@client.example"}},
		})
		path := "/v1/messages/" + m["id"].(string)
		eventually(t, 30*time.Second, func() error {
			if m = s.must("GET", path, nil); m["status"] != "sent" {
				return fmt.Errorf("%v", m)
			}
			return nil
		})
		if object(m, "problem")["code"] != mail.CodePartlyRefused {
			t.Errorf("problem %v", m["problem"])
		}
		for i, want := range []string{"sent", "failed", "sent"} {
			r := m["recipients"].([]any)[i].(map[string]any)
			reply := object(r, "reply")
			refused := reply["code"] == 550.0 && reply["enhanced"] == "5.1.1" && reply["text"] == "no such user here"
			if r["status"] != want || refused != (want == "failed") {
				t.Errorf("recipient %v", r)
			}
		}
		if mails := server.Mails(); len(mails) != 1 || !slices.Equal(mails[0].To, []string{"a@client.example", "c@client.example"}) {
			t.Errorf("at the server: %+v", mails)
		}
		if n := object(s.must("GET", "/v1/send-jobs/"+m["job_id"].(string), nil), "counts")["sent"]; n != 1.0 {
			t.Errorf("%v sent", n)
		}
	})
}

// TestSilentServer has servers that say nothing more, and stops the process in the middle of the wait: what may be there is
// uncertain, what cannot be goes out again.
func TestSilentServer(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		in := install(t, url, "FACTEUR_STOP_TIMEOUT=2s")
		s := in.start()
		reached := make(chan string, 2)
		hang := func(verb string, accept bool) *scene {
			hung := atomic.Bool{}
			return s.set(weather{name: "hang at " + verb, mails: 1, hook: func(step tt.Step) tt.Action {
				if step.Verb == verb && hung.CompareAndSwap(false, true) {
					reached <- verb
					return tt.Action{Accept: accept, Hang: true}
				}
				return tt.Action{}
			}})
		}
		before, after := hang("MAIL", false), hang("DOT", true)
		for range 2 {
			<-reached
		}
		t.Logf("exit code %d with two servers that hang", s.stop())
		s = in.start()
		if counts := in.awaitDone(before.job, 1); counts[mail.StatusSent] != 1 {
			t.Errorf("hung before the mail: %v", counts)
		}
		if counts := in.awaitDone(after.job, 1); counts[mail.StatusUncertain] != 1 {
			t.Errorf("hung after the mail: %v", counts)
		}
		in.compare(before.job, before.server)
		in.compare(after.job, after.server)
		after.service = s
		if m := after.messages("fr")[0]; object(m, "problem")["code"] == nil || object(m, "problem")["title"] == "" {
			t.Errorf("%v", m)
		}
	})
}
