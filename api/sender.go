package api

import "time"

// SenderVerificationRequest begins the proof that a SendGrid profile may send from its From.
type SenderVerificationRequest struct {
	// Method of the proof: domain (records in the domain's DNS; good for every address there) or single_sender (a mail with a link to the address).
	Method string `json:"method" enums:"domain,single_sender" example:"domain" validate:"required"`
	// Sender is who the sender is, as SendGrid wants to know it. Required for single_sender.
	Sender *SenderDetails `json:"sender,omitempty"`
}

// SenderDetails are the name and the postal address of a single sender, which SendGrid demands.
type SenderDetails struct {
	// Name of the firm or person. Default: the profile's from name.
	Name string `json:"name,omitempty" example:"Zoë SRL" validate:"max=200"`
	// ReplyTo is where answers go. Default: the profile's from address.
	ReplyTo string `json:"reply_to,omitempty" example:"office@zoe.example" validate:"max=254"`
	// Address is the street and number.
	Address string `json:"address" example:"Rue Haute 1" validate:"required,max=100"`
	// Address2 is a second line of it.
	Address2 string `json:"address_2,omitempty" validate:"max=100"`
	// City of the address.
	City string `json:"city" example:"Bruxelles" validate:"required,max=150"`
	// State or province.
	State string `json:"state,omitempty" validate:"max=50"`
	// Zip is the postal code.
	Zip string `json:"zip,omitempty" example:"1000" validate:"max=10"`
	// Country of the address.
	Country string `json:"country" example:"Belgium" validate:"required,max=100"`
}

// SenderVerification is how far the proof is that a SendGrid profile may send from its From.
type SenderVerification struct {
	// State of the proof. Failed: it was not given within two weeks, or SendGrid forgot it; begin again. None: nobody began.
	State string `json:"state" enums:"none,pending,verified,failed" example:"pending"`
	// Method of the proof; granted: the reseller's word. Absent with none.
	Method string `json:"method,omitempty" enums:"domain,single_sender,granted" example:"domain"`
	// Identity is the domain or the address that is proved.
	Identity string `json:"identity,omitempty" example:"zoe.example"`
	// Text says to a person, in the reader's language, what is to be done now.
	Text string `json:"text" example:"Publish the records below where the domain zoe.example is managed. It is looked for by itself; this can take some hours."`
	// Records to publish in the DNS, with method domain.
	Records []SenderRecord `json:"records,omitempty"`
	// ZoneFile has all records as lines of a zone file, to be copied.
	ZoneFile string `json:"zone_file,omitempty" example:"em1.zoe.example. IN CNAME u7.wl1.sendgrid.net."`
	// Since is when it came to this state.
	Since *time.Time `json:"since,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// CheckedAt is when SendGrid was last asked; absent: never.
	CheckedAt *time.Time `json:"checked_at,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// SenderRecord is a record to publish in the DNS.
type SenderRecord struct {
	// Type of the record.
	Type string `json:"type" example:"CNAME"`
	// Host is its whole name.
	Host string `json:"host" example:"em1.zoe.example"`
	// Name is its name within the domain's zone, which is what most registrars' forms want.
	Name string `json:"name" example:"em1"`
	// Value that it has.
	Value string `json:"value" example:"u7.wl1.sendgrid.net"`
	// ZoneLine is the record as a line of a zone file.
	ZoneLine string `json:"zone_line" example:"em1.zoe.example. IN CNAME u7.wl1.sendgrid.net."`
	// Text says in the reader's language what to type where in a registrar's form.
	Text string `json:"text" example:"Add a record of type CNAME. Host (also “Name” or “Subdomain”): em1. Value (also “Target” or “Points to”): u7.wl1.sendgrid.net."`
	// Valid says that it was found.
	Valid bool `json:"valid"`
	// Found is what SendGrid says of one that was not, in its own words.
	Found string `json:"found,omitempty" example:"Expected CNAME for em1.zoe.example to match u7.wl1.sendgrid.net."`
}

// SenderIdentity is a domain or an address that a firm may send from with SendGrid, or will when it is proved.
type SenderIdentity struct {
	// Identity is the domain or the address, in lower case.
	Identity string `json:"identity" example:"zoe.example"`
	// Method of the proof; granted: an operator's word.
	Method string `json:"method" enums:"domain,single_sender,granted" example:"granted"`
	// State of the proof.
	State string `json:"state" enums:"pending,verified,failed" example:"verified"`
	// Since is when it came to this state.
	Since time.Time `json:"since" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// SenderIdentities are those of a firm.
type SenderIdentities struct {
	// Items are the identities.
	Items []SenderIdentity `json:"items"`
}
