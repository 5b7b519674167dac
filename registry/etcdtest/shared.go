package etcdtest

import (
	"sync"
	"testing"
)

// Shared is the one server of a package's tests. It starts when first asked
// for:
//
//	var etcd etcdtest.Shared
//
//	func TestMain(m *testing.M) { os.Exit(etcd.Run(m)) }
type Shared struct {
	mu     sync.Mutex
	server *Server
}

// Run runs the tests and then stops the server, if any test needed it.
func (s *Shared) Run(m *testing.M) int {
	code := m.Run()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		s.server.close()
	}
	return code
}

// Server gives the server. Never stop or wipe it: others use it now.
func (s *Shared) Server(t testing.TB) *Server {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		server, err := start(Server{})
		if err != nil {
			t.Fatal(err)
		}
		s.server = server
	}
	return s.server
}
