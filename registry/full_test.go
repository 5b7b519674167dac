package registry

import (
	"errors"
	"testing"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/unit"
)

// An etcd whose database is full refuses writes and answers all else. It is said
// once, with what to do, and ends by itself though nobody has anything to write.
func TestEtcdIsFull(t *testing.T) {
	t.Parallel()
	s := etcdtest.NewWithQuota(t, 4<<20)
	r, book := connect(t, s.Endpoints(), "")
	running(t, must(r.Join(t.Context(), host("m", "b"), ttl))(t))
	s.Fill(t)
	for range 3 {
		_, _, err := r.SubmitUnit(t.Context(), "u.service", []byte(webUnit), unit.TargetLoaded)
		if refused := (*RefusedError)(nil); !errors.As(err, &refused) {
			t.Fatalf("submitting to an etcd that is full: %v", err)
		}
		mentions(t, err, "space exceeded", "fleetd etcd free")
		must(r.Revision(t.Context()))(t)
		mentions(t, r.Health(), "fleetd etcd free")
	}
	if lost, full := book.count("lost touch"), book.count("fleetd etcd free"); lost != 0 || full != 1 {
		t.Errorf("said %d times that etcd is lost, %d times that it is full", lost, full)
	}
	s.MakeRoom(t)
	eventually(t, "all is well", func() bool { return r.Health() == nil })
	if n := book.count("room again"); n != 1 {
		t.Errorf("said %d times that there is room again", n)
	}
	_, _, err := r.SubmitUnit(t.Context(), "u.service", []byte(webUnit), unit.TargetLoaded)
	ok(t, err)
}
