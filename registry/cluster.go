package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/fleet-project/fleet/registry/record"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ClusterError says why the cluster's own key keeps fleet from changing
// anything, and how to put it right.
type ClusterError struct {
	Msg, Remedy string
	// OtherSchema: the cluster is of another version than this code. Somebody
	// else's may be able to do what this one must not.
	OtherSchema bool
}

func (e *ClusterError) Error() string { return e.Msg + ": " + e.Remedy }

// CheckCluster compares the cluster's key with the id this host knows it by
// ("" when it has joined none yet). nil says that all is well.
func (r *Registry) CheckCluster(found *record.Cluster, known record.ClusterID) error {
	key := r.keys.cluster()
	switch {
	case found == nil && known != "":
		return &ClusterError{
			Msg: fmt.Sprintf("etcd key %s is gone: fleet changes nothing and keeps every unit running", key),
			Remedy: fmt.Sprintf("if etcd was restored by fleetd etcd restore, run: fleetd etcd restore --finish; otherwise, "+
				"if this is still the same cluster, run: etcdctl put %s '%s'", key, encode(record.Cluster{ID: known, Schema: r.speaks().String()})),
		}
	case found == nil:
		return &ClusterError{
			Msg:    fmt.Sprintf("etcd key %s does not exist yet", key),
			Remedy: "the first engine makes it: is fleetd running somewhere with disable_engine=false?",
		}
	case known != "" && found.ID != known:
		return &ClusterError{
			Msg: fmt.Sprintf("etcd holds cluster %s, but this host belongs to cluster %s: fleet changes nothing here", found.ID, known),
			Remedy: fmt.Sprintf("point etcd_servers and etcd_key_prefix at the right cluster; or, to make this host join the new one, "+
				"stop fleet there, which stops its units, delete the file cluster beside units_directory (/run/fleet/cluster), and start fleet again; "+
				"or restore the old one: etcdctl put %s '%s'", key, encode(record.Cluster{ID: known, Schema: r.speaks().String()})),
		}
	}
	return r.checkMajor(found)
}

// EnsureCluster gives the cluster its id if this is the first engine ever, and
// else checks it as CheckCluster does. A cluster that is established - it has
// a schedule - never gets a second id.
func (l *Leadership) EnsureCluster(ctx context.Context, known record.ClusterID) error {
	r := l.r
	resp, err := r.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(r.keys.cluster()),
		clientv3.OpGet(r.keys.schedule(), clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly()),
		clientv3.OpGet(r.keys.restored(), clientv3.WithCountOnly()),
	})
	if err != nil {
		return fmt.Errorf("reading the cluster's id: %w", err)
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		var found record.Cluster
		if err := json.Unmarshal(kvs[0].Value, &found); err != nil {
			return fmt.Errorf("etcd key %s holds what fleet cannot read (%w): restore it", r.keys.cluster(), err)
		}
		if err := r.CheckCluster(&found, known); err != nil {
			return err
		}
		return r.CheckWriter(&found)
	}
	if resp.Responses[2].GetResponseRange().Count > 0 {
		return &ClusterError{
			Msg:    "etcd was restored from a backup: fleet changes nothing and keeps every unit running",
			Remedy: "when all hosts are back (fleetctl list-machines), run on one of them: fleetd etcd restore --finish",
		}
	}
	if known != "" {
		return r.CheckCluster(nil, known)
	}
	if len(resp.Responses[1].GetResponseRange().Kvs) > 0 {
		return &ClusterError{
			Msg:    fmt.Sprintf("etcd key %s is gone though the cluster has a schedule: fleet changes nothing", r.keys.cluster()),
			Remedy: "a host of the cluster remembers the id and logs the command that restores it: journalctl -u fleet",
		}
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(r.random, id); err != nil {
		return fmt.Errorf("a random cluster id: %w", err)
	}
	key := r.keys.cluster()
	return l.write(ctx, guarded(early, clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
		clientv3.OpPut(key, encode(record.Cluster{ID: record.ClusterID(hex.EncodeToString(id)), Schema: r.speaks().String()}))))
}
