package transporttest

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

var quiet = log.New(io.Discard, "", 0)

// apply does what a hook wants; it says whether the request is done with. oauth chooses the form of an error.
func (g *Google) apply(w http.ResponseWriter, r *http.Request, a GoogleAction, oauth bool) bool {
	g.pause(r, a.Delay)
	switch {
	case a.Hang:
		select {
		case <-r.Context().Done():
		case <-g.done:
		}
		panic(http.ErrAbortHandler)
	case a.Raw != "":
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.WriteString(c, a.Raw) //nolint:errcheck // the connection ends anyway
			c.Close()
		}
		return true
	case a.Drop:
		panic(http.ErrAbortHandler)
	case a.Status == 0 && a.Body == "":
		return false
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	switch {
	case a.Body != "":
		w.WriteHeader(a.Status)
		io.WriteString(w, a.Body) //nolint:errcheck // the client's loss
	case oauth:
		oauthError(w, a.Status, a.Reason, a.Message)
	default:
		apiError(w, a.Status, a.Reason, a.Message)
	}
	return true
}

// pause waits, as long as there is somebody to wait for.
func (g *Google) pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return
	case <-r.Context().Done():
	case <-g.done:
	}
	panic(http.ErrAbortHandler)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) //nolint:errcheck // the client's loss
}

// apiError is an error of an API (https://developers.google.com/workspace/gmail/api/guides/handle-errors).
func apiError(w http.ResponseWriter, status int, reason, message string) {
	if message == "" {
		message = http.StatusText(status)
	}
	detail := map[string]any{"code": status, "message": message}
	if reason != "" {
		detail["errors"] = []map[string]any{{"domain": "global", "reason": reason, "message": message}}
	}
	answer(w, status, map[string]any{"error": detail})
}

// oauthError is an error of OAuth (RFC 6749 section 5.2).
func oauthError(w http.ResponseWriter, status int, name, description string) {
	answer(w, status, map[string]string{"error": name, "error_description": description})
}

// cuttingListener makes connections that end after so many bytes.
type cuttingListener struct {
	net.Listener
	read, write int64
}

func (l *cuttingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || l.read == 0 && l.write == 0 {
		return c, err
	}
	cut := &cuttingConn{Conn: c}
	cut.read.Store(l.read)
	cut.write.Store(l.write)
	cut.reads, cut.writes = l.read > 0, l.write > 0
	return cut, nil
}

type cuttingConn struct {
	net.Conn
	reads, writes bool         // whether there is a limit
	read, write   atomic.Int64 // what is left of it
}

func (c *cuttingConn) Read(p []byte) (int, error) {
	if !c.reads {
		return c.Conn.Read(p)
	}
	left := c.read.Load()
	if left <= 0 {
		c.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	if c.read.Add(-int64(n)) <= 0 && err == nil {
		c.Close() // what the bytes that have come lead to is answered to nobody
	}
	return n, err
}

func (c *cuttingConn) Write(p []byte) (int, error) {
	if !c.writes {
		return c.Conn.Write(p)
	}
	left := c.write.Load()
	if left < int64(len(p)) {
		n, _ := c.Conn.Write(p[:left])
		c.write.Store(0)
		c.Close()
		return n, net.ErrClosed
	}
	n, err := c.Conn.Write(p)
	c.write.Add(-int64(n))
	return n, err
}
