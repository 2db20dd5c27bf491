//go:build linux || darwin || freebsd || netbsd || openbsd

package smtp

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A look at a connection waits for nothing, takes nothing, and tells bytes from the end.
func TestPeek(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	p := newPeeker(near)
	// What is on its way is there soon.
	until := func(what string, is func(waiting bool, err error) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; {
			waiting, known, err := p.peek()
			if !known || time.Now().After(deadline) {
				t.Fatalf("%s: waiting %v, known %v, %v", what, waiting, known, err)
			}
			if is(waiting, err) {
				return
			}
		}
	}
	if waiting, known, err := p.peek(); waiting || !known || err != nil {
		t.Errorf("nothing yet: waiting %v, known %v, %v", waiting, known, err)
	}
	if _, err := far.Write([]byte("421")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		until("bytes", func(waiting bool, err error) bool { return waiting && err == nil })
	}
	far.Close()
	if _, err := io.ReadFull(near, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	until("the end", func(waiting bool, err error) bool { return !waiting && errors.Is(err, io.EOF) })
	near.Close()
	if _, known, err := p.peek(); !known || err == nil {
		t.Errorf("closed here: known %v, %v", known, err)
	}
	if _, known, err := newPeeker(struct{ net.Conn }{}).peek(); known || err != nil {
		t.Errorf("no connection of the system's: known %v, %v", known, err)
	}
}
