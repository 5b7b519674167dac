package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
)

// Program is a process of this machine's, such as a discovery service, with what
// it says.
type Program struct {
	// Done is closed when it has ended.
	Done chan struct{}

	cmd  *exec.Cmd
	mu   sync.Mutex
	said bytes.Buffer
}

// Launch starts a program. Whoever starts one kills it.
func Launch(argv ...string) (*Program, error) {
	p := &Program{cmd: exec.Command(argv[0], argv[1:]...), Done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.Done)
		_ = p.cmd.Wait() // what it said tells how it ended
	}()
	return p, nil
}

// Write takes what it says.
func (p *Program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

// Log is what it has said.
func (p *Program) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// Ended says whether it has ended.
func (p *Program) Ended() bool {
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

// Kill ends it from one moment to the next, and waits until it has ended.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.Done
}

// LaunchDiscovery starts the built discovery service, and returns when it answers.
func LaunchDiscovery(ctx context.Context, listen, dataDir string) (*Program, error) {
	p, err := Launch(Root()+"/bin/fleetd", "discovery", "--listen", listen, "--data-dir", dataDir)
	if err != nil {
		return nil, err
	}
	err = Await(ctx, "the discovery service", func() (bool, string) {
		return strings.Contains(p.Log(), "discovery listens on") || p.Ended(), p.Log()
	})
	if err == nil && p.Ended() {
		err = fmt.Errorf("the discovery service ended: %s", p.Log())
	}
	if err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// FreePort is an address of this machine's with a port that is free.
func FreePort(ip string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Get is what a web server answers, which must be 200.
func Get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}
