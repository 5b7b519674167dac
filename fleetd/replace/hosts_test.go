package replace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/proxy"
	"github.com/fleet-project/fleet/fleetd/replace"
	"github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.uber.org/zap"
)

const patience = 60 * time.Second

// TestMain is, in the processes that the tests start, what fleetd etcd and fleetd
// etcd replace are: they are killed at any moment.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("REPLACE_TEST") {
	case "etcd":
		err = runEtcd()
	case "replace":
		err = runReplace()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func noAddress(string) (string, error) { return "", errors.New("no address") }

func runEtcd() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := logrus.NewEntry(logrus.New())
	return member.Run(ctx, member.Options{
		Environ: os.Environ(), Lookup: noAddress, Log: log, Status: func(string) {}, Promotion: 20 * time.Millisecond,
		Etcd: func(args []string, environ map[string]string) {
			stop()
			for name, value := range environ {
				if os.Setenv(name, value); value == "" {
					os.Unsetenv(name)
				}
			}
			os.Args = args
			etcdmain.Main(args)
		},
		Proxy: func(ctx context.Context, o member.ProxyOptions) error {
			return proxy.Run(ctx, proxy.Options{Dir: o.Dir, Listen: o.Settings.ListenClientURLs, Peers: o.PeerURLs, Log: log, Retry: 50 * time.Millisecond})
		},
	})
}

// runReplace replaces, and kills itself when it has told REPLACE_TEST_KILL times
// of something, or is about to restart etcd or has just done so.
func runReplace() error {
	settings, _, err := member.Parse(nil, os.Environ(), noAddress)
	if err != nil {
		return err
	}
	left, _ := strconv.Atoi(os.Getenv("REPLACE_TEST_KILL"))
	moment := func() {
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	user, password, _ := strings.Cut(os.Getenv("REPLACE_TEST_USER"), ":")
	return replace.Run(context.Background(), replace.Options{
		Settings: settings, Target: os.Getenv("REPLACE_TEST_MEMBER"), User: user, Password: password,
		DryRun: os.Getenv("REPLACE_TEST_DRY") != "", Pause: 50 * time.Millisecond,
		Say: func(text string) { fmt.Println(text); moment() },
		Restart: func(context.Context) error {
			moment()
			pid, err := os.ReadFile(os.Getenv("REPLACE_TEST_PID"))
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(pid))
			if err == nil {
				_ = syscall.Kill(n, syscall.SIGTERM)
			}
			moment()
			return err
		},
	})
}

var networks atomic.Int32

// hosts are a cluster's, each with an address of its own and an etcd2.service,
// which is restarted whenever it ends.
type hosts struct {
	t       *testing.T
	dir     string
	network string
	initial string
	extra   []string // environment of all
	size    int
	stop    map[int]func()
}

func newHosts(t *testing.T, size int, extra ...string) *hosts {
	t.Helper()
	h := &hosts{t: t, dir: t.TempDir(), network: fmt.Sprintf("127.%d.%d.", 1+os.Getpid()%250, 100+networks.Add(1)), extra: extra, size: size, stop: map[int]func(){}}
	t.Cleanup(func() {
		for _, stop := range h.stop {
			stop()
		}
	})
	var all []string
	for n := 1; n <= size; n++ {
		all = append(all, fmt.Sprintf("n%d=%s", n, h.peer(n)))
	}
	h.initial = strings.Join(all, ",")
	for n := 1; n <= size; n++ {
		h.start(n)
	}
	h.await("all members", func(ctx context.Context, c *clientv3.Client) error { return h.allWell(ctx, c, size) })
	return h
}

func (h *hosts) peer(n int) string   { return fmt.Sprintf("http://%s%d:2380", h.network, n) }
func (h *hosts) client(n int) string { return fmt.Sprintf("http://%s%d:2379", h.network, n) }
func (h *hosts) data(n int) string   { return filepath.Join(h.dir, fmt.Sprint("n", n)) }
func (h *hosts) pid(n int) string    { return filepath.Join(h.dir, fmt.Sprintf("n%d.pid", n)) }

