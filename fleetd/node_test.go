package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sirupsen/logrus"
)

// book collects what is said, by lines.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) notify(state string) {
	_, _ = b.Write([]byte(strings.ReplaceAll(state, "\n", " ") + "\n"))
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *book) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(b.String(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("never %q in:\n%s", want, b)
		}
		time.Sleep(time.Millisecond)
	}
}

// aNode is a node without systemd, whose etcd is away, and its log.
func aNode(t *testing.T, conf string) (*node, *book) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.conf")
	dir := t.TempDir()
	conf = "etcd_servers=http://127.0.0.1:1\netcd_request_timeout=0.05\nunits_directory=" + dir + "/units\n" + conf
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	said := &book{}
	log := newLog(cfg)
	log.Logger.SetOutput(said)
	n := &node{
		cfg: cfg, log: log, metrics: prometheus.NewRegistry(), known: func() record.ClusterID { return "c" },
		identify: func(c *config.Config) (machine.Machine, error) {
			if c.PublicIP == "10.0.0.9" {
				return machine.Machine{}, errors.New("whoever")
			}
			return machine.Machine{ID: "m", IP: c.PublicIP, Metadata: c.Metadata}, nil
		},
	}
	n.reloads = newReloads(n.metrics)
	if n.tls, err = newAPITLS(cfg, n.room("api")); err != nil {
		t.Fatal(err)
	}
	n.registry, err = registry.Dial(registry.Config{Endpoints: cfg.EtcdServers, RequestTimeout: cfg.EtcdRequestTimeout, Log: n.room("registry")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	n.server = server.New(server.Options{Registry: n.registry, Log: n.room("api")})
	n.engine = engine.New(engine.Options{Registry: n.registry, Log: n.room("engine"), Metrics: n.metrics})
	return n, said
}

// listening gives the node a socket. Nobody serves it yet.
func listening(t *testing.T, n *node) net.Listener {
	t.Helper()
	l, err := listenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	n.listeners = []net.Listener{l}
	return l
}

func TestSupervisorIsToldTheTruth(t *testing.T) {
	n, _ := aNode(t, "")
	l := listening(t, n)
	told := &book{}
	n.supervisor = supervisor{notify: told.notify, watchdog: 30 * time.Millisecond}
	ctx, end := context.WithCancel(t.Context())
	stop, stopIt := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	running.Go(func() {
		if err := n.supervised(stop, ctx); err != nil {
			t.Error(err)
		}
	})
	// The socket takes connections, but nobody answers.
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := n.answers(short); err == nil || !strings.Contains(err.Error(), "takes no requests") {
		t.Errorf("nobody answers: %v", err)
	}
	if told.String() != "" {
		t.Errorf("told before the API answers:\n%s", told)
	}
	running.Go(func() { _ = n.server.Serve(ctx, l) })
	told.await(t, "READY=1\nSTATUS=")
	told.await(t, "WATCHDOG=1")
	if _, err := n.registry.Revision(ctx); err == nil {
		t.Fatal("there is no etcd")
	}
	told.await(t, "STATUS=waiting for etcd to join the cluster: http://127.0.0.1:1: dial tcp")
	n.goingOn("handing over")
	stopIt()
	told.await(t, "STOPPING=1")
	told.await(t, "STATUS=handing over")
	told.await(t, "EXTEND_TIMEOUT_USEC=15000000")
	if strings.Count(told.String(), "READY=1") != 1 || strings.Count(told.String(), "STOPPING=1") != 1 {
		t.Error(told)
	}
}

// A fleetd that hangs is replaced before its lease can end.
func TestWatchdogIsShortEnoughForTheLease(t *testing.T) {
	for _, tt := range []struct {
		name                string
		ttl, watchdog, want time.Duration
		told, said          string
	}{
		{"the defaults", 30 * time.Second, 15 * time.Second, 15 * time.Second, "", ""},
		{"no watchdog", 10 * time.Second, 0, 0, "", ""},
		{"a shorter lease", 18 * time.Second, 15 * time.Second, 7500 * time.Millisecond, "WATCHDOG_USEC=7500000\n", ""},
		{"the shortest lease for which it can be", 12 * time.Second, 15 * time.Second, 3500 * time.Millisecond, "WATCHDOG_USEC=3500000\n", ""},
		{"short already", 18 * time.Second, 5 * time.Second, 5 * time.Second, "", ""},
		{"too short a lease", 11 * time.Second, 15 * time.Second, 15 * time.Second, "", "with an agent_ttl of 11s this host counts as lost before a fleetd that hangs is restarted (which takes up to 20s)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, said := aNode(t, "")
			told := &book{}
			got := supervisor{notify: told.notify, watchdog: tt.watchdog}.inTime(tt.ttl, n.log)
			if got.watchdog != tt.want || told.String() != tt.told {
				t.Errorf("%s, and systemd was told %q", got.watchdog, told)
			}
			if tt.said == "" && said.String() != "" || !strings.Contains(said.String(), tt.said) {
				t.Errorf("logged %s", said)
			}
		})
	}
}

