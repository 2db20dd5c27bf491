//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package smtp

import "net"

type peeker struct{}

func newPeeker(net.Conn) *peeker { return nil }

// peek cannot tell on this system.
func (*peeker) peek() (waiting, known bool, err error) { return false, false, nil }
