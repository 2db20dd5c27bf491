package dial

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestPermits(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "195.238.5.1": true, "1.1.1.1": true, "223.255.255.255": true, "100.63.255.255": true,
		"100.128.0.0": true, "172.15.255.255": true, "172.32.0.0": true, "192.0.1.1": true, "198.17.255.255": true, "198.20.0.0": true,
		"2a00:1450:400c::1a": true, "2600::": true, "2001:4860::1": true, "2001:200::1": true,
		"::ffff:8.8.8.8": true, // the kernel connects to 8.8.8.8

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.255.255.255": false, "100.64.0.1": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.255.255.254": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.0.0.8": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.7": false, "203.0.113.7": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,

		"::": false, "::1": false, "::8.8.8.8": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::808:808": false, "64:ff9b::a00:1": false, "64:ff9b:1::1": false, "100::1": false,
		"2001::1": false, "2001:0:4136:e378:8000:63bf:3fff:fdd2": false, "2001:2::1": false, "2001:10::1": false, "2001:1ff::1": false,
		"2001:db8::1": false, "2002:7f00:1::": false, "2002:808:808::1": false, "3fff::1": false, "3fff:fff::1": false,
		"4000::1": false, "5f00::1": false, "fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%eth0": false,
		"fec0::1": false, "ff02::1": false,
	} {
		if got := (Policy{}).Permits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Permits(%s) = %v", addr, got)
		}
	}
	if (Policy{}).Permits(netip.Addr{}) {
		t.Error("the zero address is permitted")
	}
}

func TestAllow(t *testing.T) {
	p := Policy{Allow: append(Private(), netip.MustParsePrefix("127.0.0.0/8"))}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "192.168.0.9": true, "fd00::1": true, "127.0.0.1": true, "::ffff:10.1.2.3": true, "8.8.8.8": true,
		"::1": false, "169.254.169.254": false, "100.64.0.1": false, "64:ff9b::a01:203": false, "2002:a01:203::": false, "fe80::1": false,
	} {
		if got := p.Permits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Permits(%s) = %v", addr, got)
		}
	}
	for _, addr := range []string{"127.0.0.1", "127.1.2.3", "::1"} {
		if !(Policy{Allow: Loopback()}).Permits(netip.MustParseAddr(addr)) {
			t.Errorf("%s is refused", addr)
		}
	}
}

// The check is on the connected address, whichever way the host is written and whatever it resolves to.
func TestDialContextRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1", "::1", "0.0.0.0", "::", ""} {
		c, err := New(Policy{}).DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		var refused *Error
		if !errors.As(err, &refused) || refused.Code() != CodeAddressNotAllowed {
			t.Errorf("%q: %v", host, err)
		}
		if c != nil {
			c.Close()
		}
	}
	c, err := New(Policy{Allow: Loopback()}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := New(Policy{Allow: Loopback()}).DialContext(t.Context(), "udp", l.Addr().String()); err == nil {
		t.Error("udp")
	}
}

// Whatever the form, an address that reaches a refused IPv4 address is refused, and what is permitted is global unicast.
func FuzzPermits(f *testing.F) {
	for _, s := range []string{"8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fe80::1%lo"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		if err != nil || !(Policy{}).Permits(addr) {
			return
		}
		u := addr.Unmap()
		if !u.IsGlobalUnicast() || u.IsPrivate() || u.IsLoopback() || u.IsLinkLocalUnicast() || u.IsMulticast() || u.IsUnspecified() {
			t.Errorf("%s is permitted", addr)
		}
		if u.Is4() && !(Policy{}).Permits(netip.AddrFrom16(u.As16())) {
			t.Errorf("%s is judged differently when mapped", addr)
		}
	})
}
