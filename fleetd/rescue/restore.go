package rescue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/fleetd/peers"
	"github.com/fleet-project/fleet/registry"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
)

// beyond is how far a restored etcd's revision is put ahead: more than any cluster
// writes between a backup and its restore, so that no revision means two things.
const beyond = 1_000_000_000

// RestoreOptions say what is restored where.
type RestoreOptions struct {
	Options
	File   string // of Snapshot, or etcdctl's
	Prefix string // of fleet's keys
	// Stop and Start are for the service that runs etcd here.
	Stop, Start func(context.Context) error
	Now         func() time.Time // names what is moved away
}

// Restore makes this host's etcd a cluster of one with what a backup holds, but for
// what that says of the past. It is started; the other hosts may join it.
func Restore(ctx context.Context, o RestoreOptions) error {
	s := o.Settings
	if err := s.CheckPeer(); err != nil {
		return err
	}
	if _, err := os.Stat(s.ProxyDir()); err == nil {
		return fmt.Errorf("this host is a proxy of etcd's members (%s): restore on a host that was a member", s.ProxyDir())
	}
	if err := o.refuseBeside(ctx); err != nil {
		return err
	}
	made, err := o.make()
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	if err := o.Stop(ctx); err != nil {
		return fmt.Errorf("stopping etcd: %w", err)
	}
	if err := o.install(made); err != nil {
		return err
	}
	if err := o.Start(ctx); err != nil {
		return fmt.Errorf("the data is restored, but etcd did not start (systemctl start etcd2): %w", err)
	}
	return o.awaitStart(ctx)
}

// refuseBeside refuses if the cluster still works: there would be two.
func (o RestoreOptions) refuseBeside(ctx context.Context) error {
	urls := o.endpoints()
	asker, err := peers.New(o.Settings.PeerTLS)
	if err != nil {
		return err
	}
	defer asker.Close()
	for entry := range strings.SplitSeq(o.Settings.Cluster.Initial, ",") {
		if _, peer, ok := strings.Cut(entry, "="); ok {
			if _, members, err := asker.Ask(ctx, peer); err == nil {
				for _, m := range members {
					urls = append(urls, m.ClientURLs...)
				}
			}
		}
	}
	c, err := o.client(urls...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := c.Get(ctx, "/"); works(err) {
		return fmt.Errorf("etcd works (at one of %s): restored beside it, there would be two. To replace a member that is lost: fleetd etcd replace. "+
			"If all of it shall become as it was, stop etcd2 on all hosts first", strings.Join(slices.Compact(urls), ", "))
	}
	return nil
}

// works reports whether an etcd with a majority has answered, if only to refuse who
// asks: it looks for what others have stored before it looks at who that is.
func works(err error) bool {
	for _, no := range []error{
		rpctypes.ErrUserEmpty, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return err == nil
}

// make makes the data of a member, beside what is there, and gives its directory.
func (o RestoreOptions) make() (made string, err error) {
	s := o.Settings
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.DataDir, "restored-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	var initial []string
	for _, u := range s.PeerURLs() {
		initial = append(initial, s.Name+"="+u)
	}
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: o.File, Name: s.Name, PeerURLs: s.PeerURLs(), InitialCluster: strings.Join(initial, ","),
		// A cluster of its own: members that still have the old one's data keep off it.
		InitialClusterToken: fmt.Sprintf("restored-%d", o.Now().UnixNano()),
		OutputDataDir:       dir, RevisionBump: beyond, MarkCompacted: true,
	})
	switch {
	case err != nil && strings.Contains(err.Error(), "hash"), err != nil && strings.Contains(err.Error(), "sha256"):
		return "", fmt.Errorf("%s was cut off or damaged, or is no snapshot: get a whole copy, or take an earlier one (%w)", o.File, err)
	case err != nil:
		return "", fmt.Errorf("%s: %w", o.File, err)
	}
	return dir, holdBack(filepath.Join(dir, "member", "snap", "db"), o.Prefix)
}

// holdBack takes out of a member's data what is not to be read yet.
func holdBack(path, prefix string) error {
	log := zap.NewNop()
	db := backend.NewDefaultBackend(log, path)
	defer db.Close()
	// Nobody's lease ends here, and none is asked for.
	store := mvcc.New(log, db, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer store.Close()
	remove, put, err := registry.HoldBack(prefix, func(r registry.KeyRange) ([]registry.KeyValue, error) {
		found, err := store.Range(context.Background(), []byte(r.Key), end(r), mvcc.RangeOptions{})
		if err != nil {
			return nil, err
		}
		var kvs []registry.KeyValue
		for _, kv := range found.KVs {
			kvs = append(kvs, registry.KeyValue{Key: string(kv.Key), Value: string(kv.Value)})
		}
		return kvs, nil
	})
	if err != nil {
		return err
	}
	tx := store.Write(traceutil.TODO())
	for _, r := range remove {
		tx.DeleteRange([]byte(r.Key), end(r))
	}
	tx.Put([]byte(put.Key), []byte(put.Value), lease.NoLease)
	tx.End()
	store.Commit()
	return nil
}

func end(r registry.KeyRange) []byte {
	if r.End == "" {
		return nil
	}
	return []byte(r.End)
}

// install puts the data in the place of what is there, which is kept.
func (o RestoreOptions) install(made string) error {
	s := o.Settings
	before := ".before-" + o.Now().UTC().Format("20060102T150405Z")
	member := filepath.Join(s.DataDir, "member")
	aside := []string{member}
	inside := strings.HasPrefix(s.WALDir, member+string(filepath.Separator))
	if !inside {
		aside = append(aside, s.WALDir)
	}
	for _, path := range aside {
		err := os.Rename(path, path+before)
		switch {
		case err == nil:
			o.Say(fmt.Sprintf("what was in %s is kept in %s", path, path+before))
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	if err := s.RemoveNote(); err != nil {
		return err
	}
	if !inside {
		if err := os.Rename(filepath.Join(made, "member", "wal"), s.WALDir); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(made, "member"), member)
}

// awaitStart returns when etcd answers.
func (o RestoreOptions) awaitStart(ctx context.Context) error {
	c, err := o.client(o.endpoints()...)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.Get(asking, "/")
		cancel()
		if works(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd does not answer (journalctl -u etcd2): %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
