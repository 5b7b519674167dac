package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/coreos/go-semver/semver"
	"github.com/fleet-project/fleet/registry/record"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// schema is the latest version of the stored state that this code reads and
// writes. Raise its minor for a field that may be left out, or a new kind of key;
// write that only where the cluster's own version, in the key cluster, has it. Raise
// its major for what an earlier fleetd would misread.
//
// A fleetd that is older than the cluster's minor still does what it is told, and
// says how its own units are: all that is written to be read by it means what it
// always did. But it rewrites no record of others', for it would drop the fields
// that it doesn't know: it doesn't lead, and its API takes no changes. The leader
// raises the cluster's version once no older fleetd is present.
const schema = "1.0.0"

// base is what a machine speaks that says nothing of it.
const base = "1.0.0"

// speaks is the version that this registry reads and writes.
func (r *Registry) speaks() *semver.Version {
	if r.schema == "" {
		return semver.New(schema)
	}
	return semver.New(r.schema)
}

// checkMajor says why the cluster's records may mean something else to this code.
func (r *Registry) checkMajor(found *record.Cluster) error {
	ours, theirs := r.speaks(), new(semver.Version)
	err := theirs.Set(found.Schema)
	switch {
	case err != nil:
		return &ClusterError{
			Msg:         fmt.Sprintf("cluster %s stores its state in schema %q, which is no version; this fleetd speaks %s", found.ID, found.Schema, ours),
			Remedy:      fmt.Sprintf("somebody has changed etcd key %s by hand: put the version back that was there", r.keys.cluster()),
			OtherSchema: true,
		}
	case theirs.Major > ours.Major:
		return &ClusterError{
			Msg:         fmt.Sprintf("cluster %s stores its state in schema %s, this fleetd speaks %s: it changes nothing and keeps every unit running", found.ID, theirs, ours),
			Remedy:      "run the fleetd version that the rest of the cluster runs: upgrade fleet on this host",
			OtherSchema: true,
		}
	case theirs.Major < ours.Major:
		return &ClusterError{
			Msg:         fmt.Sprintf("cluster %s stores its state in schema %s, this fleetd speaks %s: it changes nothing and keeps every unit running", found.ID, theirs, ours),
			Remedy:      "run the fleetd version that the rest of the cluster runs; docs/reliability.md#versions says how a cluster gets to this one",
			OtherSchema: true,
		}
	}
	return nil
}

// CheckWriter says why this code must not change what others have written: it is
// older than the cluster, and would drop what it doesn't know of. Nobody knows yet
// of a cluster that has no key.
func (r *Registry) CheckWriter(found *record.Cluster) error {
	if found == nil {
		return nil
	}
	if err := r.checkMajor(found); err != nil {
		return err
	}
	if ours, theirs := r.speaks(), semver.New(found.Schema); theirs.Minor > ours.Minor {
		return &ClusterError{
			Msg: fmt.Sprintf("cluster %s stores its state in schema %s, this fleetd speaks %s: it runs this host's units as it is told, "+
				"but it neither leads nor takes changes", found.ID, theirs, ours),
			Remedy:      "upgrade fleet on this host; until then send changes to a host that is (fleetctl list-machines --fields machine,hostname,version)",
			OtherSchema: true,
		}
	}
	return nil
}

// AskWriter asks etcd whether this code may lead the cluster. nil says yes.
func (r *Registry) AskWriter(ctx context.Context) error {
	_, err := r.writer.ask(ctx, r)
	return err
}

// SchemaToRaise gives the version to which a cluster may be raised whose machines
// speak these: the latest that all of them know, and this code. It is empty if the
// cluster has that already.
func (r *Registry) SchemaToRaise(cluster string, spoken func(yield func(string) bool)) string {
	now := new(semver.Version)
	if now.Set(cluster) != nil {
		return ""
	}
	lowest := r.speaks()
	for s := range spoken {
		v := semver.New(base)
		if s != "" && v.Set(s) != nil {
			return "" // nobody knows what it speaks
		}
		if v.LessThan(*lowest) {
			lowest = v
		}
	}
	if lowest.Major != now.Major || lowest.Minor <= now.Minor {
		return ""
	}
	return lowest.String()
}

// RaiseSchema has the cluster be of a later version from now on. It does so only if
// the cluster's key is as it was, and no machine has come or changed since the
// revision at which all of them spoke that version; raised says whether it did.
func (l *Leadership) RaiseSchema(ctx context.Context, was record.Cluster, to string, at int64) (raised bool, err error) {
	r := l.r
	key := r.keys.cluster()
	stored, err := r.txn(ctx, l.fence(), []clientv3.Op{clientv3.OpGet(key)})
	if err != nil || !stored.Succeeded || len(stored.Responses[0].GetResponseRange().Kvs) == 0 {
		return false, err
	}
	kv := stored.Responses[0].GetResponseRange().Kvs[0]
	var now record.Cluster
	if json.Unmarshal(kv.Value, &now) != nil || now != was {
		return false, nil
	}
	now.Schema = to
	resp, err := r.txn(ctx, l.fence(), []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision),
		clientv3.Compare(clientv3.ModRevision(r.keys.machines()).WithPrefix(), "<", at+1),
	}, []clientv3.Op{clientv3.OpPut(key, encode(now))}, nil)})
	switch {
	case err != nil:
		return false, fmt.Errorf("etcd did not confirm that the schema is raised: %w", err)
	case !resp.Succeeded:
		return false, ErrDeposed
	}
	return resp.Responses[0].GetResponseTxn().Succeeded, nil
}

// writer knows whether users' writes may be made, by the cluster's key as it was
// when somebody last looked. Each write compares that it still is.
type writer struct {
	mu       sync.Mutex
	known    bool
	modified int64 // revision of the key's last change; 0: there is none
}

// ask gives what writes are to compare, or why there must be none.
func (w *writer) ask(ctx context.Context, r *Registry) (unchanged clientv3.Cmp, err error) {
	key := r.keys.cluster()
	resp, err := r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(key)})
	if err != nil {
		return unchanged, fmt.Errorf("reading the cluster's id: %w", err)
	}
	var modified int64
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		var found record.Cluster
		// What can't be read says nothing of a version. It is told elsewhere, and
		// nobody leads until it is mended.
		if json.Unmarshal(kvs[0].Value, &found) == nil {
			if err := r.CheckWriter(&found); err != nil {
				return unchanged, err
			}
		}
		modified = kvs[0].ModRevision
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known, w.modified = true, modified
	return clientv3.Compare(clientv3.ModRevision(key), "=", modified), nil
}

// unchanged is ask, without a question to etcd if it was asked before.
func (w *writer) unchanged(ctx context.Context, r *Registry) (clientv3.Cmp, error) {
	w.mu.Lock()
	known, modified := w.known, w.modified
	w.mu.Unlock()
	if known {
		return clientv3.Compare(clientv3.ModRevision(r.keys.cluster()), "=", modified), nil
	}
	return w.ask(ctx, r)
}

// changed has the next write ask anew.
func (w *writer) changed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = false
}
