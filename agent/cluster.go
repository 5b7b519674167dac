package agent

import (
	"errors"

	"github.com/fleet-project/fleet/registry"
)

var errNotYet = errors.New("the schedule has not been read from etcd yet")

// suspended says why nothing may be changed on this host; nil if it may.
func (c *core) suspended() error {
	if !c.following {
		return errNotYet
	}
	return c.check(c.cluster, c.known.ID)
}

// lost tells a cluster that was there from one that has yet to be named.
func (c *core) lost(suspended error) bool {
	var e *registry.ClusterError
	return c.known.ID != "" && errors.As(suspended, &e)
}
