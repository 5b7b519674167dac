package registry

import (
	"errors"
	"fmt"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// UnreadableError says that a key holds what fleet can't read, so that it can't be
// changed either.
type UnreadableError struct {
	Key    string
	Err    error
	Remedy string
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("etcd key %s holds what fleet cannot read (%v): %s", e.Key, e.Err, e.Remedy)
}

// Unwrap gives what is wrong with it.
func (e *UnreadableError) Unwrap() error { return e.Err }

// plausible refuses what can be read and yet says nothing that fleet could mean:
// null, or the targets of nobody knows what. To act on it might stop a unit.
func plausible(value any) error {
	var target unit.Target
	switch v := value.(type) {
	case *record.Cluster:
		if v.ID == "" {
			return errors.New("it has no id")
		}
		return nil
	case *record.Unit:
		switch target = v.Target; target {
		case unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched, unit.TargetDestroyed:
			return nil
		}
	case *record.Spec:
		switch target = v.Target; target {
		case unit.TargetNone, unit.TargetLoaded, unit.TargetLaunched:
			return nil
		}
	case *record.State:
		switch target = v.Target; target {
		// Empty: nothing was carried out yet; inactive: nor could be, and why.
		case "", unit.TargetNone, unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched:
			return nil
		}
	default:
		return nil
	}
	if target == "" {
		return errors.New("it has no target")
	}
	return fmt.Errorf("it has the target %q: %w", target, errForeign)
}

// errForeign is of a value that another version of fleet may have meant.
var errForeign = errors.New("this version of fleet knows no such thing")

// unsound is a key that can't be read.
type unsound struct {
	at      int64 // the revision at which it was said
	foreign bool  // another version may read it
}

// rubbish gives the revision of a key that nobody can read, 0 if it isn't one or
// may be gone.
func (r *Registry) rubbish(key string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.said[key]; !u.foreign {
		return u.at
	}
	return 0
}

// unreadable says what is wrong with a key, once for all who follow it.
func (r *Registry) unreadable(kv *mvccpb.KeyValue, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said[string(kv.Key)].at == kv.ModRevision {
		return
	}
	r.said[string(kv.Key)] = unsound{at: kv.ModRevision, foreign: errors.Is(err, errForeign)}
	r.unsounds.Store(int64(len(r.said)))
	r.log.Errorf("etcd key %s holds what fleet cannot read (%v): ignored; put a sound value there or delete it", kv.Key, err)
}

// readable forgets what was wrong with a key, now that it is sound or gone.
func (r *Registry) readable(key []byte) {
	if r.unsounds.Load() == 0 { // as ever
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.said, string(key))
	r.unsounds.Store(int64(len(r.said)))
}

// gone forgets what was wrong with those of a follower's keys that its snapshot no
// longer has.
func (r *Registry) gone(ranges []keyRange, has map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.said {
		for _, k := range ranges {
			if k.has(key) && !has[key] {
				delete(r.said, key)
			}
		}
	}
	r.unsounds.Store(int64(len(r.said)))
}