// systemd drops a message that is longer than 4 KiB, or no UTF-8.
func TestStatusIsOneThatSystemdTakes(t *testing.T) {
	told := &book{}
	supervisor{notify: told.notify}.status("a\nb" + strings.Repeat("é", 5000))
	if s := told.String(); !strings.HasPrefix(s, "STATUS=a; bé") || len(s) > 4000 || !utf8.ValidString(s) || strings.Count(s, "\n") != 1 {
		t.Errorf("%.60q…, %d bytes", s, len(s))
	}
}

func TestNoSignOfLifeFromWhatIsStuck(t *testing.T) {
	n, said := aNode(t, "")
	l := listening(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	told := &book{}
	n.supervisor = supervisor{notify: told.notify, watchdog: 50 * time.Millisecond}
	n.beat(ctx)
	if told.String() != "" || !strings.Contains(said.String(), "fleetd is stuck") {
		t.Errorf("told %q, logged %s", told, said)
	}
	serving.Go(func() { _ = n.server.Serve(ctx, l) })
	n.supervisor.watchdog = time.Minute
	n.beat(ctx)
	if told.String() != "WATCHDOG=1\n" {
		t.Errorf("told %q, logged %s", told, said)
	}
	// Restarting fleetd would not bring back a file that somebody removed.
	if err := os.Remove(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if err := n.alive(ctx); err != nil {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	tests := []struct {
		name, before, after string
		want                []string
		wantNot             string
		check               func(n *node) bool
	}{
		{
			name: "live", before: "metadata=a=1\n", after: "metadata=a=2\nverbosity=1\netcd_request_timeout=0.2\ntoken_limit=7\nengine_reconcile_interval=1000\n",
			want: []string{
				"metadata is a=2 now (was a=1)", "verbosity is 1 now (was 0)", "etcd_request_timeout is 200ms now (was 50ms)",
				"token_limit is 7 now (was 100)", "engine_reconcile_interval is 16m40s now (was 2s)",
			},
			wantNot: "restart",
			check: func(n *node) bool {
				return n.log.Logger.Level == logrus.DebugLevel && n.engine.Report().SafetyNet == "16m40s" && n.cfg.Metadata["a"] == "2"
			},
		},
		{
			name: "restart", before: "etcd_username=u\netcd_password=s3cret\n", after: "etcd_username=u\netcd_password=n3w\nagent_ttl=60s\n",
			want: []string{
				"agent_ttl changed to 1m0s, which needs a restart; until then it stays 30s",
				"etcd_password changed to (hidden), which needs a restart", "systemctl restart fleet",
			},
			check: func(n *node) bool { return n.cfg.AgentTTL == 30*time.Second && n.cfg.EtcdPassword == "s3cret" },
		},
		{name: "nothing", before: "metadata=a=1\n", after: "metadata=a=1\n", want: []string{"the configuration is as it was"}},
		{
			name: "broken", before: "metadata=a=1\n", after: "metadata=a=2\nverbosity=loud\n",
			want: []string{"reload refused", "fleet.conf:5: verbosity"}, wantNot: "a=2",
			check: func(n *node) bool { return n.cfg.Metadata["a"] == "1" },
		},
		{name: "new warning", before: "x=1\n", after: "x=1\ny=1\n", want: []string{"unknown key y"}, wantNot: "unknown key x"},
		{name: "no address", after: "public_ip=10.0.0.9\n", want: []string{"this host stays as it presents itself", "whoever"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, said := aNode(t, tt.before)
			n.reload(t.Context(), func() (*config.Config, error) {
				path := strings.TrimSuffix(n.cfg.Source("units_directory"), ":3")
				// What the node began with, and then its own.
				text := "etcd_servers=http://127.0.0.1:1\netcd_request_timeout=0.05\nunits_directory=" + n.cfg.UnitsDirectory + "\n" + tt.after
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return check(path, nil)
			})
			for _, w := range tt.want {
				if !strings.Contains(said.String(), w) {
					t.Errorf("%q was not said:\n%s", w, said)
				}
			}
			for _, w := range []string{tt.wantNot, "s3cret", "n3w"} {
				if w != "" && strings.Contains(said.String(), w) {
					t.Errorf("%q was said:\n%s", w, said)
				}
			}
			if tt.check != nil && !tt.check(n) {
				t.Errorf("%+v", n.cfg)
			}
			for gauge, want := range map[prometheus.Gauge]bool{n.reloads.successful: tt.name != "broken", n.reloads.restart: tt.name == "restart"} {
				if got := testutil.ToFloat64(gauge) == 1; got != want {
					t.Errorf("%s: %v, want %v", gauge.Desc(), got, want)
				}
			}
		})
	}
}

func TestStateDump(t *testing.T) {
	n, said := aNode(t, "etcd_username=u\netcd_password=s3cret\nmetadata=a=1\n")
	listening(t, n)
	for range 2 { // a second one takes the first one's place
		n.dump(t.Context())
	}
	path := filepath.Join(filepath.Dir(n.cfg.UnitsDirectory), "state-dump.json")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(said.String(), path) {
		t.Fatal(err, said)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	if strings.Contains(string(text), "s3cret") {
		t.Error("it holds the password")
	}
	var d stateDump
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	for _, v := range d.Config {
		sources[v.Key] = v.Value + " " + v.Source
	}
	switch {
	case d.Machine.ID != "m" || d.Cluster != "c" || d.Fleetd.Goroutines == 0 || d.Engine == nil || d.Agent != nil || d.Lease != nil:
		t.Errorf("%s", text)
	case len(d.Etcd.Endpoints) != 1 || !strings.Contains(d.Etcd.Endpoints[0].Error, "refused") || d.Etcd.Error == "" || len(d.Errors) != 1:
		t.Errorf("%s", text)
	case !strings.HasSuffix(sources["metadata"], "fleet.conf:6") || sources["agent_ttl"] != "30s default" || !strings.HasPrefix(sources["etcd_password"], "(hidden) "):
		t.Errorf("%q", sources)
	}
	if d.Fleetd.HeapBytes == 0 || d.Fleetd.HeapObjects == 0 {
		t.Errorf("%+v", d.Fleetd)
	}
	// A profile is a gzip file.
	if heap, err := os.ReadFile(filepath.Join(filepath.Dir(path), "state-dump.pprof")); err != nil || !bytes.HasPrefix(heap, []byte{0x1f, 0x8b}) {
		t.Errorf("%.9q, %v", heap, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("%q was left behind", left)
	}
}
