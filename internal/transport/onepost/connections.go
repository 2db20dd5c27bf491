package onepost

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// connections is the pool that all sessions share. HTTP/1.1 has one mail on a connection at a time: a cut makes one mail
// uncertain instead of twenty, and there is no stream that a client would replay by itself.
func connections(given *http.Transport, connect time.Duration) *http.Transport {
	h := &http.Transport{}
	if given != nil {
		h = given.Clone()
	}
	h.Protocols = new(http.Protocols)
	h.Protocols.SetHTTP1(true)
	h.ForceAttemptHTTP2, h.HTTP2 = false, nil
	h.TLSHandshakeTimeout = connect
	h.MaxIdleConns, h.MaxIdleConnsPerHost, h.MaxConnsPerHost = 0, 256, 0 // lanes are the limit
	h.IdleConnTimeout = time.Minute
	h.DisableCompression = true
	h.WriteBufferSize = 32 << 10

	dial := h.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: connect, KeepAlive: time.Minute}).DialContext
	}
	h.DialContext = watched(dial)
	if h.DialTLSContext == nil {
		h.DialTLSContext = dialTLS(dial, h.TLSClientConfig, connect)
	}
	h.DialTLSContext = watched(h.DialTLSContext)
	return h
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dialTLS does what net/http would do itself, so that what is watched is the inside of TLS.
func dialTLS(dial dialer, cfg *tls.Config, timeout time.Duration) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		own := &tls.Config{MinVersion: tls.VersionTLS12}
		if cfg != nil {
			own = cfg.Clone()
		}
		own.NextProtos = []string{"http/1.1"}
		if own.ServerName == "" {
			own.ServerName, _, _ = net.SplitHostPort(address)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c := tls.Client(raw, own)
		if err := c.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return c, nil
	}
}

// watchedConn knows what became of the bytes that were to be written, which net/http does not tell. A connection through a
// proxy's tunnel has TLS above it and is not asked.
type watchedConn struct {
	net.Conn
	written atomic.Int64
	broke   atomic.Bool // a write failed
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	if err != nil {
		c.broke.Store(true)
	}
	return n, err
}

// ReadFrom lends the buffer that io.Copy, which net/http uses for a body, would allocate for each mail.
func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, buf[:])
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func watched(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watchedConn{Conn: c}, nil
	}
}
