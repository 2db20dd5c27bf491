package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

// The sink takes mail as fast as it can and forgets it: a process of its own, so that its CPU is not the service's. It speaks
// on standard output: first its address, then, for every byte that it reads on standard input, the number of mails so far
// and the time of the latest one.

// runSink is the sink's process.
func runSink(latency time.Duration) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	var count, last atomic.Int64
	go tell(&count, &last)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			w := io.Writer(conn)
			if latency > 0 {
				delayed := newDelayedWriter(conn, latency)
				defer delayed.close()
				w = delayed
			}
			serveSink(conn, w, func() {
				last.Store(time.Now().UnixNano())
				count.Add(1)
			})
		}()
	}
}

// tell answers whoever started the process until he closes its input, which ends it.
func tell(count, last *atomic.Int64) {
	in := make([]byte, 1)
	for {
		if _, err := os.Stdin.Read(in); err != nil {
			os.Exit(0)
		}
		binary.Write(os.Stdout, binary.BigEndian, [2]int64{count.Load(), last.Load()}) //nolint:errcheck // the reader is gone
	}
}

// serveSink is just enough of SMTP with PIPELINING. Replies are written together when no more commands wait.
func serveSink(r io.Reader, w io.Writer, accepted func()) {
	in, out := bufio.NewReaderSize(r, 64<<10), bufio.NewWriterSize(w, 4<<10)
	reply := func(s string) bool {
		out.WriteString(s) //nolint:errcheck // Flush tells
		if in.Buffered() > 0 {
			return true
		}
		return out.Flush() == nil
	}
	if !reply("220 sink ESMTP\r\n") {
		return
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		var ok bool
		switch strings.ToUpper(string(line[:min(4, len(line))])) {
		case "EHLO":
			ok = reply("250-sink\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
		case "HELO", "MAIL", "RCPT", "RSET", "NOOP":
			ok = reply("250 2.0.0 ok\r\n")
		case "DATA":
			out.WriteString("354 go\r\n") //nolint:errcheck // Flush tells
			if out.Flush() != nil || !skipData(in) {
				return
			}
			accepted()
			ok = reply("250 2.0.0 taken\r\n")
		case "QUIT":
			reply("221 2.0.0 bye\r\n")
			out.Flush() //nolint:errcheck // over anyway
			return
		default:
			ok = reply("500 5.5.2 what\r\n")
		}
		if !ok {
			return
		}
	}
}

// skipData reads up to the line with a dot alone.
func skipData(in *bufio.Reader) bool {
	fresh := true // at the start of a line
	for {
		line, err := in.ReadSlice('\n')
		if fresh && bytes.Equal(line, []byte(".\r\n")) {
			return true
		}
		fresh = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return false
		}
	}
}

// delayedWriter lets what is written arrive later, like a line with a latency: a write does not wait.
type delayedWriter struct {
	latency time.Duration
	queue   chan delayed
	done    chan struct{}
}

type delayed struct {
	due  time.Time
	data []byte
}

func newDelayedWriter(w io.Writer, latency time.Duration) *delayedWriter {
	d := &delayedWriter{latency, make(chan delayed, 4096), make(chan struct{})}
	go func() {
		defer close(d.done)
		for x := range d.queue {
			time.Sleep(time.Until(x.due))
			w.Write(x.data) //nolint:errcheck // the reader sees the end
		}
	}()
	return d
}

func (d *delayedWriter) Write(p []byte) (int, error) {
	d.queue <- delayed{time.Now().Add(d.latency), bytes.Clone(p)}
	return len(p), nil
}

// close waits until everything has arrived.
func (d *delayedWriter) close() {
	close(d.queue)
	<-d.done
}

// sink is the benchmark's handle on a sink process.
type sink struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// startSink starts a sink whose replies arrive after latency.
func startSink(latency time.Duration) (*sink, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startSinkAs(exec.Command(self, "sink", latency.String())) //nolint:gosec // ourselves
}

func startSinkAs(cmd *exec.Cmd) (*sink, error) {
	s := &sink{cmd: cmd}
	var err error
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	s.addr = strings.TrimSpace(line)
	return s, err
}

// count is how many mails arrived, and when the latest did.
func (s *sink) count() (int, time.Time) {
	var v [2]int64
	if _, err := s.in.Write([]byte{1}); err != nil {
		return 0, time.Time{}
	}
	if err := binary.Read(s.out, binary.BigEndian, &v); err != nil {
		return 0, time.Time{}
	}
	return int(v[0]), time.Unix(0, v[1])
}

// await waits until n more mails than before have arrived and says when the last one did.
func (s *sink) await(before, n int, patience time.Duration) (time.Time, error) {
	deadline := time.Now().Add(patience)
	for {
		got, last := s.count()
		if got >= before+n {
			return last, nil
		}
		if time.Now().After(deadline) {
			return last, fmt.Errorf("%d of %d mails arrived in %s", got-before, n, patience)
		}
		time.Sleep(20 * time.Millisecond) // the sink knows the time
	}
}

func (s *sink) stop() {
	s.in.Close()
	s.cmd.Wait() //nolint:errcheck // it was told to end
}
