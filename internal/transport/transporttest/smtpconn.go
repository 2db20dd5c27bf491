package transporttest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// smtpConn is one conversation.
type smtpConn struct {
	server  *SMTPServer
	raw     net.Conn
	number  int
	tooMany bool

	br     *bufio.Reader
	bw     *bufio.Writer
	count  map[string]int // of verbs, for the hook
	secure bool
	user   string

	inMail bool
	mail   Mail
	data   []byte
	over   bool
}

func (c *smtpConn) run() {
	line := c.line()
	if line != c.raw {
		defer line.Close()
	}
	if c.server.cfg.ImplicitTLS {
		line = tls.Server(line, c.server.tls)
		c.secure = true
	}
	c.br, c.bw = bufio.NewReaderSize(line, 64<<10), bufio.NewWriterSize(line, 4<<10)
	if c.tooMany {
		c.reply("421 4.7.0 too many connections")
		c.bw.Flush() //nolint:errcheck // it is over
		return
	}
	c.step("CONNECT", "", func() string { return "220 sink.example ESMTP" })
	for !c.over {
		if c.br.Buffered() == 0 && c.bw.Flush() != nil {
			return
		}
		text, err := c.br.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(string(bytes.TrimRight(text, "\r\n")), " ")
		c.command(strings.ToUpper(verb), arg, line)
	}
	c.bw.Flush() //nolint:errcheck // it is over
}

// line is the TCP connection with the faults of the line that the server is to have.
func (c *smtpConn) line() net.Conn {
	var nc net.Conn = c.raw
	if cfg := &c.server.cfg; cfg.DropAfterRead > 0 || cfg.DropAfterWrite > 0 {
		nc = &droppingConn{Conn: nc, read: cfg.DropAfterRead, write: cfg.DropAfterWrite}
	}
	if d := c.server.cfg.Latency; d > 0 {
		nc = newSlowConn(nc, d)
	}
	return nc
}

// step asks the hook, then has ordinary do what the command does and give the reply; "" is none.
func (c *smtpConn) step(verb, arg string, ordinary func() string) Action {
	var a Action
	if hook := c.server.cfg.Hook; hook != nil {
		if c.count == nil {
			c.count = map[string]int{}
		}
		c.count[verb]++
		a = hook(Step{Verb: verb, Arg: arg, Conn: c.number, N: c.count[verb]})
	}
	if a.Accept {
		c.accept()
	}
	switch {
	case a.Hang:
		c.bw.Flush()              //nolint:errcheck // the client may be gone
		io.Copy(io.Discard, c.br) //nolint:errcheck // until the end
		c.over = true
	case a.Reply != "":
		if strings.HasPrefix(a.Reply, "2") && !a.Accept {
			ordinary()
		}
		c.reply(a.Reply)
	case !a.Drop:
		if r := ordinary(); r != "" {
			c.reply(r)
		}
	}
	if a.Drop {
		c.over = true
	}
	return a
}

func (c *smtpConn) reply(text string) {
	if d := c.server.cfg.Delay; d > 0 {
		c.bw.Flush() //nolint:errcheck // the next tells
		time.Sleep(d)
	}
	c.bw.WriteString(text)   //nolint:errcheck // Flush tells
	c.bw.WriteString("\r\n") //nolint:errcheck // Flush tells
}

func (c *smtpConn) command(verb, arg string, line net.Conn) {
	switch verb {
	case "EHLO":
		c.step(verb, arg, c.ehlo)
	case "HELO":
		c.step(verb, arg, func() string { return "250 sink.example" })
	case "STARTTLS":
		c.startTLS(arg, line)
	case "AUTH":
		c.step(verb, arg, func() string { return c.auth(arg) })
	case "MAIL":
		c.step(verb, arg, func() string { return c.from(arg) })
	case "RCPT":
		c.step(verb, arg, func() string { return c.to(arg) })
	case "DATA":
		c.receive(arg)
	case "RSET":
		c.step(verb, arg, func() string { c.forget(); return "250 2.0.0 forgotten" })
	case "NOOP":
		c.step(verb, arg, func() string { return "250 2.0.0 nothing" })
	case "QUIT":
		c.step(verb, arg, func() string { c.over = true; return "221 2.0.0 bye" })
	default:
		c.step(verb, arg, func() string { return "500 5.5.2 what" })
	}
}

func (c *smtpConn) ehlo() string {
	if c.server.cfg.NoEHLO {
		return "502 5.5.1 what"
	}
	c.forget()
	lines := c.server.extensions(c.secure)
	var b strings.Builder
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + l)
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

