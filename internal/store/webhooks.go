package store

import (
	"encoding/json"
	"fmt"
)

// NoticeKind is what a person wants to be told by mail.
type NoticeKind string

const (
	NoticeJobFailures NoticeKind = "send_job_failures" // a send job ended and not all of its mails were sent, or it stands still
	NoticeProfile     NoticeKind = "sender_profile"    // a sender profile needs a person
	NoticeEndpoint    NoticeKind = "webhook_endpoint"  // an endpoint was switched off
)

// NoticeKinds are all there are, with the events that they are about.
var NoticeKinds = map[NoticeKind][]EventType{
	NoticeJobFailures: {EventJobCompleted, EventJobPaused, EventJobExpiring, EventJobExpired},
	NoticeProfile:     {EventProfileNeedsAttention},
	NoticeEndpoint:    {EventEndpointDisabled},
}

// typesOf are the types that an endpoint's filter and a contact's kinds ask for; an empty filter is no filter.
func typesOf(events, kinds string) (types []EventType, err error) {
	if events != "" {
		if err := json.Unmarshal([]byte(events), &types); err != nil {
			return nil, fmt.Errorf("store: filter of an endpoint: %w", err)
		}
		if len(types) == 0 {
			types = EventTypes
		}
	}
	if kinds != "" {
		var list []NoticeKind
		if err := json.Unmarshal([]byte(kinds), &list); err != nil {
			return nil, fmt.Errorf("store: kinds of notices: %w", err)
		}
		for _, k := range list {
			types = append(types[:len(types):len(types)], NoticeKinds[k]...)
		}
	}
	return types, nil
}
