package api

import "time"

// ProfileHealth says how a sender profile is doing at a moment. It asks nobody outside, so it may be asked for every few seconds.
type ProfileHealth struct {
	// ProfileID of the sender profile.
	ProfileID string `json:"profile_id" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// State of the profile. ready: sends. limited: a limit leaves no room now. paused: its server is out of reach or fails every mail,
	// and is tried again by itself at until. recovering: a pause is over, and one mail at a time is sent until one gets through.
	// held: sends nothing until a person mends it. not_connected: likewise, a consent at Google is missing.
	State string `json:"state" enums:"ready,limited,paused,recovering,held,not_connected" example:"paused"`
	// Text says the state to a person, in the reader's language.
	Text string `json:"text" example:"The server is tried again by itself at 2026-11-23 08:05 UTC. Until then the mails wait and none is lost."`
	// Until is when a paused or limited profile goes on. Absent when it needs no waiting, or a person.
	Until *time.Time `json:"until,omitempty" format:"date-time" example:"2026-11-23T08:05:00Z"`
	// Problem is why it is paused, recovering, held or not connected, and what to do. Absent otherwise.
	Problem *Trouble `json:"problem,omitempty"`
	// Breaker guards against a server that fails every mail.
	Breaker Breaker `json:"breaker"`
	// Limits in force and how much of each is used; empty: there are none.
	Limits []LimitUse `json:"limits"`
	// Connections to the mail server.
	Connections ConnectionUse `json:"connections"`
	// Waiting are the mails that are still to be handed over.
	Waiting Waiting `json:"waiting"`
	// Sending is how many mails are on their way, or taken up by a worker.
	Sending int `json:"sending" example:"2"`
	// Uncertain is how many mails may or may not have been sent, and wait for a person.
	Uncertain int `json:"uncertain" example:"1"`
	// LastHandedOverAt is when a mail last reached the server, rounded up to a second, after two minutes to a minute. Known only of
	// a profile with limits, and of the last 24 hours.
	LastHandedOverAt *time.Time `json:"last_handed_over_at,omitempty" format:"date-time" example:"2026-11-23T08:00:02Z"`
	// EmptyAt is when the last of the waiting mails may go, when nothing but the limits and a pause hold it up. Absent when none
	// waits, without limits, and while only a person can help.
	EmptyAt *time.Time `json:"empty_at,omitempty" format:"date-time" example:"2026-11-23T09:20:00Z"`
	// CheckedAt is the moment.
	CheckedAt time.Time `json:"checked_at" format:"date-time" example:"2026-11-23T08:00:05Z"`
}

// Breaker pauses a profile when three mails in a row get no answer from its server, or ten in a row are put off by it, for 10 and
// 30 seconds, 1, 5 and 15 minutes, and each hour for a server that is silent. What one mail or recipient causes never opens it.
type Breaker struct {
	// State: closed when mails go out normally; open while the profile is paused; half_open when the pause is over and one mail at
	// a time goes out until one gets through.
	State string `json:"state" enums:"closed,open,half_open" example:"open"`
	// Pauses in a row so far.
	Pauses int `json:"pauses" example:"1"`
}

// LimitUse is how much of a limit is used.
type LimitUse struct {
	// Limit that it is about.
	Limit string `json:"limit" enums:"per_minute,per_hour,per_day" example:"per_day"`
	// Max is how many mails it allows in its window.
	Max int `json:"max" example:"500"`
	// Used is how many went in the window that ends now, with those that are on their way.
	Used int `json:"used" example:"120"`
	// Left is how many may go now.
	Left int `json:"left" example:"380"`
	// FreeAt is when the next one may go. Absent when some are left.
	FreeAt *time.Time `json:"free_at,omitempty" format:"date-time" example:"2026-11-24T08:00:00Z"`
}

// ConnectionUse is how many connections to the mail server there are, over all machines of the service.
type ConnectionUse struct {
	// Allowed at once: max_connections of the profile.
	Allowed int `json:"allowed" example:"2"`
	// InUse now, or about to be opened.
	InUse int `json:"in_use" example:"2"`
}

// Waiting counts the mails of a profile that are still to be handed over.
type Waiting struct {
	// Total number, at most 100,000.
	Total int `json:"total" example:"640"`
	// More says that there are more than total.
	More bool `json:"more,omitempty"`
	// Due is how many of them could go now.
	Due int `json:"due" example:"637"`
	// Deferred is how many of them were tried before and wait for their next time, at most 10,000.
	Deferred int `json:"deferred" example:"3"`
	// OldestSince is when the oldest of them was accepted.
	OldestSince *time.Time `json:"oldest_since,omitempty" format:"date-time" example:"2026-11-23T07:59:00Z"`
	// NextDueAt is the earliest time that one of them is to go. In the past: it waits for its turn, or for the profile.
	NextDueAt *time.Time `json:"next_due_at,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
}
