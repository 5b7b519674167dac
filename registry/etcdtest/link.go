package etcdtest

import (
	"net"
	"os"
	"sync"
)

// Link is a way to a server that a test can cut, silently or not.
type Link struct {
	path, to string
	listener net.Listener
	pumping  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // cut or frozen became different
	cut     bool
	frozen  bool
	conns   map[net.Conn]bool
}

func newLink(path, to string) (*Link, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	l := &Link{path: path, to: to, listener: listener, conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	l.pumping.Go(l.accept)
	return l, nil
}

// Endpoints is what a client dials.
func (l *Link) Endpoints() []string { return []string{"unix://" + l.path} }

// Cut ends all connections and refuses new ones, as the server's death would.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		c.Close()
	}
	l.changed.Broadcast()
}

// Freeze lets nothing through any more, though all connections stay: a
// network that drops every packet.
func (l *Link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = true
}

// Mend undoes Cut and Freeze.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.frozen = false, false
	l.changed.Broadcast()
}

func (l *Link) close() {
	l.Cut()
	l.listener.Close()
	l.pumping.Wait()
	os.Remove(l.path)
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", l.to)
		if err != nil {
			client.Close()
			continue
		}
		l.mu.Lock()
		if l.cut {
			client.Close()
			server.Close()
		} else {
			l.conns[client], l.conns[server] = true, true
			l.pumping.Go(func() { l.pump(client, server) })
			l.pumping.Go(func() { l.pump(server, client) })
		}
		l.mu.Unlock()
	}
}

// pump copies until either side ends, and then ends both.
func (l *Link) pump(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		l.thaw()
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	from.Close()
	to.Close()
	delete(l.conns, from)
	delete(l.conns, to)
}

func (l *Link) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.frozen && !l.cut {
		l.changed.Wait()
	}
}
