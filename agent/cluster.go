package agent

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fleet-project/fleet/registry/record"
)

var (
	errNotYet    = errors.New("the schedule has not been read from etcd yet")
	errNoCluster = errors.New("etcd holds no cluster yet: an engine names it when it first leads")
)

// ClusterError says that etcd doesn't hold the cluster that this host belongs
// to, so that its schedule is no instruction to this host.
type ClusterError struct {
	Known record.Cluster   // what the host belongs to
	Found record.ClusterID // what etcd holds; empty if the key is gone
	Key   string           // the key's name in etcd
}

// Error says what is wrong and how to put it right.
func (e *ClusterError) Error() string {
	value, _ := json.Marshal(e.Known) // two strings
	remedy := fmt.Sprintf("if this is the right etcd, put the key back: etcdctl put %s '%s'", e.Key, value)
	if e.Found == "" {
		return fmt.Sprintf("the key that names the cluster (%s) is gone from etcd: changing nothing on this host, all its units stay as they are; %s", e.Key, remedy)
	}
	return fmt.Sprintf("etcd holds the cluster %s, but this host belongs to %s: changing nothing on this host, all its units stay as they are; %s", e.Found, e.Known.ID, remedy)
}

// isLost tells a cluster that was there from one that has yet to be named.
func isLost(err error) bool {
	var lost *ClusterError
	return errors.As(err, &lost)
}

// suspended says why nothing may be changed on this host; nil if it may.
func (c *core) suspended() error {
	switch {
	case !c.following:
		return errNotYet
	case c.cluster == nil && c.known.ID == "":
		return errNoCluster
	case c.cluster == nil:
		return &ClusterError{Known: c.known, Key: c.key}
	case c.cluster.ID != c.known.ID:
		return &ClusterError{Known: c.known, Found: c.cluster.ID, Key: c.key}
	}
	return nil
}
