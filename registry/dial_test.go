package registry

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
)

// Passwords are asked for when etcd is up, not when it is dialled.
func TestDialWithPasswordWhileEtcdIsDown(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	c := s.Client(t)
	_, err := c.UserAdd(t.Context(), "root", "secret")
	ok(t, err)
	_, err = c.UserGrantRole(t.Context(), "root", "root")
	ok(t, err)
	_, err = c.AuthEnable(t.Context())
	ok(t, err)
	s.Stop()
	r, err := Dial(Config{Endpoints: s.Endpoints(), Username: "root", Password: "secret", RequestTimeout: 3 * time.Second})
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	s.Start(t)
	eventually(t, "etcd lets us in", func() bool { _, err := r.Revision(t.Context()); return err == nil })
	seeded(t, r, 0, 1)
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Units) == 1 })
	f.reached(t, seeded(t, r, 1, 2))
	p := must(r.Join(t.Context(), host("m", "b"), steady))(t)
	ok(t, p.renew(t.Context()))
}

func TestDialRefusesMissingTLSFiles(t *testing.T) {
	missing := t.TempDir() + "/ca.pem"
	_, err := Dial(Config{Endpoints: []string{"https://127.0.0.1:2379"}, CAFile: missing})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	mentions(t, err, missing)
	if _, err := Dial(Config{}); err == nil {
		t.Error("dialled no endpoint at all")
	}
}
