package senders

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/winprest/facteur/internal/store"
)

// NameInZone is a host's name within the zone that a firm most likely manages: its registered domain. It is what a registrar's
// form wants; "@" for the domain itself.
func NameInZone(host string) string {
	host = strings.TrimSuffix(host, ".")
	zone, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	if strings.EqualFold(host, zone) {
		return "@"
	}
	return host[:len(host)-len(zone)-1]
}

// ZoneLine is a record as a line of a zone file (RFC 1035 section 5.1).
func ZoneLine(r store.DNSRecord) string {
	value := strings.TrimSuffix(r.Value, ".")
	switch r.Type {
	case "CNAME":
		value += "."
	case "MX":
		value = "10 " + value + "."
	case "TXT":
		value = quoted(r.Value)
	}
	return strings.TrimSuffix(r.Host, ".") + ". IN " + r.Type + " " + value
}

// quoted cuts a text into character strings of at most 255 octets.
func quoted(s string) string {
	const most = 255
	var parts []string
	for len(s) > most {
		parts, s = append(parts, s[:most]), s[most:]
	}
	parts = append(parts, s)
	for i, p := range parts {
		parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`
	}
	return strings.Join(parts, " ")
}
