package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/winprest/facteur/internal/mail"
)

// Limits of a reply. RFC 5321 section 4.5.3.1.5 has 512 octets a line; servers with much to say exceed it.
const (
	maxReplyLine  = 2048
	maxReplyLines = 100
)

// errProtocol is the error for an answer that is not SMTP.
var errProtocol = errors.New("smtp: the server's answer is not SMTP")

// reply is a reply of the server. Text has its lines without codes, joined by '\n'; it is valid until the next one is read.
type reply struct {
	code int
	text []byte
}

func (r reply) ok() bool { return r.code/100 == 2 }

// readReply reads one reply (RFC 5321 section 4.2), with text in buf. A line may end with LF alone. Errors are errProtocol,
// io.ErrUnexpectedEOF, or the reader's.
func readReply(br *bufio.Reader, buf []byte) (reply, error) {
	r := reply{text: buf[:0]}
	for n := 0; ; n++ {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine || n == maxReplyLines {
			return r, errProtocol
		}
		if errors.Is(err, io.EOF) {
			return r, io.ErrUnexpectedEOF
		}
		if err != nil {
			return r, err
		}
		line = bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
		code, more, ok := parseReplyLine(line)
		if !ok || n > 0 && code != r.code {
			return r, errProtocol
		}
		r.code = code
		if n > 0 {
			r.text = append(r.text, '\n')
		}
		if len(line) > 4 {
			r.text = append(r.text, line[4:]...)
		}
		if !more {
			return r, nil
		}
	}
}

// parseReplyLine reads the code and whether more lines follow.
func parseReplyLine(line []byte) (code int, more, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '5' || line[2] < '0' || line[2] > '9' {
		return 0, false, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, true
	}
	return code, line[3] == '-', line[3] == '-' || line[3] == ' '
}

// enhanced splits an enhanced status code (RFC 2034, RFC 3463) off a reply's line; its class must be that of the code.
func enhanced(code int, line string) (status, rest string) {
	n, dots, digits := 0, 0, 0
	for n < len(line) && line[n] != ' ' {
		switch c := line[n]; {
		case c == '.' && digits > 0:
			dots, digits = dots+1, 0
		case c >= '0' && c <= '9' && digits < 3:
			digits++
		default:
			return "", line
		}
		n++
	}
	if dots != 2 || digits == 0 || line[1] != '.' || int(line[0]-'0') != code/100 {
		return "", line
	}
	return line[:n], strings.TrimPrefix(line[n:], " ")
}

// shown makes of a reply what people may see: at most 500 bytes of printable text, the enhanced code apart.
func (r reply) shown() mail.Reply {
	lines := strings.Split(string(r.text), "\n")
	out := mail.Reply{Code: r.code}
	for i, line := range lines {
		status, rest := enhanced(r.code, line)
		if status == "" {
			continue
		}
		if out.Enhanced == "" {
			out.Enhanced = status
		}
		lines[i] = rest
	}
	out.Text = mail.ReplyText(strings.Join(lines, " "))
	return out
}
