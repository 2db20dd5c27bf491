package smtp

import (
	"testing"

	"github.com/winprest/facteur/internal/mail"
)

// Every reply that means something, at the step where it may come.
func TestClassify(t *testing.T) {
	const (
		message   = mail.ScopeMessage
		recipient = mail.ScopeRecipient
		profile   = mail.ScopeProfile
		uncertain = mail.OutcomeUncertain
	)
	for _, test := range []struct {
		step     string
		code     int
		enhanced string
		outcome  mail.Outcome
		scope    mail.Scope
		want     string
	}{
		{"connect", 421, "", temporary, profile, CodeServiceUnavailable},
		{"connect", 421, "4.7.0", temporary, profile, CodeServiceUnavailable},
		{"connect", 450, "", temporary, profile, CodeServiceUnavailable},
		{"connect", 554, "", permanent, profile, CodeConnectionRejected},
		{"connect", 550, "5.7.1", permanent, profile, CodeConnectionRejected},
		{"connect", 354, "", temporary, profile, CodeProtocolError},

		{"tls", 454, "4.7.0", temporary, profile, CodeSTARTTLSRefused},
		{"tls", 501, "", permanent, profile, CodeSTARTTLSRefused},
		{"tls", 421, "", temporary, profile, CodeServiceUnavailable},

		{"login", 535, "5.7.8", permanent, profile, CodeLoginRefused},
		{"login", 535, "", permanent, profile, CodeLoginRefused},
		{"login", 534, "5.7.9", permanent, profile, CodeLoginRefused},
		{"login", 501, "5.5.2", permanent, profile, CodeLoginRefused},
		{"login", 432, "4.7.12", permanent, profile, CodeLoginRefused},
		{"login", 454, "4.7.0", temporary, profile, CodeLoginUnavailable},
		{"login", 451, "", temporary, profile, CodeLoginUnavailable},
		{"login", 421, "4.7.0", temporary, profile, CodeServiceUnavailable},
		{"login", 504, "5.5.4", permanent, profile, CodeLoginNotOffered},
		{"login", 502, "", permanent, profile, CodeLoginNotOffered},
		{"login", 538, "5.7.11", permanent, profile, CodeLoginNeedsTLS},

		{"mail", 421, "", temporary, profile, CodeServiceUnavailable},
		{"mail", 530, "5.7.0", permanent, profile, CodeLoginRequired},
		{"mail", 538, "", permanent, profile, CodeLoginNeedsTLS},
		{"mail", 550, "5.7.1", permanent, profile, CodeSenderRefused},
		{"mail", 553, "5.7.1", permanent, profile, CodeSenderRefused},
		{"mail", 550, "5.1.8", permanent, profile, CodeSenderRefused},
		{"mail", 501, "5.1.7", permanent, profile, CodeSenderRefused},
		{"mail", 552, "5.3.4", permanent, message, CodeMessageTooLarge},
		{"mail", 552, "", permanent, message, CodeMessageTooLarge},
		{"mail", 554, "5.3.4", permanent, message, CodeMessageTooLarge},
		{"mail", 555, "5.5.4", permanent, profile, CodeCommandRefused},
		{"mail", 502, "5.5.1", permanent, profile, CodeCommandRefused},
		{"mail", 503, "5.5.1", temporary, message, CodeProtocolError},
		{"mail", 550, "5.6.7", permanent, message, CodeSMTPUTF8NotOffered},
		{"mail", 452, "4.3.1", temporary, message, CodeStorageFull},
		{"mail", 451, "4.3.0", temporary, profile, CodeSenderDeferred},
		{"mail", 450, "4.7.1", temporary, profile, CodeSenderDeferred},
		{"mail", 354, "", temporary, profile, CodeProtocolError},

		{"rcpt", 421, "", temporary, profile, CodeServiceUnavailable},
		{"rcpt", 530, "", permanent, profile, CodeLoginRequired},
		{"rcpt", 550, "5.1.1", permanent, recipient, CodeRecipientUnknown},
		{"rcpt", 551, "5.1.6", permanent, recipient, CodeRecipientUnknown},
		{"rcpt", 556, "5.1.10", permanent, recipient, CodeRecipientUnknown},
		{"rcpt", 553, "5.1.3", permanent, recipient, CodeRecipientUnknown},
		{"rcpt", 550, "5.4.4", permanent, recipient, CodeRecipientUnknown},
		{"rcpt", 550, "", permanent, recipient, CodeRecipientRefused},
		{"rcpt", 501, "5.5.4", permanent, recipient, CodeRecipientRefused},
		{"rcpt", 550, "5.7.1", permanent, recipient, CodeRecipientPolicy},
		{"rcpt", 554, "5.7.606", permanent, recipient, CodeRecipientPolicy},
		{"rcpt", 550, "5.2.1", permanent, recipient, CodeMailboxDisabled},
		{"rcpt", 552, "5.2.2", permanent, recipient, CodeMailboxFull},
		{"rcpt", 552, "", temporary, recipient, CodeMailboxFull},
		{"rcpt", 552, "5.5.3", temporary, recipient, CodeRecipientOverLimit},
		{"rcpt", 552, "5.2.3", permanent, recipient, CodeMessageTooLarge},
		{"rcpt", 553, "5.6.7", permanent, recipient, CodeSMTPUTF8NotOffered},
		{"rcpt", 503, "", temporary, message, CodeProtocolError},
		{"rcpt", 450, "4.7.1", temporary, recipient, mail.CodeGreylisted},
		{"rcpt", 451, "4.7.1", temporary, recipient, mail.CodeGreylisted},
		{"rcpt", 450, "4.2.0", temporary, recipient, mail.CodeGreylisted},
		{"rcpt", 450, "4.2.1", temporary, recipient, CodeRecipientDeferred},
		{"rcpt", 450, "", temporary, recipient, CodeRecipientDeferred},
		{"rcpt", 451, "4.3.0", temporary, recipient, CodeRecipientDeferred},
		{"rcpt", 452, "4.2.2", temporary, recipient, CodeMailboxFull},
		{"rcpt", 452, "4.5.3", temporary, recipient, CodeRecipientOverLimit},
		{"rcpt", 452, "", temporary, recipient, CodeRecipientOverLimit},
		{"rcpt", 452, "4.3.1", temporary, recipient, CodeStorageFull},

		{"data", 421, "", temporary, profile, CodeServiceUnavailable},
		{"data", 451, "4.7.1", temporary, message, mail.CodeGreylisted},
		{"data", 451, "", temporary, message, CodeMessageDeferred},
		{"data", 452, "4.3.1", temporary, message, CodeStorageFull},
		{"data", 503, "5.5.1", temporary, message, CodeProtocolError},
		{"data", 554, "", permanent, message, CodeMessageRefused},
		{"data", 550, "5.7.1", permanent, message, CodeContentRefused},

		{"body", 552, "5.3.4", permanent, message, CodeMessageTooLarge},
		{"body", 421, "", temporary, message, CodeServiceUnavailable},
		{"body", 554, "", permanent, message, CodeContentRefused},

		{"final", 421, "", temporary, message, CodeServiceUnavailable},
		{"final", 450, "4.7.1", temporary, message, mail.CodeGreylisted},
		{"final", 451, "4.3.0", temporary, message, CodeMessageDeferred},
		{"final", 452, "", temporary, message, CodeStorageFull},
		{"final", 452, "4.2.2", temporary, message, CodeMailboxFull},
		{"final", 530, "", permanent, profile, CodeLoginRequired},
		{"final", 552, "", permanent, message, CodeMessageTooLarge},
		{"final", 552, "5.2.2", permanent, message, CodeMailboxFull},
		{"final", 552, "5.3.4", permanent, message, CodeMessageTooLarge},
		{"final", 550, "5.2.3", permanent, message, CodeMessageTooLarge},
		{"final", 550, "5.7.1", permanent, message, CodeContentRefused},
		{"final", 554, "5.7.0", permanent, message, CodeContentRefused},
		{"final", 554, "", permanent, message, CodeContentRefused},
		{"final", 550, "", permanent, message, CodeContentRefused},
		{"final", 550, "5.6.0", permanent, message, CodeContentRefused},
		{"final", 550, "5.7.2", permanent, message, CodeContentRefused},
		{"final", 550, "5.7.23", permanent, message, CodeNotAuthenticated},
		{"final", 550, "5.7.26", permanent, message, CodeNotAuthenticated},
		{"final", 550, "5.7.28", permanent, message, CodeMessageRefused},
		{"final", 550, "5.7.232", permanent, message, CodeContentRefused},
		{"final", 571, "", permanent, message, CodeMessageRefused},
		{"final", 354, "", uncertain, message, CodeOutcomeUnknown},
	} {
		r := mail.Reply{Code: test.code, Enhanced: test.enhanced, Text: "words"}
		v := classify(test.step, r)
		if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.want || v.Step != test.step || v.Reply != r {
			t.Errorf("%s %d %s: %s %s %s, want %s %s %s", test.step, test.code, test.enhanced, v.Outcome, v.Scope, v.Code, test.outcome, test.scope, test.want)
		}
	}
}

// No refusal is left without a verdict, and none is ever taken for sent or uncertain.
func TestClassifyKnowsEveryRefusal(t *testing.T) {
	for _, step := range []string{stepConnect, stepTLS, stepLogin, stepMail, stepRcpt, stepData, stepBody, stepFinal} {
		for code := 400; code < 600; code++ {
			for _, status := range []string{"", ".0.0", ".1.1", ".2.2", ".3.4", ".5.3", ".7.1", ".7.26", ".9.999"} {
				if status != "" {
					status = string(rune('0'+code/100)) + status
				}
				v := classify(step, mail.Reply{Code: code, Enhanced: status})
				if v.Outcome != temporary && v.Outcome != permanent || v.Code == "" || v.Scope == "" {
					t.Fatalf("%s %d %s: %+v", step, code, status, v)
				}
				if v.Code == CodeProtocolError && code != 503 {
					t.Fatalf("%s %d %s has no rule", step, code, status)
				}
			}
		}
	}
}
