package smtp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// conn is the line to a server: commands out, replies in, one deadline at a time.
type conn struct {
	raw net.Conn // TCP
	nc  net.Conn // raw, or TLS on it
	br  *bufio.Reader
	bw  *bufio.Writer
	buf []byte // of the latest reply's text

	peeker *peeker // of raw

	ctx     context.Context // ends every wait early; nil: nothing does
	secrets [][]byte        // what no text of a reply may show: the password and what was sent to log in
}

func newConn(raw net.Conn) *conn {
	return &conn{raw: raw, nc: raw, br: bufio.NewReaderSize(raw, 4<<10), bw: bufio.NewWriterSize(raw, 32<<10), peeker: newPeeker(raw)}
}

// secured goes on over TLS. Nothing may be buffered.
func (c *conn) secured(nc *tls.Conn) {
	c.nc = nc
	c.br.Reset(nc)
	c.bw.Reset(nc)
}

// watch lets the end of ctx break off what the connection waits for. stop ends that and says whether ctx is still good.
func (c *conn) watch(ctx context.Context) (stop func() bool) {
	c.ctx = ctx
	after := context.AfterFunc(ctx, func() { c.raw.SetDeadline(aLongTimeAgo) }) //nolint:errcheck // the connection is gone
	return func() bool {
		c.ctx = nil
		return after()
	}
}

// within sets the deadline of what comes next.
func (c *conn) within(d time.Duration) {
	c.raw.SetDeadline(time.Now().Add(d)) //nolint:errcheck // what comes next tells
	if c.ctx != nil && c.ctx.Err() != nil {
		c.raw.SetDeadline(aLongTimeAgo) //nolint:errcheck // likewise
	}
}

// command writes the parts of a command line and CRLF to the buffer. Errors show when it is flushed.
func (c *conn) command(parts ...string) {
	for _, p := range parts {
		c.bw.WriteString(p) //nolint:errcheck // Flush tells
	}
	c.bw.WriteString("\r\n") //nolint:errcheck // Flush tells
}

// broken says that something could not be written.
func (c *conn) broken() bool {
	_, err := c.bw.Write(nil)
	return err != nil
}

// read reads one reply within the current deadline.
func (c *conn) read() (reply, error) {
	r, err := readReply(c.br, c.buf)
	c.buf = r.text
	return r, err
}

// ask sends a command and reads its reply. An answer that was there before the question is no answer.
func (c *conn) ask(d time.Duration, parts ...string) (reply, error) {
	if c.br.Buffered() > 0 {
		return reply{}, errProtocol
	}
	c.within(d)
	c.command(parts...)
	if err := c.bw.Flush(); err != nil {
		return reply{}, err
	}
	return c.read()
}

// spoke says whether the server has said something unasked, or has hung up (an error). It does not wait. Where the system
// cannot tell without waiting and patient is true, it waits for a millisecond.
func (c *conn) spoke(patient bool) (bool, error) {
	if c.br.Buffered() > 0 {
		return true, nil
	}
	waiting, known, err := c.peeker.peek()
	if err != nil {
		return false, err
	}
	if known && !waiting {
		return false, nil
	}
	_, secure := c.nc.(*tls.Conn)
	if known && !secure {
		return true, nil
	}
	if !known && !patient {
		return false, nil
	}
	// What waits may be TLS's own, such as session tickets.
	c.raw.SetDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // Peek tells
	if _, err = c.br.Peek(1); err == nil {
		return true, nil
	}
	if isTimeout(err) {
		return false, nil
	}
	return false, err
}

// shown is what people may see of a reply. A reply that repeats a secret is withheld.
func (c *conn) shown(r reply) mail.Reply {
	for _, s := range c.secrets {
		if bytes.Contains(r.text, s) {
			r.text = []byte("[redacted]")
			break
		}
	}
	return r.shown()
}

// keepSecret has replies that repeat s withheld.
func (c *conn) keepSecret(s string) {
	if s != "" {
		c.secrets = append(c.secrets, []byte(s))
	}
}

// cut ends the connection so that the server cannot take it for an ordinary end: with a reset, and without what TLS says at
// the end of a stream.
func (c *conn) cut() {
	if l, ok := c.raw.(interface{ SetLinger(sec int) error }); ok {
		l.SetLinger(0) //nolint:errcheck // it is closed anyway
	}
	c.raw.Close() //nolint:errcheck // nothing to lose
}