// environ is what etcd2.service has on a host.
func (h *hosts) environ(n int) []string {
	return append([]string{
		fmt.Sprint("ETCD_NAME=n", n), "ETCD_DATA_DIR=" + h.data(n), "ETCD_INITIAL_CLUSTER=" + h.initial,
		"ETCD_LISTEN_PEER_URLS=" + h.peer(n), "ETCD_INITIAL_ADVERTISE_PEER_URLS=" + h.peer(n),
		"ETCD_LISTEN_CLIENT_URLS=" + h.client(n), "ETCD_ADVERTISE_CLIENT_URLS=" + h.client(n),
		"ETCD_HEARTBEAT_INTERVAL=20", "ETCD_ELECTION_TIMEOUT=200", "ETCD_UNSAFE_NO_FSYNC=true", "ETCD_LOG_LEVEL=warn",
		"ETCD_STRICT_RECONFIG_CHECK=true",
	}, h.extra...)
}

// start runs a host's etcd2.service.
func (h *hosts) start(n int, environ ...string) {
	log, err := os.OpenFile(filepath.Join(h.dir, fmt.Sprintf("n%d.log", n)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	var mu sync.Mutex
	var now *exec.Cmd
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer log.Close()
		for {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(append(os.Environ(), append(h.environ(n), environ...)...), "REPLACE_TEST=etcd")
			cmd.Stdout, cmd.Stderr = log, log
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			mu.Lock()
			select {
			case <-stopped:
				mu.Unlock()
				return
			default:
			}
			err := cmd.Start()
			now = cmd
			mu.Unlock()
			if err != nil {
				h.t.Error(err)
				return
			}
			if err := os.WriteFile(h.pid(n), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
				h.t.Error(err)
			}
			_ = cmd.Wait()
			select {
			case <-stopped:
				return
			case <-time.After(100 * time.Millisecond): // RestartSec=
			}
		}
	})
	h.stop[n] = func() {
		close(stopped)
		mu.Lock()
		if now != nil {
			_ = now.Process.Kill()
		}
		mu.Unlock()
		running.Wait()
		delete(h.stop, n)
	}
}

// lose destroys a host's data; its service goes on trying.
func (h *hosts) lose(n int) {
	h.t.Helper()
	h.wipe(n)
	h.start(n)
}

// wipe is lose, with the service stopped.
func (h *hosts) wipe(n int) {
	h.t.Helper()
	h.stop[n]()
	if err := os.RemoveAll(h.data(n)); err != nil {
		h.t.Fatal(err)
	}
}

// replace runs fleetd etcd replace on a host.
func (h *hosts) replace(n int, environ ...string) (string, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(append(os.Environ(), append(h.environ(n), environ...)...), "REPLACE_TEST=replace", "REPLACE_TEST_PID="+h.pid(n))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// await tries, at all hosts that run, until it works.
func (h *hosts) await(what string, try func(context.Context, *clientv3.Client) error, at ...int) {
	h.t.Helper()
	var endpoints []string
	for n := range h.stop {
		endpoints = append(endpoints, h.client(n))
	}
	if len(at) > 0 {
		endpoints = []string{h.client(at[0])}
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
		err := try(ctx, c)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// allWell reports whether the cluster has that many full members, all started.
func (h *hosts) allWell(ctx context.Context, c *clientv3.Client, size int) error {
	resp, err := c.MemberList(ctx)
	if err != nil {
		return err
	}
	if len(resp.Members) != size {
		return fmt.Errorf("%d members", len(resp.Members))
	}
	for _, m := range resp.Members {
		if m.IsLearner || len(m.ClientURLs) == 0 {
			return fmt.Errorf("%v", m)
		}
		if status, err := c.Status(ctx, m.ClientURLs[0]); err != nil || status.Header.MemberId != m.ID || status.Leader == 0 {
			return fmt.Errorf("%v: %v %w", m, status, err)
		}
	}
	return nil
}
