package functional

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
)

// program is a process of this machine's, with what it says.
type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu   sync.Mutex
	said bytes.Buffer
}

// Write takes what it says.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *program) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// launch starts a program, and has it killed at the test's end.
func launch(t *testing.T, argv ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // what it said tells how it ended
	}()
	t.Cleanup(p.kill)
	return p
}

func getText(ctx context.Context, url string) (string, error) {
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

func await(t *testing.T, ctx context.Context, what string, ok func() (bool, string)) {
	t.Helper()
	if err := cluster.Await(ctx, what, ok); err != nil {
		t.Fatal(err)
	}
}
