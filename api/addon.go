package api

import "time"

// AddOn is a paid extra of a firm. Its reseller switches it on and off.
type AddOn struct {
	// Name of the add-on.
	Name string `json:"name" enums:"sendgrid" example:"sendgrid"`
	// Active says that it is on now. While it is off the profiles that need it hold their mail; nothing fails.
	Active bool `json:"active"`
	// From is when it was or will be switched on.
	From time.Time `json:"from" format:"date-time" example:"2026-11-01T00:00:00Z"`
	// Until is when it was or will be switched off; absent: it stays on.
	Until *time.Time `json:"until,omitempty" format:"date-time" example:"2027-11-01T00:00:00Z"`
}

// AddOns are the add-ons of a firm, those that ended too.
type AddOns struct {
	// Items are the add-ons.
	Items []AddOn `json:"items"`
}

// TenantAddOn is an add-on of a firm as an operator sees it.
type TenantAddOn struct {
	AddOn
	// Key is the name of the service's SendGrid key that the firm's mails go with; absent: the default one.
	Key string `json:"key,omitempty" example:"eu"`
	// Subuser is the firm's subuser at SendGrid; absent: it has none and shares the account.
	Subuser string `json:"subuser,omitempty" example:"zoe"`
	// UpdatedAt is when an operator last changed it.
	UpdatedAt time.Time `json:"updated_at" format:"date-time" example:"2026-11-01T00:00:00Z"`
}

// TenantAddOns are the add-ons of a firm as an operator sees them.
type TenantAddOns struct {
	// Items are the add-ons.
	Items []TenantAddOn `json:"items"`
}

// AddOnRequest switches an add-on on, or changes it. It is replaced whole.
type AddOnRequest struct {
	// From is when it is on. Default: now; of one that is on already: as it was.
	From *time.Time `json:"from,omitempty" format:"date-time" example:"2026-12-01T00:00:00Z"`
	// Until is when it is off again; absent: until it is switched off.
	Until *time.Time `json:"until,omitempty" format:"date-time" example:"2027-12-01T00:00:00Z"`
	// Key is the name of the service's SendGrid key to use; absent: the default one.
	Key string `json:"key,omitempty" example:"eu" validate:"max=50"`
	// Subuser is the firm's subuser at SendGrid. With another account than before, senders have to be verified there anew.
	Subuser string `json:"subuser,omitempty" example:"zoe" validate:"max=64"`
}

// Usage is what a firm sent of the messages that were accepted in a month (UTC).
type Usage struct {
	// Month that is counted.
	Month string `json:"month" example:"2026-11"`
	// Items are by profile and transport. A profile that had two transports in the month has two.
	Items []UsageItem `json:"items"`
	// Total of all items.
	Total UsageCounts `json:"total"`
}

// UsageItem is what one profile sent over one transport.
type UsageItem struct {
	// ProfileID of the sender profile.
	ProfileID string `json:"profile_id" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ProfileName is what a person calls it, by now.
	ProfileName string `json:"profile_name" example:"Invoices of Zoë SRL"`
	// Transport of the latest attempt; of messages that were never tried, the profile's by now.
	Transport string `json:"transport" example:"sendgrid"`
	UsageCounts
}

// UsageCounts counts messages.
type UsageCounts struct {
	// Messages that were accepted.
	Messages int64 `json:"messages" example:"812"`
	// Recipients of these messages, all of them.
	Recipients int64 `json:"recipients" example:"840"`
	// RecipientsSent are those that the far end took the mail for.
	RecipientsSent int64 `json:"recipients_sent" example:"835"`
	// Bytes of the mails that reached a far end, each once, as it was at its latest attempt.
	Bytes int64 `json:"bytes" example:"98123456"`
	// Waiting are messages that are not at their end: queued, held, deferred or on their way.
	Waiting int64 `json:"waiting" example:"0"`
	// Sent are messages that the far end took, perhaps not for all recipients.
	Sent int64 `json:"sent" example:"808"`
	// Failed are messages that nobody got.
	Failed int64 `json:"failed" example:"2"`
	// Uncertain are messages of which nobody knows whether they were taken.
	Uncertain int64 `json:"uncertain" example:"1"`
	// Canceled are messages that a person stopped.
	Canceled int64 `json:"canceled" example:"1"`
}

// UsageReport is what all firms sent, to invoice from.
type UsageReport struct {
	// Month that is counted (UTC).
	Month string `json:"month" example:"2026-11"`
	// Items are by firm, profile and transport. A firm that had the add-on and sent nothing has one without profile and transport.
	Items []UsageReportItem `json:"items"`
}

// UsageReportItem is what one profile of one firm sent over one transport.
type UsageReportItem struct {
	// TenantID of the firm.
	TenantID string `json:"tenant_id" example:"tnt_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// TenantName is the firm's name.
	TenantName string `json:"tenant_name" example:"Zoë SRL"`
	// SendGridDays are the days (UTC) of the month on which the firm had the add-on sendgrid, until now. It is the firm's, so it stands in each of its items.
	SendGridDays int `json:"sendgrid_days" example:"30"`
	UsageItem
}
