package member

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// Of this process's connections, those end that have asked and were answered, and are
// silent for too long: no other.
func TestEndSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := []int{l.Addr().(*net.TCPAddr).Port}
	type pair struct{ client, server net.Conn }
	connect := func(from string, ask, answer int) pair {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		for _, say := range []struct {
			from, to net.Conn
			bytes    int
		}{{c, s, ask}, {s, c, answer}} {
			if _, err := say.from.Write(make([]byte, say.bytes)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(say.to, make([]byte, say.bytes)); err != nil {
				t.Fatal(err)
			}
		}
		return pair{c, s}
	}
	ended := func(c net.Conn) bool {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		if err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("reading: %v", err)
		}
		return errors.Is(err, io.EOF)
	}
	const elsewhere = "127.0.0.2"
	stream, unanswered, sender := connect(elsewhere, 200, 300), connect(elsewhere, 200, 0), connect(elsewhere, smallRequest+1, 100)
	self := connect("127.0.0.1", 200, 300)
	const limit = 100 * time.Millisecond
	if got := endSilent(served, time.Hour); len(got) != 0 || ended(stream.client) {
		t.Fatalf("before its time: ended %v", got)
	}
	var all []string
	for deadline := time.Now().Add(30 * time.Second); len(all) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all = endSilent(served, limit)
	}
	if !slices.Equal(all, []string{l.Addr().String()}) {
		t.Errorf("ended %v", all)
	}
	for name, c := range map[string]struct {
		conn net.Conn
		want bool
	}{
		"the silent stream": {stream.client, true}, "one that was not answered yet": {unanswered.client, false},
		"one that sent much": {sender.client, false}, "one to this process": {self.client, false}, "one that came to it": {self.server, false},
	} {
		if got := ended(c.conn); got != c.want {
			t.Errorf("%s: ended %v", name, got)
		}
	}
}
