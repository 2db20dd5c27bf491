package outbox

import (
	"context"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// A profile may want that a mail of uncertain outcome is sent again by itself (mail.Profile.ResendUncertain): twice is better for
// its owner than never. It is sent again with the same Message-ID when
//
//   - a transport that can look for it has had its say, and some minutes have gone by (Config.ResendAfter);
//   - the profile still wants it, the mail may still wait, its job was not canceled, and nobody has sent its document anew;
//   - it was not uncertain for the third time.

// ActorOnUncertain is who acts, in the audit trail, when a profile's on_uncertain has a message sent again.
const ActorOnUncertain = "on_uncertain"

// maxResends is how often a message is sent again by itself. What a person has sent again counts too.
const maxResends = 2

func (o *Outbox) resendAfter(lost bool) time.Duration {
	if lost {
		return o.cfg.LostLook
	}
	return o.cfg.ResendAfter
}

// notFound ends the looks for a mail that nobody could find, nor prove absent: it stays uncertain, unless the profile has it sent
// again.
func (o *Outbox) notFound(ctx context.Context, l *store.Look, p *mail.Profile, why string) error {
	if !p.ResendUncertain {
		return o.giveUp(ctx, l, why)
	}
	if wait := o.resendAfter(l.Lost) - l.Elapsed; wait > 0 {
		return o.store.LookAgain(ctx, l, wait)
	}
	attempts, err := o.store.Attempts(ctx, l.TenantID, l.MessageID)
	if err != nil {
		return err
	}
	uncertain := 0
	for i := range attempts {
		if attempts[i].Outcome == mail.OutcomeUncertain {
			uncertain++
		}
	}
	if uncertain > maxResends {
		return o.giveUp(ctx, l, "it was sent again twice already")
	}
	return o.settleLook(ctx, l, resolution{actor: ActorOnUncertain, as: ResolveResend, why: why})
}
