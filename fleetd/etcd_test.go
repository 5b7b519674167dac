package main

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Three hosts form a cluster, however late the last of them comes; after that they need
// the service no more.
func TestHostsFormACluster(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	url := d.url(t, 3)
	var hosts []*etcdHost
	for i := range 3 {
		hosts = append(hosts, n.host(t, i+1, "ETCD_DISCOVERY="+url))
	}
	hosts[0].start().said.await(t, "1 of 3 joined; waiting for 2 more")
	hosts[1].start().said.await(t, "2 of 3 joined; waiting for 1 more")
	if code := hosts[0].terminate(); code != 0 {
		t.Errorf("told to end while it waits, it ends with %d:\n%s", code, hosts[0].said)
	}
	hosts[0].start().said.await(t, "2 of 3 joined; waiting for 1 more")
	hosts[2].start()
	formed(t, hosts...)
	for _, h := range hosts {
		awaitGone(t, filepath.Join(h.dir, "fleet"))
	}

	t.Run("a fourth that must be no proxy", func(t *testing.T) {
		n.host(t, 4, "ETCD_DISCOVERY="+url, "ETCD_DISCOVERY_FALLBACK=exit").start().refused("the cluster is full", "ETCD_DISCOVERY_FALLBACK=exit")
	})
	t.Run("a member that lost its data", func(t *testing.T) {
		hosts[2].kill()
		if err := os.Rename(hosts[2].dir, hosts[2].dir+".lost"); err != nil {
			t.Fatal(err)
		}
		hosts[2].start().refused("lost its data", "fleetd etcd replace")
		formed2(t, hosts[:2])
		if err := os.Rename(hosts[2].dir+".lost", hosts[2].dir); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		hosts[2].start()
		formed(t, hosts...)
	})
	t.Run("all again without the service", func(t *testing.T) {
		d.CloseClientConnections()
		d.Close()
		for _, h := range hosts {
			h.kill()
		}
		for _, h := range hosts {
			h.start()
		}
		formed(t, hosts...)
	})
}

// formed2 checks that hosts still answer for a cluster that has members who don't.
func formed2(t *testing.T, hosts []*etcdHost) {
	t.Helper()
	for _, h := range hosts {
		if got := h.members(newClient(nil), "http://"+h.addr+":2379"); len(got) != 3 {
			t.Errorf("%s: %v", h.name, got)
		}
	}
}

func awaitGone(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", path)
		}
	}
}

// Whatever moment a host is killed at while it joins, started again it is the
// member that it was about to be.
func TestKilledWhileJoining(t *testing.T) {
	for k := 1; k <= 4; k++ { // size, members, register, members
		for _, when := range []string{"before", "after"} {
			t.Run(when+" request "+strconv.Itoa(k), func(t *testing.T) {
				t.Parallel()
				d, n := startDiscovery(t), newNetwork(t)
				h := n.host(t, 1, "ETCD_DISCOVERY="+d.url(t, 1))
				count := 0
				reached, killed := make(chan struct{}), make(chan struct{})
				killer := func(w http.ResponseWriter, r *http.Request) {
					if count++; count != k {
						d.service.ServeHTTP(w, r)
						return
					}
					if when == "after" {
						d.service.ServeHTTP(w, r)
					}
					close(reached)
					<-killed
				}
				d.underway.Store(&killer)
				h.start()
				<-reached
				h.kill()
				d.underway.Store(nil)
				close(killed)
				h.start()
				formed(t, h)
			})
		}
	}
}

// The same, from the moment when it knows the members to the one when etcd's data
// is there.
func TestKilledWhileEtcdStarts(t *testing.T) {
	for _, path := range []string{"fleet/join.json", "member", "member/snap", "member/snap/db", "member/wal.tmp", "member/wal"} {
		t.Run("at "+path, func(t *testing.T) {
			t.Parallel()
			d, n := startDiscovery(t), newNetwork(t)
			h := n.host(t, 1, "ETCD_DISCOVERY="+d.url(t, 1)).start()
			for deadline := time.Now().Add(time.Minute); ; {
				if _, err := os.Lstat(filepath.Join(h.dir, path)); err == nil {
					break
				}
				if _, err := os.Lstat(filepath.Join(h.dir, "member/wal")); err == nil {
					break // it was too quick to be seen
				}
				if time.Now().After(deadline) {
					t.Fatalf("never %s:\n%s", path, h.said)
				}
			}
			h.kill()
			h.start()
			formed(t, h)
			awaitGone(t, filepath.Join(h.dir, "fleet"))
		})
	}
}

