package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// bareLoop is the upper bound: the same bytes over the same number of connections with pipelined commands, no queue, no
// database. It gives mails per second.
func bareLoop(addr string, connections, n int, body []byte) (float64, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	began := time.Now()
	for range connections {
		wg.Go(func() {
			if err := blast(addr, &next, int64(n), body); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(errs)
	if err := <-errs; err != nil {
		return 0, err
	}
	return float64(n) / took.Seconds(), nil
}

func blast(addr string, next *atomic.Int64, n int64, body []byte) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	expect := func(code string) error {
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(line, []byte(code)) {
				return fmt.Errorf("reply %q", line)
			}
			if len(line) > 3 && line[3] != '-' {
				return nil
			}
		}
	}
	send := func(s string, codes ...string) error {
		if _, err := conn.Write([]byte(s)); err != nil {
			return err
		}
		for _, c := range codes {
			if err := expect(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(expect("220"), send("EHLO bench\r\n", "250")); err != nil {
		return err
	}
	data := string(body) + ".\r\n"
	for next.Add(1) <= n {
		if err := send("MAIL FROM:<a@bench.example>\r\nRCPT TO:<b@bench.example>\r\nDATA\r\n", "250", "250", "354"); err != nil {
			return err
		}
		if err := send(data, "250"); err != nil {
			return err
		}
	}
	return send("QUIT\r\n", "221")
}

// smtpSource runs Postfix's smtp-source over kept connections. ok is false where it is not installed.
func smtpSource(addr string, connections, n, length int) (rate float64, ok bool, err error) {
	path, err := exec.LookPath("smtp-source")
	if err != nil {
		return 0, false, nil
	}
	cmd := exec.Command(path, "-d", "-s", strconv.Itoa(connections), "-m", strconv.Itoa(n), "-l", strconv.Itoa(length), addr) //nolint:gosec // constant
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, true, fmt.Errorf("smtp-source: %w: %s", err, out)
	}
	return float64(n) / time.Since(began).Seconds(), true, nil
}
