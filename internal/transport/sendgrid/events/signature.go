// Package events reads what SendGrid's event webhook reports: it proves that a request is SendGrid's, and says in our own words what each of its
// events means. It neither stores nor decides anything.
//
// Sources: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event and
// https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
package events

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed request.
const (
	SignatureHeader = "X-Twilio-Email-Event-Webhook-Signature"
	TimestampHeader = "X-Twilio-Email-Event-Webhook-Timestamp"
)

const (
	// SendGrid tries again for 24 hours what was not answered with 2xx, and does not say whether it signs anew then. A request that is
	// repeated changes nothing, because events have ids, so an old timestamp is no danger: refusing an honest retry would lose bounces.
	maxAge = 24*time.Hour + 10*time.Minute
	// maxAhead is how much SendGrid's clock may be ahead of ours.
	maxAhead = 10 * time.Minute
)

var (
	// ErrSignature: the request is not signed with any of the keys.
	ErrSignature = errors.New("events: not signed by SendGrid")
	// ErrStale: it was signed too long ago, or in the future.
	ErrStale = errors.New("events: the signature is too old")
)

// Keys are the public keys of the webhooks that report here, by name: there is one for each SendGrid account or subuser.
type Keys map[string]*ecdsa.PublicKey

// ParseKeys reads "name=key" pairs separated by commas, semicolons or white space. A key is as SendGrid shows it: DER in base64.
func ParseKeys(text string) (Keys, error) {
	keys := Keys{}
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r <= ' ' }) {
		name, encoded, ok := strings.Cut(pair, "=")
		if !ok || name == "" || encoded == "" {
			return nil, errors.New("it must be name=key, or several of them separated by commas")
		}
		if keys[name] != nil {
			return nil, fmt.Errorf("the name %q is given twice", name)
		}
		der, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf("the key %q is not base64", name)
		}
		parsed, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, fmt.Errorf("the key %q is no public key as SendGrid shows it", name)
		}
		key, ok := parsed.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("the key %q is not an ECDSA key", name)
		}
		keys[name] = key
	}
	return keys, nil
}

// Verify proves that the body, byte for byte, was signed at the timestamp with one of the keys.
func (k Keys) Verify(signature, timestamp string, body []byte, now time.Time) error {
	der, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(der) == 0 || len(der) > 256 || timestamp == "" || len(timestamp) > 32 {
		return ErrSignature
	}
	h := sha256.New()
	h.Write([]byte(timestamp))
	h.Write(body)
	sum := h.Sum(nil)
	for _, key := range k {
		if !ecdsa.VerifyASN1(key, sum, der) {
			continue
		}
		seconds, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil {
			return ErrStale
		}
		if at := time.Unix(seconds, 0); at.Before(now.Add(-maxAge)) || at.After(now.Add(maxAhead)) {
			return ErrStale
		}
		return nil
	}
	return ErrSignature
}
