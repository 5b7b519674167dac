package functional

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
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

// The real etcd 3.5, which resolves discovery URLs itself, takes ours: three form
// a cluster though the service is killed meanwhile, a fourth becomes a proxy, and
// one that lost its data doesn't get in again. Our own client finds the same.
func TestOldEtcdFormsByOurURL(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir, err := buildFleet1()
	if err != nil {
		t.Fatal(err)
	}
	// Loopback addresses of its own: no port can be taken.
	network := fmt.Sprintf("127.%d.%d.", 64+rand.IntN(128), rand.IntN(256))
	service, data := "http://"+network+"9:2381", t.TempDir()
	serve := func() *program {
		p := launch(t, "../bin/fleetd", "discovery", "--listen", network+"9:2381", "--data-dir", data)
		await(t, ctx, "the service", func() (bool, string) {
			_, err := getText(ctx, service+"/health")
			return err == nil, p.log()
		})
		return p
	}
	first := serve()
	url, err := getText(ctx, service+"/new?size=3")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the URL: %s", url)
	start := func(n int, flags ...string) *program {
		client, peer := fmt.Sprintf("http://%s%d:2379", network, n), fmt.Sprintf("http://%s%d:2380", network, n)
		return launch(t, append([]string{filepath.Join(dir, "etcd"), "--name", fmt.Sprint("n", n), "--data-dir", t.TempDir(),
			"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer}, flags...)...)
	}
	etcd := func(n int) *program { return start(n, "--discovery", url) }
	joined := func(want int) {
		t.Helper()
		await(t, ctx, fmt.Sprint(want, " members"), func() (bool, string) {
			var a discovery.Answer
			text, err := getText(ctx, url)
			if err != nil || json.Unmarshal([]byte(text), &a) != nil || len(a.Node.Nodes) != want {
				return false, text
			}
			for _, n := range a.Node.Nodes {
				p, err := token.ParsePeer(*n.Value)
				if err != nil || !strings.HasSuffix(n.Key, "/"+string(token.IDOf(p.URLs, url))) {
					t.Errorf("etcd's member %s is %s, whose id we think is %s (%v)", n.Key, *n.Value, token.IDOf(p.URLs, url), err)
				}
			}
			return true, ""
		})
	}
	healthy := func(n int, of *program) {
		t.Helper()
		await(t, ctx, fmt.Sprint("etcd ", n), func() (bool, string) {
			text, err := getText(ctx, fmt.Sprintf("http://%s%d:2379/health", network, n))
			return err == nil && strings.Contains(text, `"health":"true"`), of.log()
		})
	}
	members := []*program{etcd(1), etcd(2)}
	joined(2)
	first.kill()
	serve()
	joined(2)
	members = append(members, etcd(3))
	for i, p := range members {
		healthy(i+1, p)
	}
	joined(3)
	healthy(4, etcd(4)) // as a proxy: it has no other way to be

	members[0].kill()
	again := etcd(1)
	select {
	case <-again.done:
	case <-ctx.Done():
		t.Fatalf("it runs, without its data: %s", again.log())
	}
	if log := again.log(); !strings.Contains(log, "duplicate id") && !strings.Contains(log, "already been bootstrapped") {
		t.Errorf("a member that lost its data: %s", log)
	}
	healthy(2, members[1])

	ours := func(n int, url string) (discovery.Cluster, error) {
		return discovery.Join(ctx, discovery.Options{URL: url, Name: fmt.Sprint("n", n), PeerURLs: []string{fmt.Sprintf("http://%s%d:2380", network, n)}})
	}
	_, err = ours(5, url)
	if full := (*discovery.FullError)(nil); !errors.As(err, &full) || len(full.Cluster.Members) != 3 {
		t.Errorf("our own client as the fifth: %v", err)
	}

	// Beside one that resolves the URL itself, one that our client resolves it for:
	// they are one cluster only if they agree on all ids.
	mixed, err := getText(ctx, service+"/new?size=2")
	if err != nil {
		t.Fatal(err)
	}
	itself := start(6, "--discovery", mixed)
	found, err := ours(7, mixed)
	if err != nil {
		t.Fatal(err)
	}
	told := start(7, "--initial-cluster", found.InitialCluster(), "--initial-cluster-token", found.Token)
	healthy(6, itself)
	healthy(7, told)
}

func await(t *testing.T, ctx context.Context, what string, ok func() (bool, string)) {
	t.Helper()
	if err := cluster.Await(ctx, what, ok); err != nil {
		t.Fatal(err)
	}
}
