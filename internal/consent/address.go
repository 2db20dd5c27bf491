package consent

import (
	"strings"

	"github.com/winprest/facteur/internal/mail"
)

// sameAddress says whether two addresses are one mailbox at Google, which tells no upper case from lower. Dots and plus
// signs are compared as they are: whoever writes his address in another way declares it as an alias.
func sameAddress(a, b string) bool {
	a, _ = mail.EnvelopeForm(a)
	b, _ = mail.EnvelopeForm(b)
	return strings.EqualFold(a, b)
}
