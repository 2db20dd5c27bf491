package transporttest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// droppingConn cuts a connection after so many bytes in one direction. The last byte that is let through is delivered.
type droppingConn struct {
	net.Conn
	read, write int64 // left; 0 at the start: without end
}

func (c *droppingConn) Read(p []byte) (int, error) {
	if c.read < 0 {
		c.Conn.Close()
		return 0, io.EOF
	}
	if c.read == 0 {
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.read)])
	if c.read -= int64(n); c.read == 0 {
		c.read = -1
	}
	return n, err
}

func (c *droppingConn) Write(p []byte) (int, error) {
	if c.write < 0 {
		c.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	if c.write == 0 || c.write > int64(len(p)) {
		if c.write > 0 {
			c.write -= int64(len(p))
		}
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[:c.write])
	c.write = -1
	c.Conn.Close()
	if err == nil && n < len(p) {
		err = io.ErrClosedPipe
	}
	return n, err
}

// slowConn lets bytes arrive later in both directions. A writer does not wait for that.
type slowConn struct {
	net.Conn
	latency time.Duration
	in, out chan late
	rest    []byte // of what Read took from in
	once    sync.Once
	wrote   chan struct{} // closed when everything is out
}

type late struct {
	due  time.Time
	data []byte
}

func newSlowConn(nc net.Conn, latency time.Duration) *slowConn {
	c := &slowConn{Conn: nc, latency: latency, in: make(chan late, 1024), out: make(chan late, 1024), wrote: make(chan struct{})}
	go func() {
		defer close(c.in)
		buf := make([]byte, 32<<10)
		for {
			n, err := nc.Read(buf)
			if n > 0 {
				c.in <- late{time.Now().Add(latency), bytes.Clone(buf[:n])}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(c.wrote)
		for l := range c.out {
			time.Sleep(time.Until(l.due))
			nc.Write(l.data) //nolint:errcheck // the reader of the connection sees its end
		}
	}()
	return c
}

func (c *slowConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		l, ok := <-c.in
		if !ok {
			return 0, io.EOF
		}
		time.Sleep(time.Until(l.due))
		c.rest = l.data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *slowConn) Write(p []byte) (int, error) {
	c.out <- late{time.Now().Add(c.latency), bytes.Clone(p)}
	return len(p), nil
}

// Close lets out what was written, then closes.
func (c *slowConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.out)
		<-c.wrote
		err = c.Conn.Close()
		for range c.in { // so that the reader's goroutine ends
		}
	})
	return err
}
