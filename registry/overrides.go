package registry

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// MaxOverridesTogether is how many machines UpdateOverrides can change at once.
const MaxOverridesTogether = maxOps

// UpdateOverrides changes the operator's words on machines, all of them or none.
// It may call change more than once for each, with what is stored by then. It
// returns the revision at which all is true.
func (r *Registry) UpdateOverrides(ctx context.Context, ids []machine.ID, change func(machine.ID, *record.Overrides) error) (rev int64, err error) {
	if len(ids) > MaxOverridesTogether {
		return 0, fmt.Errorf("changing %d machines at once: etcd takes %d", len(ids), MaxOverridesTogether)
	}
	for ctx.Err() == nil { // contended keys must not outlive their caller
		may := r.writer.unchanged
		if len(ids) == maxOps { // so that no room is left to compare the cluster's key
			may = r.writer.ask
		}
		writer, err := may(ctx, r)
		if err != nil {
			return 0, err
		}
		ops := make([]clientv3.Op, len(ids))
		for i, id := range ids {
			ops[i] = clientv3.OpGet(r.keys.overrides(id))
		}
		read, err := r.txn(ctx, nil, ops)
		if err != nil {
			return 0, err
		}
		var writes []clientv3.Op
		same := make([]clientv3.Cmp, len(ids))
		for i, id := range ids {
			key := r.keys.overrides(id)
			var words record.Overrides
			stored, modified := encode(words), int64(0)
			if kvs := read.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
				stored, modified = string(kvs[0].Value), kvs[0].ModRevision
				if err := json.Unmarshal(kvs[0].Value, &words); err != nil {
					return 0, unreadableKey(key, err)
				}
			}
			if err := change(id, &words); err != nil {
				return 0, err
			}
			switch next := encode(words); {
			case next == stored:
			case next == encode(record.Overrides{}): // nothing is left to say
				writes = append(writes, clientv3.OpDelete(key))
			default:
				writes = append(writes, clientv3.OpPut(key, next))
			}
			same[i] = clientv3.Compare(clientv3.ModRevision(key), "=", modified)
		}
		if len(writes) == 0 {
			return read.Header.Revision, nil
		}
		if len(same) < maxOps {
			same = append(same, writer)
		}
		wrote, err := r.txn(ctx, same, writes)
		if err != nil {
			return 0, unconfirmed(err)
		}
		if wrote.Succeeded {
			return wrote.Header.Revision, nil
		}
		r.writer.changed() // perhaps
	}
	return 0, ctx.Err()
}

func unreadableKey(key string, err error) error {
	return &UnreadableError{Key: key, Err: err, Remedy: "put a sound value there or delete it"}
}
