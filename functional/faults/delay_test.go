package faults

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"
)

// TestDelay: ten questions, asked at once, are answered in their order, none before
// the delay is over.
func TestDelay(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		conn, err := echo.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			fmt.Fprintf(conn, "%s\n", lines.Text())
		}
	}()
	const by = 300 * time.Millisecond
	d, err := NewDelay("127.0.0.1:0", echo.Addr().String(), by)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	asked := time.Now()
	for i := range 10 {
		fmt.Fprintf(conn, "%d\n", i)
	}
	answers := bufio.NewScanner(conn)
	for i := range 10 {
		if !answers.Scan() || answers.Text() != fmt.Sprint(i) {
			t.Fatalf("answer %d is %q (%v)", i, answers.Text(), answers.Err())
		}
		if took := time.Since(asked); took < by {
			t.Errorf("answer %d came after %s", i, took)
		}
	}
	d.Close()
	if answers.Scan() {
		t.Errorf("closed, and it says %q", answers.Text())
	}
}
