package consent

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// parseReturn reads an entry of the list of addresses that a person may be sent back to. A desktop program may have a scheme
// of its own (RFC 8252 section 7.1).
func parseReturn(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(s, "\\ ") {
		return nil, fmt.Errorf("return URL %q is not an address such as https://app.example.com/mail", s)
	}
	// What a browser would run instead of going there.
	if slices.Contains([]string{"javascript", "data", "vbscript", "blob", "file", "about"}, u.Scheme) {
		return nil, fmt.Errorf("return URL %q: a person cannot be sent there", s)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("return URL %q must begin with https:// (http only for localhost)", s)
	}
	if (u.Scheme == "https" || u.Scheme == "http") && u.Host == "" {
		return nil, fmt.Errorf("return URL %q names no host", s)
	}
	return u, nil
}

// returnable says whether a person may be sent to the address: one of the list, or below one of it. Nothing is the start of
// a host name or of a path's segment.
func (s *Service) returnable(address string) bool {
	u, err := parseReturn(address)
	if err != nil || u.Opaque != "" && !slices.ContainsFunc(s.returns, func(a *url.URL) bool { return a.String() == u.String() }) {
		return false
	}
	if u.Path != "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") && u.Path != "/" {
		return false
	}
	return slices.ContainsFunc(s.returns, func(a *url.URL) bool {
		if a.Scheme != u.Scheme || !strings.EqualFold(a.Host, u.Host) || a.Opaque != u.Opaque {
			return false
		}
		below := strings.TrimSuffix(a.Path, "/")
		return u.Path == a.Path || u.Path == below || strings.HasPrefix(u.Path, below+"/")
	})
}
