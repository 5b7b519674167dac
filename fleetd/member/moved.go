package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-project/fleet/fleetd/peers"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// moved looks at a member that its cluster doesn't know as what it is: it was taken
// out, or it is no more where the others know it. Then either the host has another
// address, which etcd itself passes over without a word; or its data is a copy of
// another host's. If that one runs, this one must not: two of one member vote twice,
// and forget what they agreed to.
func (r *runner) moved(ctx context.Context, s Settings) error {
	own := s.peerURLs()
	if len(own) == 0 {
		return nil
	}
	known, err := s.knownMembers()
	if err != nil {
		return nil // what is wrong with its data, etcd will say
	}
	i := slices.IndexFunc(known, func(m peers.Member) bool { return overlaps(m.PeerURLs, own) })
	elsewhere := i < 0
	if elsewhere {
		id, err := s.memberID()
		if i = slices.IndexFunc(known, func(m peers.Member) bool { return m.ID == id }); err != nil || i < 0 {
			return nil
		}
	}
	me := known[i]
	asker, err := peers.New(s.PeerTLS)
	if err != nil {
		return &Refusal{err}
	}
	defer asker.Close()
	if removed(ctx, asker, known, me) {
		return refuse("etcd member %s was taken out of its cluster, or replaced: the data in %s is of no use any more: systemctl stop etcd2; mv %[2]s %[2]s.removed. "+
			"To be a proxy of the cluster, as other hosts are that are no members: set ETCD_PROXY=on; then systemctl start etcd2. "+
			"To be a member again, in a lost one's place: fleetd etcd replace --member NAME", me, s.DataDir)
	}
	if !elsewhere {
		return nil
	}
	for _, u := range me.PeerURLs {
		_, now, err := asker.Ask(ctx, u)
		if err != nil || !slices.ContainsFunc(now, func(m peers.Member) bool { return m.ID == me.ID }) {
			continue
		}
		return refuse("the data in %s is that of etcd member %s, and this host is %s, while a member of that cluster runs at %s: was the data, or the image of a host that had run, copied? "+
			"Then it is no use here: systemctl stop etcd2; mv %[1]s %[1]s.copy; systemctl start etcd2. "+
			"If hosts exchanged their addresses, tell the cluster, on a host whose etcd runs: etcdctl member update %[5]x --peer-urls=%[3]s",
			s.DataDir, me, strings.Join(own, ","), u, me.ID)
	}
	r.Log.Warnf("the cluster knows this host, member %s, by another address than it has now (%s): the others can't come to it. "+
		"Give the host its address back; or tell the cluster, on a host whose etcd runs: etcdctl member update %x --peer-urls=%[2]s", me, strings.Join(own, ","), me.ID)
	return nil
}

// removalPatience is how long a member waits, at its start, for the others to say
// that it is none. They may start at the same time, and have nothing to say yet.
const removalPatience = time.Second

// removed reports whether most of the members say that this one is none of them.
// etcd would be told so itself, and end, each time that systemd starts it.
func removed(ctx context.Context, asker *peers.Asker, known []peers.Member, me peers.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, removalPatience)
	defer cancel()
	var out atomic.Int32
	var asking sync.WaitGroup
	for _, m := range known {
		if m.ID == me.ID || len(m.PeerURLs) == 0 || overlaps(m.PeerURLs, me.PeerURLs) {
			continue
		}
		asking.Go(func() {
			_, now, err := asker.Ask(ctx, m.PeerURLs[0])
			if err == nil && slices.ContainsFunc(now, func(n peers.Member) bool { return n.ID == m.ID }) &&
				!slices.ContainsFunc(now, func(n peers.Member) bool { return n.ID == me.ID }) {
				out.Add(1)
			}
		})
	}
	asking.Wait()
	return int(out.Load()) > len(known)/2
}

// knownMembers are the members that this host's data tells of.
func (s Settings) knownMembers() (all []peers.Member, err error) {
	path := filepath.Join(s.memberDir(), "snap", "db")
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		members := tx.Bucket([]byte("members"))
		if members == nil {
			return nil
		}
		return members.ForEach(func(_, value []byte) error {
			var m peers.Member
			all = append(all, m)
			return json.Unmarshal(value, &all[len(all)-1])
		})
	})
	return all, err
}

// memberID is which member this host's data is of. Each file of the log begins
// with that; the last is always there.
func (s Settings) memberID() (uint64, error) {
	files, err := filepath.Glob(filepath.Join(s.WALDir, "*.wal")) // SEQUENCE-INDEX.wal
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no log in %s (%w)", s.WALDir, err)
	}
	_, text, _ := strings.Cut(strings.TrimSuffix(filepath.Base(slices.Max(files)), ".wal"), "-")
	index, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, err
	}
	w, err := wal.OpenForRead(zap.NewNop(), s.WALDir, &walpb.Snapshot{Index: &index})
	if err != nil {
		return 0, err
	}
	defer w.Close()
	head, _, _, err := w.ReadAll()
	if err != nil && !errors.Is(err, wal.ErrSnapshotNotFound) { // which is not what is looked for
		return 0, err
	}
	var m etcdserverpb.Metadata
	if err := proto.Unmarshal(head, &m); err != nil {
		return 0, err
	}
	return m.GetNodeID(), nil
}
