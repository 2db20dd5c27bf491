package api

import "time"

// GmailSettings are the settings of the transport gmail. The consent itself is the profile's authorization.
type GmailSettings struct {
	// Client names the OAuth client to ask for consent with, your own or one of the service. Default: the current one.
	Client string `json:"client,omitempty" example:"key-2" validate:"max=50"`
	// Aliases are further addresses of the Google account that the profile may be connected to: its from is a send-as address
	// there (https://support.google.com/mail/answer/22370). Without one the account's address must be the from.
	Aliases []string `json:"aliases,omitempty" example:"zoe@gmail.com" validate:"max=20"`
	// Reconcile asks for a scope that may read the mailbox, so that a mail of uncertain outcome is looked up in Sent. It takes a new consent.
	Reconcile bool `json:"reconcile,omitempty"`
}

// GmailSettingsPatch edits the settings of the transport gmail.
type GmailSettingsPatch struct {
	// Client names the OAuth client to ask for the next consent with; null: the current one. What is connected stays.
	Client *string `json:"client,omitempty" example:"key-2" validate:"max=50"`
	// Aliases are further addresses of the Google account that the profile may be connected to.
	Aliases *[]string `json:"aliases,omitempty" example:"zoe@gmail.com" validate:"max=20"`
	// Reconcile asks for a scope that may read the mailbox. It takes a new consent.
	Reconcile *bool `json:"reconcile,omitempty"`
}

// AuthorizationRequest asks for a person's consent at Google.
type AuthorizationRequest struct {
	// ReturnURL is where the pages offer to go back to. It must be on the list that the operator allows. Default: nowhere; the person
	// closes the window.
	ReturnURL string `json:"return_url,omitempty" example:"https://app.example.com/settings/mail" validate:"max=2000"`
	// Language of the pages: fr, nl, en or de. Default: the browser's.
	Language string `json:"language,omitempty" example:"fr" validate:"max=35"`
}

// AuthorizationStart is where the person has to go.
type AuthorizationStart struct {
	// URL to open in the person's browser. It is good once, and for whoever has it: give it to that person alone.
	URL string `json:"url" example:"https://mail.example.com/oauth/google/start?ticket=Jx0..."`
	// ExpiresAt is when it is good no more: ten minutes after it was made.
	ExpiresAt time.Time `json:"expires_at" format:"date-time" example:"2026-11-23T08:10:00Z"`
}

// Authorization says how a profile stands with Google. No token is ever shown.
type Authorization struct {
	// State is none when it was never connected; pending while a person is asked; connected; needs_reauthorization when only a new
	// consent helps (its mails wait); or revoked when you ended it.
	State string `json:"state" enums:"none,pending,connected,needs_reauthorization,revoked" example:"connected"`
	// Address of the Google account. Absent when it was never connected.
	Address string `json:"address,omitempty" example:"invoices@zoe.example"`
	// Scopes that Google granted.
	Scopes []string `json:"scopes" example:"https://www.googleapis.com/auth/gmail.send"`
	// Client is the OAuth client that the profile is connected through.
	Client string `json:"client,omitempty" example:"key-2"`
	// Since is when the state began. Absent when it was never connected. A new consent of a connected profile moves it.
	Since *time.Time `json:"since,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// PendingUntil is when an open consent ends. Present in any state while one is open.
	PendingUntil *time.Time `json:"pending_until,omitempty" format:"date-time" example:"2026-11-23T08:10:00Z"`
	// ExpiresAt is when Google will end the connection by itself, which it does while the client's consent screen is in testing.
	ExpiresAt *time.Time `json:"expires_at,omitempty" format:"date-time" example:"2026-11-30T08:00:00Z"`
	// Problem is what a person should know and do: why a new consent is needed, or would be good for a connected profile: its client is
	// retired, or it may not search yet.
	Problem *Trouble `json:"problem,omitempty"`
	// LastFailure is why the last consent came to nothing. Absent when it did not, when another is open, and after a day.
	LastFailure *Trouble `json:"last_failure,omitempty"`
}

// GmailClient is an OAuth client that a profile may name. Its secret is never shown.
type GmailClient struct {
	// Name of the client.
	Name string `json:"name" example:"key-2"`
	// Owner is service for a client of the service, tenant for your own.
	Owner string `json:"owner" enums:"service,tenant" example:"service"`
	// State is current when new consents use it; accepting when they do if the profile names it; retired when it takes no new consents.
	State string `json:"state" enums:"current,accepting,retired" example:"current"`
	// ClientID is Google's id of your own client.
	ClientID string `json:"client_id,omitempty" example:"1234-abcd.apps.googleusercontent.com"`
	// Connected is how many of your profiles are connected through it.
	Connected int `json:"connected" example:"3"`
	// NeedReauthorization is how many of your profiles were and need a new consent.
	NeedReauthorization int `json:"need_reauthorization" example:"0"`
}

// GmailClients are the OAuth clients that a profile may name.
type GmailClients struct {
	// Items are your own first.
	Items []GmailClient `json:"items"`
}

// GmailClientRequest stores an OAuth client of your own, such as one that only your Google Workspace may use.
type GmailClientRequest struct {
	// ClientID is Google's id of the client, of the type "web application". It cannot be changed while profiles are connected through it.
	ClientID string `json:"client_id" example:"1234-abcd.apps.googleusercontent.com" validate:"required,max=200"`
	// ClientSecret is Google's secret of the client. It is stored sealed and never shown again. Absent: the stored one stays.
	ClientSecret string `json:"client_secret,omitempty" example:"GOCSPX-..." validate:"max=200"`
	// State is current (the former one of yours is accepting then), accepting or retired. Default: accepting.
	State string `json:"state,omitempty" enums:"current,accepting,retired" example:"current"`
}

// GmailClientUse says how many profiles of all tenants are on an OAuth client of the service.
type GmailClientUse struct {
	// Name of the client.
	Name string `json:"name" example:"key-1"`
	// State of the client; missing when profiles are connected through it and it is not configured any more.
	State string `json:"state" enums:"current,accepting,retired,missing" example:"retired"`
	// Connected is how many profiles are connected through it.
	Connected int `json:"connected" example:"42"`
	// NeedReauthorization is how many profiles were and need a new consent.
	NeedReauthorization int `json:"need_reauthorization" example:"1"`
	// Tenants is how many firms these profiles belong to.
	Tenants int `json:"tenants" example:"17"`
}

// GmailClientReport says who is on which OAuth client of the service.
type GmailClientReport struct {
	// Items are the configured clients in their order, then those that are missing.
	Items []GmailClientUse `json:"items"`
}

// GmailClientProfile is a profile on an OAuth client of the service.
type GmailClientProfile struct {
	// Client is the name of the client.
	Client string `json:"client" example:"key-1"`
	// TenantID of the firm.
	TenantID string `json:"tenant_id" example:"tnt_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// TenantName is the firm's name.
	TenantName string `json:"tenant_name" example:"Zoë SRL"`
	// ProfileID of the profile.
	ProfileID string `json:"profile_id" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ProfileName is the profile's name.
	ProfileName string `json:"profile_name" example:"Invoices of Zoë SRL"`
	// Address of the Google account.
	Address string `json:"address" example:"invoices@zoe.example"`
	// State is connected or needs_reauthorization.
	State string `json:"state" enums:"connected,needs_reauthorization" example:"connected"`
	// Since is when the state began.
	Since time.Time `json:"since" format:"date-time" example:"2026-11-23T08:00:00Z"`
}
