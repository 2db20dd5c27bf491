//go:build linux || darwin || freebsd || netbsd || openbsd

package smtp

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// peek says, without waiting or taking anything, whether bytes wait on a TCP connection; err when it has ended.
func peek(c net.Conn) (waiting, known bool, err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false, false, nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false, true, err
	}
	var n int
	var readErr error
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		n, _, readErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	if err != nil {
		return false, true, err
	}
	if errors.Is(readErr, syscall.EAGAIN) || errors.Is(readErr, syscall.EINTR) {
		return false, true, nil
	}
	if readErr == nil && n == 0 {
		readErr = io.EOF
	}
	return n > 0, true, readErr
}
