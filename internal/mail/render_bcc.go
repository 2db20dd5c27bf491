package mail

import (
	"errors"
	"slices"
)

// ErrAddresseeSettled is the error of a mail whose header names somebody whom it must not be sent to (again).
var ErrAddresseeSettled = errors.New("mail: a recipient named in the header is settled already")

// AddressedByHeader gives the mail as it is handed to a provider that knows no envelope and sends to everybody whom the header
// names, as the Gmail API does (https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages/send). Its
// header begins with a field Bcc of those recipients of the envelope that neither To nor Cc names; such a provider takes the
// field out before delivery. Everything else is byte for byte what r is, and r is what its recipients get and what is shown of
// it later.
//
// The error is ErrAddresseeSettled when To or Cc name somebody who is not in the envelope: an earlier attempt settled him, and
// there is no way to show him to the others without mailing him again. That happens only to a mail that was sent in part
// through another transport; a provider like this one takes a mail for all or for none.
func (r *Rendered) AddressedByHeader() (*Rendered, error) {
	hidden, err := r.Hidden()
	if err != nil {
		return nil, err
	}
	if len(hidden) == 0 {
		return r, nil
	}
	var h headerWriter
	if err := h.addresses("Bcc", hidden...); err != nil {
		return nil, err
	}
	out := *r
	out.lead = h.b
	out.size += int64(len(h.b))
	out.utf8 = out.utf8 || h.utf8
	return &out, nil
}

// Hidden are the recipients of the envelope whom the header does not name. The error is as of AddressedByHeader.
func (r *Rendered) Hidden() ([]Address, error) {
	var hidden []Address
	for _, to := range r.Envelope.To {
		if !names(r.Content.To, to) && !names(r.Content.CC, to) {
			hidden = append(hidden, Address{Address: to})
		}
	}
	for _, list := range [...][]Address{r.Content.To, r.Content.CC} {
		for i := range list {
			form, _ := EnvelopeForm(list[i].Address)
			if !slices.ContainsFunc(r.Envelope.To, func(to string) bool { return sameMailbox(to, form) }) {
				return nil, ErrAddresseeSettled
			}
		}
	}
	return hidden, nil
}

// names says whether a list has an address, given in the envelope's form.
func names(list []Address, envelope string) bool {
	return slices.ContainsFunc(list, func(a Address) bool {
		form, _ := EnvelopeForm(a.Address)
		return sameMailbox(form, envelope)
	})
}
