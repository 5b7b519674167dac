package agent

import (
	"errors"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

var errNotYet = errors.New("the schedule has not been read from etcd yet")

// suspended says why nothing may be changed on this host; nil if it may.
func (c *core) suspended() error {
	if !c.following {
		return errNotYet
	}
	q := question{known: c.known.ID, gone: c.cluster == nil}
	if c.cluster != nil {
		q.cluster = *c.cluster
	}
	if c.checked == nil || c.checked.question != q {
		c.checked = &checked{q, c.check(c.cluster, c.known.ID)}
	}
	return c.checked.err
}

// question is what was last asked of check. It is asked for each decision, and
// has one answer.
type question struct {
	cluster record.Cluster
	gone    bool
	known   record.ClusterID
}

type checked struct {
	question
	err error
}

// lost tells a cluster that was there from one that has yet to be named.
func (c *core) lost(suspended error) bool {
	var e *registry.ClusterError
	return c.known.ID != "" && errors.As(suspended, &e)
}
