//go:build linux || darwin || freebsd || netbsd || openbsd

package smtp

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// peeker looks at a TCP connection.
type peeker struct {
	rc syscall.RawConn // nil: it is no connection of the system's
	// Here and not in peek, which would make them anew each time.
	look func(fd uintptr)
	n    int
	err  error
}

func newPeeker(c net.Conn) *peeker {
	p := &peeker{}
	if sc, ok := c.(syscall.Conn); ok {
		p.rc, _ = sc.SyscallConn() // fails for what is closed, and then so does every read
	}
	p.look = func(fd uintptr) {
		var b [1]byte
		p.n, _, p.err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return p
}

// peek says, without waiting or taking anything, whether bytes wait on the connection; err when it has ended.
func (p *peeker) peek() (waiting, known bool, err error) {
	if p.rc == nil {
		return false, false, nil
	}
	if err := p.rc.Control(p.look); err != nil {
		return false, true, err
	}
	switch {
	case errors.Is(p.err, syscall.EAGAIN), errors.Is(p.err, syscall.EINTR):
		return false, true, nil
	case p.err == nil && p.n == 0:
		return false, true, io.EOF
	}
	return p.n > 0, true, p.err
}
