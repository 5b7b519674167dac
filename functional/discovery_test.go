package functional

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
	"github.com/fleet-project/fleet/functional/cluster"
)

// loopback is a network of a test's own: no port there can be taken.
func loopback() string { return fmt.Sprintf("127.%d.%d.", 64+rand.IntN(128), rand.IntN(256)) }

// oldEtcds is real etcds that resolve discovery URLs themselves, and a service of ours.
type oldEtcds struct {
	t       *testing.T
	ctx     context.Context
	etcd    string // the program
	network string
	data    string
}

// serve starts the service.
func (o *oldEtcds) serve() *cluster.Program {
	o.t.Helper()
	p, err := cluster.LaunchDiscovery(o.ctx, o.network+"9:2381", o.data)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(p.Kill)
	return p
}

// url makes a discovery URL.
func (o *oldEtcds) url(size int) string {
	o.t.Helper()
	url, err := cluster.Get(o.ctx, fmt.Sprintf("http://%s9:2381/new?size=%d", o.network, size))
	if err != nil {
		o.t.Fatal(err)
	}
	return url
}

func (o *oldEtcds) peer(n int) string { return fmt.Sprintf("http://%s%d:2380", o.network, n) }

// start starts an etcd without data. What flags say comes after what is usual, and wins.
func (o *oldEtcds) start(n int, flags ...string) *cluster.Program {
	o.t.Helper()
	client, peer := fmt.Sprintf("http://%s%d:2379", o.network, n), o.peer(n)
	p, err := cluster.Launch(append([]string{o.etcd, "--name", fmt.Sprint("n", n), "--data-dir", o.t.TempDir(),
		"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer}, flags...)...)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(p.Kill)
	return p
}

// joined waits until so many have registered, and checks that their ids are as
// our own client makes them.
func (o *oldEtcds) joined(url string, want int) {
	o.t.Helper()
	o.await(fmt.Sprint(want, " members"), func() (bool, string) {
		var a discovery.Answer
		text, err := cluster.Get(o.ctx, url)
		if err != nil || json.Unmarshal([]byte(text), &a) != nil || len(a.Node.Nodes) != want {
			return false, text
		}
		for _, n := range a.Node.Nodes {
			p, err := token.ParsePeer(*n.Value)
			if err != nil || !strings.HasSuffix(n.Key, "/"+string(token.IDOf(p.URLs, url))) {
				o.t.Errorf("etcd's member %s is %s, whose id we think is %s (%v)", n.Key, *n.Value, token.IDOf(p.URLs, url), err)
			}
		}
		return true, ""
	})
}

func (o *oldEtcds) healthy(n int, of *cluster.Program) {
	o.t.Helper()
	o.await(fmt.Sprint("etcd ", n), func() (bool, string) {
		text, err := cluster.Get(o.ctx, fmt.Sprintf("http://%s%d:2379/health", o.network, n))
		return err == nil && strings.Contains(text, `"health":"true"`), of.Log()
	})
}

func (o *oldEtcds) await(what string, ok func() (bool, string)) {
	o.t.Helper()
	if err := cluster.Await(o.ctx, what, ok); err != nil {
		o.t.Fatal(err)
	}
}

// ends waits until an etcd gives up, and checks that it says one of these.
func (o *oldEtcds) ends(who string, p *cluster.Program, says ...string) {
	o.t.Helper()
	select {
	case <-p.Done:
	case <-o.ctx.Done():
		o.t.Fatalf("%s runs: %s", who, p.Log())
	}
	for _, s := range says {
		if strings.Contains(p.Log(), s) {
			return
		}
	}
	o.t.Errorf("%s does not say %q: %s", who, says, p.Log())
}

// join is our own client's part.
func (o *oldEtcds) join(n int, url string) (discovery.Cluster, error) {
	return discovery.Join(o.ctx, discovery.Options{URL: url, Name: fmt.Sprint("n", n), PeerURLs: []string{o.peer(n)}})
}

// The real etcds which resolve discovery URLs themselves take ours: three form a
// cluster though the service is killed meanwhile, duplicates and a member that
// lost its data are refused, and a fourth finds it full. Our own client finds the same.
func TestOldEtcdFormsByOurURL(t *testing.T) {
	for _, version := range []struct {
		name  string
		build func() (string, error)
		proxy bool // what one becomes that finds the cluster full
	}{
		{"3.5", buildFleet1, true},
		{"3.6", func() (string, error) {
			return buildOnce("etcd36", []built{{"etcd36", "etcd", "go.etcd.io/etcd/server/v3"}})
		}, false},
	} {
		t.Run(version.name, func(t *testing.T) {
			t.Parallel()
			dir, err := version.build()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			o := &oldEtcds{t: t, ctx: ctx, etcd: filepath.Join(dir, "etcd"), network: loopback(), data: t.TempDir()}
			o.form(version.proxy)
		})
	}
}

func (o *oldEtcds) form(proxy bool) {
	t := o.t
	first := o.serve()
	url := o.url(3)
	t.Logf("the URL: %s", url)
	members := []*cluster.Program{o.start(1, "--discovery", url), o.start(2, "--discovery", url)}
	o.joined(url, 2)
	o.ends("one with another's peer URL", o.start(5, "--discovery", url, "--initial-advertise-peer-urls", o.peer(1)), "duplicate id", "previously registered")
	o.ends("one with another's name", o.start(6, "--discovery", url, "--name", "n1"), "the name n1 is member")
	first.Kill()
	o.serve()
	o.joined(url, 2)
	members = append(members, o.start(3, "--discovery", url))
	for i, p := range members {
		o.healthy(i+1, p)
	}
	o.joined(url, 3)
	if fourth := o.start(4, "--discovery", url); proxy {
		o.healthy(4, fourth) // as a proxy: it has no other way to be
	} else {
		o.ends("the fourth", fourth, "cluster is full")
	}

	members[0].Kill()
	o.ends("a member that lost its data", o.start(1, "--discovery", url), "duplicate id", "already been bootstrapped", "previously registered")
	o.healthy(2, members[1])

	_, err := o.join(7, url)
	if full := (*discovery.FullError)(nil); !errors.As(err, &full) || len(full.Cluster.Members) != 3 {
		t.Errorf("our own client as the fifth: %v", err)
	}

	// Beside one that resolves the URL itself, one that our client resolves it for:
	// they are one cluster only if they agree on all ids.
	mixed := o.url(2)
	itself := o.start(7, "--discovery", mixed)
	found, err := o.join(8, mixed)
	if err != nil {
		t.Fatal(err)
	}
	told := o.start(8, "--initial-cluster", found.InitialCluster(), "--initial-cluster-token", found.Token)
	o.healthy(7, itself)
	o.healthy(8, told)
}

// The service is killed whenever two hosts are about to register: some of what
// they send comes through, some answers don't. All agree on the members in the end.
func TestDiscoveryIsKilledAtEachRegistration(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := &oldEtcds{t: t, ctx: ctx, network: loopback(), data: t.TempDir()}
	service := o.serve()
	const size = 21
	url := o.url(size)
	type result struct {
		cluster discovery.Cluster
		err     error
	}
	results, registering := make(chan result, size), make(chan struct{}, size)
	for n := range size {
		go func() {
			c, err := discovery.Join(ctx, discovery.Options{
				URL: url, Name: fmt.Sprint("n", n), PeerURLs: []string{fmt.Sprintf("http://10.0.0.%d:2380", n+1)},
				BeforeRegister: func() error { registering <- struct{}{}; return nil },
				Backoff:        discovery.Backoff{First: 10 * time.Millisecond, Most: 100 * time.Millisecond},
			})
			results <- result{c, err}
		}()
		if n%2 == 1 {
			for range 2 {
				<-registering
			}
			service.Kill()
			service = o.serve()
		}
	}
	first := ""
	for range size {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		if first == "" {
			first = r.cluster.InitialCluster()
		}
		if len(r.cluster.Members) != size || r.cluster.InitialCluster() != first {
			t.Errorf("one was told %v, another %s", r.cluster, first)
		}
	}
}
