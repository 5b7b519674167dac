package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// devEtcd is the etcd server inside fleetd dev. A production cluster runs
// fleetd etcd instead, a process of its own: etcd may end its process when the
// disk is full or the data is damaged.
type devEtcd struct {
	server   *embed.Etcd
	endpoint string
}

// startDevEtcd runs etcd on sockets in runtimeDir with its data in dataDir,
// and waits until it answers.
func startDevEtcd(ctx context.Context, dataDir, runtimeDir string) (*devEtcd, error) {
	cfg := embed.NewConfig()
	cfg.Name = "dev"
	cfg.Dir = dataDir
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{filepath.Join(dataDir, "etcd.log")}
	// As fleetd etcd has it: see member's defaults.
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention, cfg.MaxTxnOps = "periodic", "10m", 512
	// One member needs no time to agree with others.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	client, peer := socketURL(runtimeDir, "etcd.sock"), socketURL(runtimeDir, "peer.sock")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	// One member has a peer URL, by which its data knows it, but listens to no
	// peers. (etcd would also hang when it ends: it closes a peers' unix socket
	// only if it may look at the current directory.)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(client.Path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by one that was killed
		return nil, err
	}
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd with its data in %s: %w", dataDir, err)
	}
	select {
	case <-server.Server.ReadyNotify():
		return &devEtcd{server: server, endpoint: "unix://" + client.Path}, nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	server.Close()
	return nil, fmt.Errorf("etcd with its data in %s did not get ready: %w", dataDir, err)
}

func (e *devEtcd) close() { e.server.Close() }

func socketURL(dir, name string) url.URL {
	return url.URL{Scheme: "unix", Path: filepath.Join(dir, name)}
}

// lockFile keeps a second process from the same directory. The lock ends with
// the process.
func lockFile(path, who string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, needsRoot(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another %s runs already (it holds %s): stop it first", who, path)
	}
	return f, nil
}
