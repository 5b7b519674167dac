package faults

import (
	"net"
	"sync"
	"time"
)

// Delay is a TCP proxy that passes on at once what clients say, and what they are
// answered so much later. It takes no less at a time for that: answers overtake no
// answers, and none waits for the one before it.
type Delay struct {
	listener net.Listener
	to       string
	by       time.Duration

	running sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
	closed  bool
}

// NewDelay listens at an address, and passes all on to another.
func NewDelay(listen, to string, by time.Duration) (*Delay, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	d := &Delay{listener: l, to: to, by: by}
	d.running.Go(d.accept)
	return d, nil
}

// Addr is where it listens.
func (d *Delay) Addr() string { return d.listener.Addr().String() }

// Close ends it with all connections.
func (d *Delay) Close() {
	d.listener.Close()
	d.mu.Lock()
	d.closed = true
	for _, c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.running.Wait()
}

// keep remembers a connection, to be closed; one that comes too late is closed now.
func (d *Delay) keep(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		c.Close()
	}
	d.conns = append(d.conns, c)
}

func (d *Delay) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.keep(client)
		server, err := net.DialTimeout("tcp", d.to, time.Second)
		if err != nil {
			client.Close()
			continue
		}
		d.keep(server)
		d.running.Go(func() { pass(server, client, 0) })
		d.running.Go(func() { pass(client, server, d.by) })
	}
}

// said is what one side said, and when it is due.
type said struct {
	data []byte
	due  time.Time
}

// pass passes on what one side says, so much later, and then its end.
func pass(to, from net.Conn, by time.Duration) {
	defer to.Close()
	heard := make(chan said, 4096)
	var writing sync.WaitGroup
	writing.Go(func() {
		for s := range heard {
			time.Sleep(time.Until(s.due))
			if _, err := to.Write(s.data); err != nil {
				from.Close() // which ends the reading
			}
		}
	})
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		if n > 0 {
			heard <- said{append([]byte{}, buf[:n]...), time.Now().Add(by)}
		}
		if err != nil {
			break
		}
	}
	close(heard)
	writing.Wait()
}
