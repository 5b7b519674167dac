package registry

import (
	"net"
	"testing"
	"time"
)

// gRPC seeks an endpoint anew a second after an attempt to reach it has ended. While
// another answers, the attempt ends with the time that gRPC gives it.
func TestADeadEndpointIsSoughtLessOftenWhileAnotherAnswers(t *testing.T) {
	t.Parallel()
	_, s := fresh(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	dead := free.Addr().String()
	ok(t, free.Close())
	r, _ := connect(t, s.Endpoints(), "")
	tried := make(chan error)
	dial := func() {
		_, err := r.connector.dial(t.Context(), dead)
		tried <- err
	}

	go dial()
	if err := <-tried; err == nil {
		t.Fatal("somebody listens there")
	}
	must(r.Revision(t.Context()))(t)
	go dial()
	select {
	case <-tried:
		t.Fatal("an attempt ended at once, though another endpoint answers")
	case <-time.After(100 * time.Millisecond):
	}
	// Whoever has no connection left seeks them all.
	ok(t, r.Close())
	<-tried
}
