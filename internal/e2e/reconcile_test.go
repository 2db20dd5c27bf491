package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// dropAnswers has Google take every tenth mail and cut the connection instead of saying so.
func dropAnswers(step transporttest.GoogleStep) transporttest.GoogleAction {
	if step.Endpoint == "send" && step.N%10 == 5 {
		return transporttest.GoogleAction{Accept: true, Drop: true}
	}
	return transporttest.GoogleAction{}
}

// Five mails of fifty are accepted without an answer. With gmail.send alone they wait for a person, who is shown where to look;
// with the scope that may read they are found.
func TestGmailAcceptedWithoutAnAnswer(t *testing.T) {
	for name, reconcile := range map[string]bool{"gmail.send alone": false, "gmail.readonly too": true} {
		t.Run(name, func(t *testing.T) {
			pgtest.Both(t, func(t *testing.T, url string) {
				g := transporttest.StartGoogle(t, transporttest.GoogleConfig{Hook: dropAnswers})
				s := installGmail(t, url, g).start()
				profile := s.gmailProfileWith(4, map[string]any{"reconcile": reconcile})
				s.consent(profile, g)
				job := s.batch(profile, 50)
				if reconcile {
					s.until(job, map[string]int{"sent": 50})
					s.reconciled(g)
				} else {
					s.until(job, map[string]int{"sent": 45, "uncertain": 5})
					s.hinted(job)
				}
				if g.Accepted() != 50 || g.Duplicates() != 0 {
					t.Errorf("Google has %d mails, %d twice", g.Accepted(), g.Duplicates())
				}
				noTokens(t, s)
			})
		})
	}
}

// reconciled checks the trail of five mails that were found, and that what proves it is kept.
func (s *service) reconciled(g *transporttest.Google) {
	s.in.t.Helper()
	ids := map[string]bool{}
	for _, m := range g.Mails() {
		ids["gmail message="+m.ID+" thread="+m.ThreadID] = true
	}
	events := s.must("GET", "/v1/audit-events", nil)["items"].([]any)
	found := 0
	for _, e := range events {
		event := e.(map[string]any)
		if event["actor"] != "reconciliation" {
			continue
		}
		found++
		attempts := s.must("GET", "/v1/messages/"+event["subject"].(string)+"/attempts", nil)["items"].([]any)
		evidence, _ := attempts[len(attempts)-1].(map[string]any)["evidence"].(string)
		if len(attempts) != 1 || !ids[evidence] || object(event, "detail")["evidence"] != evidence || object(event, "detail")["as"] != "sent" {
			s.in.t.Errorf("event %v, attempts %v", event, attempts)
		}
	}
	if found != 5 {
		s.in.t.Errorf("%d mails were found: %v", found, events)
	}
}

// hinted checks what a person is told of mails that are uncertain.
func (s *service) hinted(job string) {
	s.in.t.Helper()
	items := s.must("GET", "/v1/send-jobs/"+job+"/messages?status=uncertain", nil)["items"].([]any)
	if len(items) != 5 {
		s.in.t.Errorf("%d are uncertain", len(items))
	}
	for _, item := range items {
		id := item.(map[string]any)["id"].(string)
		said := map[string]bool{}
		for _, language := range []string{"fr", "nl", "en", "de"} {
			hint := object(s.must("GET", "/v1/messages/"+id, nil, "Accept-Language", language), "resolve_hint")
			link := "https://mail.google.com/mail/u/?authuser=billing%40firm.example#search/rfc822msgid:" + strings.TrimPrefix(id, "msg_") + "%40firm.example"
			if hint["url"] != link {
				s.in.t.Errorf("the hint of %s is %v", id, hint)
			}
			text, _ := hint["text"].(string)
			said[text] = strings.Contains(text, gmailAddress)
		}
		if len(said) != 4 || said[""] {
			s.in.t.Errorf("texts %v", said)
		}
	}
}

// A process that is killed while Google has the mail leaves it uncertain; another one finds it.
func TestGmailKilledInTheHandover(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		reached := make(chan struct{}, 1)
		g := transporttest.StartGoogle(t, transporttest.GoogleConfig{Hook: func(step transporttest.GoogleStep) transporttest.GoogleAction {
			if step.Endpoint == "send" && step.N == 3 {
				reached <- struct{}{}
				return transporttest.GoogleAction{Accept: true, Hang: true}
			}
			return transporttest.GoogleAction{}
		}})
		in := installGmail(t, url, g)
		s := in.start()
		profile := s.gmailProfileWith(1, map[string]any{"reconcile": true})
		s.consent(profile, g)
		job := s.batch(profile, 5)
		<-reached
		s.kill()
		s = in.start()
		s.until(job, map[string]int{"sent": 5})
		if g.Accepted() != 5 || g.Duplicates() != 0 {
			t.Errorf("Google has %d mails, %d twice", g.Accepted(), g.Duplicates())
		}
		noTokens(t, s)
	})
}

// A reminder, and a second one that answers the first, are filed in the thread of the invoice; a mail of another profile that
// answers it is not.
func TestGmailRemindersThread(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		g := transporttest.StartGoogle(t, transporttest.GoogleConfig{})
		s := installGmail(t, url, g).start()
		profile := s.gmailProfile(2)
		s.consent(profile, g)
		other := s.must("POST", "/v1/sender-profiles", map[string]any{
			"level": "user", "owner_ref": "jdupont", "name": "Jeanne", "transport": "gmail",
			"from": map[string]any{"address": gmailAddress},
		})["id"].(string)
		s.consent(other, g)
		send := func(profile, subject, answers string) string {
			t.Helper()
			m := map[string]any{
				"sender_profile_id": profile, "subject": subject, "text": "Hello", "to": []any{map[string]any{"address": "client@client.example"}},
			}
			if answers != "" {
				m["in_reply_to"] = answers
			}
			id := s.must("POST", "/v1/messages", m)["id"].(string)
			eventually(t, 30*time.Second, func() error {
				if m := s.must("GET", "/v1/messages/"+id, nil); m["status"] != "sent" {
					return fmt.Errorf("%v", m)
				}
				return nil
			})
			return id
		}
		invoice := send(profile, "Invoice 42", "")
		reminder := send(profile, "Re: Invoice 42", invoice)
		send(profile, "Re: Invoice 42", reminder)
		send(other, "Re: Invoice 42", invoice)
		send(profile, "Invoice 43", "")
		mails := g.Mails()
		if len(mails) != 5 {
			t.Fatalf("%d mails", len(mails))
		}
		for i, same := range []bool{true, true, true, false, false} {
			if got := mails[i].ThreadID == mails[0].ThreadID; got != same {
				t.Errorf("mail %d is in thread %s, the invoice in %s", i, mails[i].ThreadID, mails[0].ThreadID)
			}
		}
	})
}
