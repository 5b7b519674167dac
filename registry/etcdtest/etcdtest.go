// Package etcdtest runs real etcd servers inside tests: the server's own code
// in this process, on unix sockets, up in some 60 ms. It is for tests only.
//
// A test that stops or wipes its etcd takes one of its own (New). All others of
// a package share one (Shared), each under a Prefix of its own; a test that
// wants to be cut off from a shared one takes its own Link to it.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// patience bounds everything that takes milliseconds when all is well.
const patience = 30 * time.Second

// Server is one etcd member with its data in a directory of its own.
type Server struct {
	dir    string
	txnOps uint  // as --max-txn-ops; 0: etcd's default
	quota  int64 // as --quota-backend-bytes; 0: etcd's default
	link   *Link // the way in that Stop can shut: etcd would wait for its clients to go
	etcd   *embed.Etcd
	client *clientv3.Client
}

// New starts a server for one test, which ends and is removed with it.
func New(t testing.TB) *Server {
	t.Helper()
	return newServer(t, Server{})
}

// NewWithQuota is New with an etcd whose database may have so many bytes.
func NewWithQuota(t testing.TB, bytes int64) *Server {
	t.Helper()
	return newServer(t, Server{quota: bytes})
}

// NewWithTxnOps is New with an etcd that takes so many operations in a
// transaction.
func NewWithTxnOps(t testing.TB, ops uint) *Server {
	t.Helper()
	return newServer(t, Server{txnOps: ops})
}

func newServer(t testing.TB, like Server) *Server {
	t.Helper()
	s, err := start(like)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func start(like Server) (*Server, error) {
	// Not t.TempDir: the names of sockets must stay below 108 bytes.
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, txnOps: like.txnOps, quota: like.quota}
	if err := s.open(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open() (err error) {
	if err := s.serve(); err != nil {
		return err
	}
	if s.link, err = newLink(s.socket("link.sock"), s.socket("client.sock")); err != nil {
		return err
	}
	s.client, err = dial(s.Endpoints())
	return err
}

func (s *Server) socket(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) serve() error {
	cfg := newConfig(s.dir)
	if s.txnOps > 0 {
		cfg.MaxTxnOps = s.txnOps
	}
	cfg.QuotaBackendBytes = s.quota
	client := url.URL{Scheme: "unix", Path: s.socket("client.sock")}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	for _, u := range []url.URL{client, cfg.ListenPeerUrls[0]} {
		if err := os.Remove(u.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	etcd, err := launch(cfg)
	if err != nil {
		return err
	}
	s.etcd = etcd
	return nil
}

func newConfig(dir string) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "test"
	cfg.Dir = filepath.Join(dir, "data")
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.TickMs, cfg.ElectionMs, cfg.UnsafeNoFsync = 10, 100, true
	cfg.EnableGRPCGateway = false
	cfg.BcryptCost = 4 // its least: more takes seconds under the race detector
	cfg.AuthTokenTTL = 1
	peer := url.URL{Scheme: "unix", Path: filepath.Join(dir, "peer.sock")}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return cfg
}

// launch runs a server and waits until it answers.
func launch(cfg *embed.Config) (*embed.Etcd, error) {
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		return nil, fmt.Errorf("etcd ended at once: %w", err)
	case <-time.After(patience):
		etcd.Close()
		return nil, errors.New("etcd does not get ready")
	}
	return etcd, nil
}

func dial(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints,
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 50 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	})
}

// Endpoints is what a client dials.
func (s *Server) Endpoints() []string { return s.link.Endpoints() }

// Client dials the server, for the length of the test.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := dial(s.Endpoints())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Stop ends the server as a crash would, for its clients. It keeps its data.
func (s *Server) Stop() {
	if s.etcd == nil {
		return
	}
	s.link.Cut()
	s.etcd.Close()
	s.etcd = nil
}

// Start runs a stopped server again, with its data.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.etcd != nil {
		return
	}
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	s.link.Mend()
}

// Wipe stops the server and removes its data: Start runs an empty one at the
// same address.
func (s *Server) Wipe(t testing.TB) {
	t.Helper()
	s.Stop()
	if err := os.RemoveAll(s.socket("data")); err != nil {
		t.Fatal(err)
	}
}

// Save keeps what the server holds now, for Restore.
func (s *Server) Save(t testing.TB) (saved string) {
	t.Helper()
	s.Stop()
	saved = t.TempDir()
	if err := os.CopyFS(saved, os.DirFS(s.socket("data"))); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	return saved
}

// Restore stops the server and gives it back what it held when that was saved, its
// revision and its leases, too: Start runs it.
func (s *Server) Restore(t testing.TB, saved string) {
	t.Helper()
	s.Wipe(t)
	if err := os.CopyFS(s.socket("data"), os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) close() {
	if s.client != nil {
		s.client.Close()
	}
	if s.link != nil {
		s.Stop()
		s.link.close()
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	os.RemoveAll(s.dir)
}

// Link opens another way to the server, which can be cut without harm to
// others. It is closed with the test.
func (s *Server) Link(t testing.TB) *Link {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := newLink(filepath.Join(dir, "link.sock"), s.socket("client.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
