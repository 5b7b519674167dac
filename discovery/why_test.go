package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
)

// A service that can't be reached is told of once, though each attempt comes from
// another port, and its URL once in that.
func TestSameTroubleIsToldOnce(t *testing.T) {
	const address = "http://d:2381/6c007a14875d53d9bf0ef5a6fc0257c8/_config/size"
	attempt := func(port int) error {
		lookup := &net.DNSError{Err: fmt.Sprintf("read udp [::1]:%d->[::1]:53: read: connection refused", port), Name: "d", Server: "[::1]:53"}
		return temporary{&url.Error{Op: "Get", URL: address, Err: &net.OpError{Op: "dial", Net: "tcp", Err: lookup}}}
	}
	const want = "dial tcp: lookup d on [::1]:53: read udp [::1]:53: read: connection refused"
	for _, port := range []int{53981, 40000} {
		if got := why(attempt(port)); got != want {
			t.Errorf("port %d: %s", port, got)
		}
	}
	reset := &net.OpError{
		Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 33344},
		Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 2381}, Err: errors.New("connection reset by peer"),
	}
	if got := why(temporary{reset}); got != "read tcp 10.0.0.5:2381: connection reset by peer" {
		t.Errorf("reset: %s", got)
	}
}
