// Package dial makes connections to hosts that a user typed, without letting him reach the inside of the network that the
// service runs in (server-side request forgery). The address is checked where it counts, on the socket just before it
// connects: a name that resolves to something else the second time gets nobody anywhere.
//
// Refused are all addresses that are not public unicast by the IANA special-purpose registries (RFC 6890 and its updates),
// and the IPv6 forms that carry an IPv4 address inside: mapped, NAT64, 6to4, Teredo. An operator opens ranges with
// Policy.Allow.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// CodeAddressNotAllowed is the verdict's code for an *Error.
const CodeAddressNotAllowed = "address_not_allowed"

// Error says that a connection was not made because the policy forbids its address.
type Error struct {
	Addr netip.Addr // not for the eyes of the one who typed the host: it tells what a name resolves to inside
}

func (e *Error) Error() string { return fmt.Sprintf("dial: address %s is not allowed", e.Addr) }

// Code is CodeAddressNotAllowed.
func (e *Error) Code() string { return CodeAddressNotAllowed }

// Policy says which addresses may be connected to. The zero Policy permits public ones only.
type Policy struct {
	// Allow are ranges that are permitted although they are not public. An IPv4 range opens the plain addresses only, not
	// the IPv6 forms that carry them.
	Allow []netip.Prefix
}

// Private are the ranges of a firm's own network, for an operator who allows them all: RFC 1918 and RFC 4193.
func Private() []netip.Prefix {
	return prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
}

// Loopback are the addresses of the machine itself.
func Loopback() []netip.Prefix { return prefixes("127.0.0.0/8", "::1/128") }

// refused4 is what is not public in IPv4.
var refused4 = prefixes(
	"0.0.0.0/8",       // this network, RFC 791
	"10.0.0.0/8",      // private, RFC 1918
	"100.64.0.0/10",   // carrier-grade NAT, RFC 6598; clouds put metadata services there
	"127.0.0.0/8",     // loopback, RFC 1122
	"169.254.0.0/16",  // link local, RFC 3927; the usual metadata service
	"172.16.0.0/12",   // private, RFC 1918
	"192.0.0.0/24",    // protocol assignments, RFC 6890
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.88.99.0/24",  // 6to4 relays, RFC 7526
	"192.168.0.0/16",  // private, RFC 1918
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation, RFC 5737
	"203.0.113.0/24",  // documentation, RFC 5737
	"224.0.0.0/4",     // multicast, RFC 5771
	"240.0.0.0/4",     // reserved, RFC 1112, and the limited broadcast
)

// public6 is the only part of IPv6 that is given out for global unicast (RFC 4291 section 2.4). What lies outside needs no
// list: unspecified, loopback, IPv4-compatible and mapped, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), discard, unique local,
// link local, site local, multicast.
var public6 = netip.MustParsePrefix("2000::/3")

// refused6 is what is not public inside public6.
var refused6 = prefixes(
	"2001::/23",     // protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
	"2001:db8::/32", // documentation, RFC 3849
	"2002::/16",     // 6to4, RFC 3056
	"3fff::/20",     // documentation, RFC 9637
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Permits says whether the policy lets a connection to addr be made. An IPv4-mapped address is judged as the IPv4 address
// that the kernel would connect to.
func (p Policy) Permits(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return false
	}
	if contains(p.Allow, addr) {
		return true
	}
	if addr.Is4() {
		return !contains(refused4, addr)
	}
	return public6.Contains(addr) && !contains(refused6, addr)
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Dialer connects as its policy permits. It is safe for concurrent use.
type Dialer struct {
	policy Policy
	dialer net.Dialer
}

// New makes a Dialer.
func New(p Policy) *Dialer {
	d := &Dialer{policy: p}
	d.dialer = net.Dialer{KeepAlive: time.Minute, ControlContext: d.control}
	return d
}

// DialContext connects to "host:port" over "tcp", "tcp4" or "tcp6"; every address of the host is tried. When the policy
// forbids an address and no other answers, the error is an *Error.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dialer.DialContext(ctx, network, address)
}

// control sees the numeric address of each socket before it connects.
func (d *Dialer) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp4", "tcp6":
	default:
		return errors.New("dial: only tcp")
	}
	ap, err := netip.ParseAddrPort(address) // on an error, as for an empty host, the zero address, which is refused
	if err != nil || !d.policy.Permits(ap.Addr()) {
		return &Error{Addr: ap.Addr()}
	}
	return nil
}
