package discovery

import (
	"errors"
	"fmt"
)

// Errors that the caller acts on.
var (
	// ErrDataLost: this host was a member of the complete cluster before, and
	// started etcd with data that is gone. Under its old id it would break the
	// cluster's consensus.
	ErrDataLost = errors.New("this host has registered before, and the cluster is complete: " +
		"if its etcd ran and lost its data, it must not come back as the same member: remove that member (etcdctl member remove) and add it anew; " +
		"for a new cluster, make a new URL")
	// ErrDuplicate: another host has this host's id, which is made of its peer URLs.
	ErrDuplicate = errors.New("another host has registered with this host's peer URLs: give each host its own (ETCD_INITIAL_ADVERTISE_PEER_URLS)")
	// ErrRefused: the service took the request, and does not let this host join. It
	// is not registered.
	ErrRefused = errors.New("the service does not let this host join")
	// ErrSpelling: the hosts were given one URL in different words. It is etcd's
	// cluster token, so each would start in a cluster that the others aren't in.
	ErrSpelling = errors.New("another host was given this URL in other words (a slash at the end? a name for an address?), " +
		"but etcd takes it letter by letter")
	// ErrUnknownURL: the service doesn't know the URL.
	ErrUnknownURL = errors.New("the service does not know this URL: it has expired, or was mistyped; make a new one with /new?size=N and give it to all hosts")
)

// errUnable is discovery.etcd.io's answer to a URL that it doesn't know, and to all
// that went wrong there.
var errUnable = fmt.Errorf("%w", ErrUnknownURL)

// FullError says that the cluster has all its members, and this host is none of
// them. It can be their proxy.
type FullError struct {
	URL     string
	Cluster Cluster
}

// Error names the members.
func (e *FullError) Error() string {
	return fmt.Sprintf("discovery %s: the cluster is full: %s", e.URL, e.Cluster.InitialCluster())
}

// temporary is an error after which it is worth asking again.
type temporary struct{ error }

// Unwrap gives what happened.
func (t temporary) Unwrap() error { return t.error }