func (c *smtpConn) startTLS(arg string, line net.Conn) {
	if c.server.tls == nil || c.secure {
		c.reply("502 5.5.1 not here")
		return
	}
	agreed := false
	c.step("STARTTLS", arg, func() string { agreed = true; return "220 2.0.0 go" })
	if !agreed || c.over || c.bw.Flush() != nil {
		return
	}
	c.secure = true
	c.forget()
	nc := tls.Server(line, c.server.tls)
	c.br.Reset(nc)
	c.bw.Reset(nc)
}

func (c *smtpConn) forget() { c.inMail, c.mail = false, Mail{} }

func (c *smtpConn) from(arg string) string {
	path, params, ok := parsePath(arg, "FROM:")
	switch {
	case !ok:
		return "501 5.5.4 MAIL FROM:<address>"
	case len(c.server.cfg.Users) > 0 && c.user == "":
		return "530 5.7.0 log in first"
	case c.inMail:
		return "503 5.5.1 one at a time"
	}
	if _, size, ok := strings.Cut(params, "SIZE="); ok {
		size, _, _ = strings.Cut(size, " ")
		if n, err := strconv.ParseInt(size, 10, 64); err == nil && n > c.server.cfg.Size {
			return "552 5.3.4 too big"
		}
	}
	c.inMail, c.mail = true, Mail{From: path, Params: params}
	return "250 2.1.0 ok"
}

func (c *smtpConn) to(arg string) string {
	path, _, ok := parsePath(arg, "TO:")
	switch {
	case !ok || path == "":
		return "501 5.5.4 RCPT TO:<address>"
	case !c.inMail:
		return "503 5.5.1 MAIL first"
	case c.server.greylist(c.mail.From, path):
		return "451 4.7.1 greylisted, come back later"
	}
	c.mail.To = append(c.mail.To, path)
	return "250 2.1.5 ok"
}

// parsePath reads "FROM:<path> params".
func parsePath(arg, keyword string) (path, params string, ok bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", false
	}
	arg, ok = strings.CutPrefix(strings.TrimLeft(arg[len(keyword):], " "), "<")
	if !ok {
		return "", "", false
	}
	path, params, ok = strings.Cut(arg, ">")
	return path, strings.TrimSpace(params), ok
}

// receive is DATA.
func (c *smtpConn) receive(arg string) {
	goAhead := false
	a := c.step("DATA", arg, func() string {
		switch {
		case !c.inMail:
			return "503 5.5.1 MAIL first"
		case len(c.mail.To) == 0:
			return "554 5.5.1 no valid recipients"
		}
		goAhead = true
		return ""
	})
	switch {
	case c.over:
	case goAhead:
		c.reply("354 go ahead")
		c.takeBody()
	case strings.HasPrefix(a.Reply, "354"):
		c.takeBody()
	}
}

// takeBody reads the mail after 354.
func (c *smtpConn) takeBody() {
	if c.bw.Flush() != nil {
		c.over = true
		return
	}
	goOn := false
	c.step("BODY", "", func() string { goOn = true; return "" })
	if !goOn || c.over || !c.readData() {
		c.over = true
		return
	}
	c.step("DOT", "", func() string { c.accept(); return "250 2.0.0 ok: queued as " + c.queueID() })
	c.forget()
}

func (c *smtpConn) queueID() string {
	return "C" + strconv.Itoa(c.number) + "M" + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// readData reads up to the dot alone on its line, undoing dot-stuffing; false when the line ends before.
func (c *smtpConn) readData() bool {
	c.data = c.data[:0]
	size, header, fresh := 0, true, true
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			if err == io.EOF && c.server.cfg.TakesTruncated {
				c.data = append(c.data, line...)
				c.accept()
			}
			return false
		}
		if fresh {
			if len(line) == 3 && string(line) == ".\r\n" {
				c.mail.Size = size
				return true
			}
			if len(line) > 0 && line[0] == '.' {
				line = line[1:]
			}
			if header {
				header = c.noteHeader(line)
			}
		}
		fresh = err == nil
		size += len(line)
		if !c.server.cfg.DiscardData {
			c.data = append(c.data, line...)
		}
	}
}

var messageID = []byte("message-id:")

// noteHeader reads the Message-ID; it says whether the header goes on.
func (c *smtpConn) noteHeader(line []byte) bool {
	if len(line) == 2 {
		return false
	}
	if len(line) > len(messageID) && (line[0] == 'M' || line[0] == 'm') && bytes.EqualFold(line[:len(messageID)], messageID) {
		c.mail.MessageID = string(bytes.TrimSpace(line[len(messageID):]))
	}
	return true
}

// accept takes the mail, once.
func (c *smtpConn) accept() {
	if !c.inMail || len(c.mail.To) == 0 {
		return
	}
	m := c.mail
	m.User, m.TLS, m.Conn, m.ReceivedAt = c.user, c.secure, c.number, time.Now()
	if !c.server.cfg.DiscardData {
		m.Data = bytes.Clone(c.data)
	}
	c.forget()
	c.server.accept(m)
}