// A host that is told nothing to find the others by, or something wrong, never
// ends up alone without a word.
func TestHostsThatCannotJoin(t *testing.T) {
	d := startDiscovery(t)
	for _, tc := range []struct {
		name string
		// environ is put after what the host has; URL stands for a good one.
		environ []string
		says    []string
	}{
		{"a URL that nobody made", []string{"ETCD_DISCOVERY=" + d.URL + "/0123456789abcdef0123456789abcdef"}, []string{"does not know this URL", "make a new one"}},
		{"a URL without a token", []string{"ETCD_DISCOVERY=" + d.URL}, []string{"names no token", "/new?size=3"}},
		{"a URL and a list of members", []string{"ETCD_DISCOVERY=URL", "ETCD_INITIAL_CLUSTER=n1=http://10.0.0.1:2380"}, []string{"ETCD_INITIAL_CLUSTER"}},
		{"no peer URL", []string{"ETCD_DISCOVERY=URL", "ETCD_INITIAL_ADVERTISE_PEER_URLS="}, []string{"set ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$private_ipv4:2380"}},
		{"a peer URL without an address", []string{"ETCD_DISCOVERY=URL", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://:2380"}, []string{"http://:2380", "$private_ipv4"}},
		{"everybody's address", []string{"ETCD_DISCOVERY=URL", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://0.0.0.0:2380"}, []string{"ETCD_INITIAL_ADVERTISE_PEER_URLS", "0.0.0.0"}},
		{"nobody listens", []string{"ETCD_DISCOVERY=URL", "ETCD_LISTEN_PEER_URLS=", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://10.0.0.1:2380"}, []string{"ETCD_LISTEN_PEER_URLS is not set"}},
		{"a name with a comma", []string{"ETCD_DISCOVERY=URL", "ETCD_NAME=a,b"}, []string{"ETCD_NAME", "a,b"}},
		{"no client URLs", []string{"ETCD_DISCOVERY=URL", "ETCD_ADVERTISE_CLIENT_URLS="}, []string{"advertise-client-urls"}},
		{"TLS without a certificate", []string{"ETCD_DISCOVERY=URL", "ETCD_LISTEN_PEER_URLS=https://$private_ipv4:2380"}, []string{"ETCD_PEER_CERT_FILE and ETCD_PEER_KEY_FILE are needed"}},
		{"timers that don't fit", []string{"ETCD_DISCOVERY=URL", "ETCD_ELECTION_TIMEOUT=100"}, []string{"election-timeout"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t)
			url := d.url(t, 1)
			h := n.host(t, 1)
			for _, e := range tc.environ {
				if e == "ETCD_DISCOVERY=URL" {
					e = "ETCD_DISCOVERY=" + url
				}
				h.environ = append(h.environ, e)
			}
			h.start().refused(tc.says...)
			if _, err := os.Lstat(h.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it has left something: %v", err)
			}
			// Nothing was registered: the place is still there for a host without the mistake.
			other := n.host(t, 2, "ETCD_DISCOVERY="+url).start()
			other.said.await(t, "all 1 members have joined")
		})
	}
}

// Two hosts that are told the same peer URLs: the second says so, now and when
// it is started again.
func TestTwoHostsWithOneAddress(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	url := d.url(t, 3)
	first := n.host(t, 1, "ETCD_DISCOVERY="+url).start()
	first.said.await(t, "1 of 3 joined")
	second := n.host(t, 2, "ETCD_DISCOVERY="+url, "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://"+first.addr+":2380")
	for range 2 {
		second.start().refused("another host has registered with this host's peer URLs")
	}
}

// The service doesn't let a host join that has another's name. The host says so
// once; with a name of its own it gets the place.
func TestTwoHostsWithOneName(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	url := d.url(t, 2)
	first := n.host(t, 1, "ETCD_DISCOVERY="+url).start()
	first.said.await(t, "1 of 2 joined")
	second := n.host(t, 2, "ETCD_DISCOVERY="+url, "ETCD_NAME=n1")
	for range 2 {
		second.start().refused("the name n1 is member", "give each host a name of its own (ETCD_NAME")
	}
	second.environ = append(second.environ, "ETCD_NAME=n2")
	formed(t, first, second.start())
}

// A host that has a part of an earlier member's data doesn't bring it into a new
// cluster, nor throw it away.
func TestHostWithTheRestOfAMember(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	before := n.host(t, 1, "ETCD_DISCOVERY="+d.url(t, 1)).start()
	formed(t, before)
	before.kill()
	if err := os.RemoveAll(filepath.Join(before.dir, "member/wal")); err != nil {
		t.Fatal(err)
	}
	url := d.url(t, 1)
	before.environ = append(before.environ, "ETCD_DISCOVERY="+url)
	before.start().refused(filepath.Join(before.dir, "member"), "without its log", "mv "+before.dir+"/member "+before.dir+".old")
	if _, err := os.Stat(filepath.Join(before.dir, "member/snap/db")); err != nil {
		t.Error(err)
	}
	formed(t, n.host(t, 2, "ETCD_DISCOVERY="+url).start()) // the place is still there
}

// A member's data on a host with another address: the member may have moved, which
// it says; or it was copied, and while the one that it was copied from runs, there
// must be no second.
func TestMemberWithAnotherAddress(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	url := d.url(t, 3)
	var hosts []*etcdHost
	for i := range 3 {
		hosts = append(hosts, n.host(t, i+1, "ETCD_DISCOVERY="+url).start())
	}
	formed(t, hosts...)
	first := hosts[2]
	first.terminate()
	copied := n.host(t, 4, "ETCD_DISCOVERY="+url, "ETCD_LOG_LEVEL=warn")
	if err := os.CopyFS(copied.dir, os.DirFS(first.dir)); err != nil {
		t.Fatal(err)
	}
	first.start()
	formed(t, hosts...)
	copied.start().refused("http://"+first.addr+":2380", "was the data, or the image of a host that had run, copied?", "mv "+copied.dir+" "+copied.dir+".copy")
	first.terminate()
	copied.name = "n3"
	copied.environ = append(copied.environ, "ETCD_NAME=n3")
	if err := errors.Join(os.RemoveAll(copied.dir), os.Rename(first.dir, copied.dir)); err != nil {
		t.Fatal(err)
	}
	formed(t, hosts[0], hosts[1], copied.start())
	copied.said.await(t, "--peer-urls=http://"+copied.addr+":2380")
}

// An unreachable service is waited for, and its URL never given up.
func TestServiceThatIsAway(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	away := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	d.underway.Store(&away)
	h := n.host(t, 1, "ETCD_DISCOVERY="+d.url(t, 1)).start()
	h.said.await(t, "does not answer")
	d.underway.Store(nil)
	formed(t, h)
}
