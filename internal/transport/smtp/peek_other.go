//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package smtp

import "net"

// peek cannot tell on this system.
func peek(net.Conn) (waiting, known bool, err error) { return false, false, nil }
