package registry

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// RefusedError says that etcd answers, but does not let fleet in, or has no room
// left, and what to do.
type RefusedError struct {
	Remedy string
	Err    error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("etcd refuses fleet: %v: %s", e.Err, e.Remedy)
}

// Unwrap gives etcd's own error.
func (e *RefusedError) Unwrap() error { return e.Err }

// unreachableError says why etcd does not answer: the connections' troubles,
// where the request itself knows only that its time was up.
type unreachableError struct{ why, err error }

func (e *unreachableError) Error() string { return e.why.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

// explained puts an error of etcd's or of the way to it into words that help.
func (r *Registry) explained(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &RefusedError{Err: err, Remedy: "nothing is lost and what runs goes on, but nothing can be changed. Make room, as root on a host with etcd: fleetd etcd free " +
			"(with an etcd of your own: etcdctl compact, defrag, alarm disarm)"}
	case err == nil, answered(err):
		return err
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return &RefusedError{Err: err, Remedy: fmt.Sprintf("correct etcd_username (now %q) and etcd_password, then: systemctl restart fleet", r.user)}
	case errors.Is(err, rpctypes.ErrUserEmpty) && r.user == "":
		return &RefusedError{Err: err, Remedy: "etcd has authentication enabled: set etcd_username and etcd_password, then: systemctl restart fleet"}
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return &RefusedError{Err: err, Remedy: fmt.Sprintf(
			"user %q needs a role that may read and write under %s: etcdctl role grant-permission ROLE readwrite --prefix=true %[2]s", r.user, string(r.keys))}
	}
	switch all, why := r.connector.why(); {
	case why == nil:
		return err
	case all:
		return &unreachableError{why, err}
	default: // others take connections, but don't answer
		return &unreachableError{fmt.Errorf("%w; also %w", err, why), err}
	}
}
