package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetd/proxy"
	"github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.uber.org/zap"
)

// patience bounds what takes milliseconds when all is well.
const patience = 30 * time.Second

// TestMain is etcd itself in the processes that the tests start: they can be
// killed, and stopped for a while.
func TestMain(m *testing.M) {
	if os.Getenv("PROXY_TEST_ETCD") != "" {
		etcdmain.Main(os.Args)
		return
	}
	os.Exit(m.Run())
}

var networks atomic.Int32

// etcd is a real cluster of several processes, each at an address of its own.
type etcd struct {
	t       testing.TB
	network string // 127.x.y.
	dir     string
	scheme  string
	flags   []string // for all members
	members map[int]*process
	proxyIP string
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

func newEtcd(t testing.TB, size int, flags ...string) *etcd {
	t.Helper()
	e := prepare(t)
	e.flags = append(e.flags, flags...)
	e.bootstrap(size)
	return e
}

// prepare makes a place for a cluster: addresses that no other test has, in this
// process or in another.
func prepare(t testing.TB) *etcd {
	e := &etcd{t: t, dir: t.TempDir(), scheme: "http", members: map[int]*process{}}
	e.network = fmt.Sprintf("127.%d.%d.", 1+os.Getpid()%250, networks.Add(1))
	e.proxyIP = e.network + "100"
	t.Cleanup(func() {
		for n := range e.members {
			e.kill(n)
		}
	})
	return e
}

func (e *etcd) bootstrap(size int) {
	e.t.Helper()
	var all []string
	for n := 1; n <= size; n++ {
		all = append(all, fmt.Sprintf("n%d=%s", n, e.peer(n)))
	}
	for n := 1; n <= size; n++ {
		e.start(n, "--initial-cluster="+strings.Join(all, ","), "--initial-cluster-state=new")
	}
	c := e.client(e.t, e.endpoints()...)
	e.await("all members", func() error {
		ctx, cancel := context.WithTimeout(e.t.Context(), time.Second)
		defer cancel()
		resp, err := c.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range resp.Members {
			if len(m.ClientURLs) == 0 {
				err = fmt.Errorf("member %x has not published its URLs", m.ID)
			}
		}
		return err
	})
}

func (e *etcd) ip(n int) string       { return fmt.Sprint(e.network, n) }
func (e *etcd) peer(n int) string     { return fmt.Sprintf("%s://%s:2380", e.scheme, e.ip(n)) }
func (e *etcd) endpoint(n int) string { return fmt.Sprintf("%s://%s:2379", e.scheme, e.ip(n)) }

func (e *etcd) endpoints() (all []string) {
	for n := range e.members {
		all = append(all, e.endpoint(n))
	}
	return all
}

// start runs a member; one that has run before goes on with its data.
func (e *etcd) start(n int, flags ...string) {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, fmt.Sprintf("n%d.log", n)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	args := append([]string{
		"--name", fmt.Sprintf("n%d", n), "--data-dir", filepath.Join(e.dir, fmt.Sprintf("n%d", n)),
		"--listen-peer-urls", e.peer(n), "--initial-advertise-peer-urls", e.peer(n),
		"--listen-client-urls", e.endpoint(n), "--advertise-client-urls", e.endpoint(n),
		"--heartbeat-interval", "20", "--election-timeout", "200", "--unsafe-no-fsync", "--log-level", "warn",
	}, append(e.flags, flags...)...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "PROXY_TEST_ETCD=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{}), log: log}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	e.members[n] = p
}

// kill ends a member at once.
func (e *etcd) kill(n int) {
	p := e.members[n]
	_ = p.cmd.Process.Kill()
	<-p.done
	p.log.Close()
	delete(e.members, n)
}

// freeze stops a member's process: its connections stay, and are silent.
func (e *etcd) freeze(n int) { _ = e.members[n].cmd.Process.Signal(syscall.SIGSTOP) }

func (e *etcd) thaw(n int) { _ = e.members[n].cmd.Process.Signal(syscall.SIGCONT) }

// replace removes a member for good, and adds another one in its place.
func (e *etcd) replace(old, by int) {
	e.t.Helper()
	e.kill(old)
	c := e.client(e.t, e.endpoints()...)
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	e.await("the removal of a member", func() error {
		members, err := c.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range members.Members {
			if m.Name == fmt.Sprintf("n%d", old) {
				_, err = c.MemberRemove(ctx, m.ID)
			}
		}
		return err
	})
	var all []string
	for n := range e.members {
		all = append(all, fmt.Sprintf("n%d=%s", n, e.peer(n)))
	}
	e.await("a new member", func() error { _, err := c.MemberAdd(ctx, []string{e.peer(by)}); return err })
	all = append(all, fmt.Sprintf("n%d=%s", by, e.peer(by)))
	e.start(by, "--initial-cluster="+strings.Join(all, ","), "--initial-cluster-state=existing")
	e.await("the new member", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := e.client(e.t, e.endpoint(by)).Get(ctx, "x")
		return err
	})
}

func (e *etcd) client(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	return e.clientWith(t, clientv3.Config{Endpoints: endpoints})
}

func (e *etcd) clientWith(t testing.TB, cfg clientv3.Config) *clientv3.Client {
	t.Helper()
	cfg.Logger, cfg.DialTimeout = zap.NewNop(), 5*time.Second
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// await tries until it works.
func (e *etcd) await(what string, try func() error) {
	e.t.Helper()
	await(e.t, what, try)
}

func await(t testing.TB, what string, try func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// running is a proxy in this process.
type running struct {
	t    testing.TB
	opts proxy.Options
	log  *lines
	stop func()
}

// proxy runs one for a cluster.
func (e *etcd) proxy(t testing.TB, change ...func(*proxy.Options)) *running {
	t.Helper()
	log := &lines{}
	logger := logrus.New()
	logger.SetOutput(log)
	opts := proxy.Options{
		Dir: filepath.Join(e.dir, "p", "proxy"), Listen: []url.URL{{Scheme: "http", Host: e.proxyIP + ":2379"}},
		Peers: []string{e.peer(1)}, From: "ETCD_INITIAL_CLUSTER",
		Log: logrus.NewEntry(logger), Retry: 50 * time.Millisecond, Refresh: time.Hour,
	}
	for _, c := range change {
		c(&opts)
	}
	r := &running{t: t, opts: opts, log: log}
	r.start()
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
	})
	return r
}

func (r *running) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		for {
			err := proxy.Run(ctx, r.opts)
			// A process that another test starts at this moment has a copy of the
			// last proxy's socket for a while.
			if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil {
				ended <- err
				return
			}
		}
	}()
	r.stop = func() {
		r.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the proxy ended with: %v", err)
		}
		r.stop = nil
	}
	await(r.t, "the proxy", func() error {
		conn, err := net.Dial("tcp", r.opts.Listen[0].Host)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (r *running) url() string { return r.opts.Listen[0].String() }

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// within bounds one request.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
