package rescue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/registry/etcdtest"
)

// options are for a test's etcd.
func options(t *testing.T, s *etcdtest.Server) (o Options, said *[]string) {
	t.Helper()
	settings, _, err := member.Parse(nil, []string{
		"ETCD_NAME=n1", "ETCD_DATA_DIR=" + filepath.Join(t.TempDir(), "etcd2"),
		"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:1", "ETCD_INITIAL_CLUSTER=n1=http://127.0.0.1:1",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	said = &[]string{}
	return Options{Settings: settings, Endpoints: s.Endpoints(), Say: func(text string) { *said = append(*said, text) }}, said
}

func TestFree(t *testing.T) {
	t.Parallel()
	s := etcdtest.NewWithQuota(t, 4<<20)
	s.Put(t, "/kept", "x")
	s.Fill(t)
	o, said := options(t, s)
	if err := Free(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.Put(t, "/more", "y") // fails if the alarm is still there
	if _, there := s.Get(t, "/kept"); !there {
		t.Error("what was stored is lost")
	}
	if got := strings.Join(*said, "\n"); !strings.Contains(got, "of 4.2 MB, before") || !strings.Contains(got, "takes writes again") {
		t.Errorf("it said %s", got)
	}
	if err := Free(t.Context(), o); err != nil { // where nothing is to be done
		t.Fatal(err)
	}
}

const prefix = "/test/fleet/"

// TestSnapshotAndRestore: an etcd that begins anew from a backup has what that holds,
// but for what it says of the past, and its revisions come after all others.
func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	for key, value := range map[string]string{
		prefix + "cluster": `{"id":"c1","schema":"1.0.0"}`, prefix + "units/a.service": `{"target":"launched"}`, prefix + "schedule/m1/a.service": `{}`, "/others": "x",
	} {
		s.Put(t, key, value)
	}
	o, _ := options(t, s)
	file := filepath.Join(t.TempDir(), "snapshot")
	if err := Snapshot(t.Context(), o, file); err != nil {
		t.Fatal(err)
	}
	if err := Snapshot(t.Context(), o, file); err == nil {
		t.Error("a second snapshot went over the first")
	}
	r := RestoreOptions{Options: o, File: file, Prefix: prefix, Now: time.Now}
	if err := Restore(t.Context(), r); err == nil || !strings.Contains(err.Error(), "there would be two") {
		t.Errorf("beside an etcd that works: %v", err)
	}
	for range 20 {
		s.Put(t, "/later", "x")
	}
	before := s.Revision(t)
	made, err := r.make()
	if err != nil {
		t.Fatal(err)
	}
	s.Restore(t, made)
	s.Start(t)
	all := s.All(t, "/")
	for key, want := range map[string]bool{
		prefix + "cluster": false, prefix + "restored": true, prefix + "units/a.service": true, prefix + "schedule/m1/a.service": false, "/others": true, "/later": false,
	} {
		if _, there := all[key]; there != want {
			t.Errorf("%s is there: %v", key, there)
		}
	}
	if after := s.Revision(t); after < before+beyond/2 {
		t.Errorf("revision %d follows %d", after, before)
	}
}

// What etcd had is kept, and a snapshot that can't be read changes nothing.
func TestRestoreKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	o, _ := options(t, s)
	s.Stop()
	dir := o.Settings.DataDir
	if err := os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte(strings.Repeat("no snapshot ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := RestoreOptions{Options: o, File: bad, Prefix: prefix, Now: func() time.Time { return time.Unix(0, 0) }}
	if err := Restore(t.Context(), r); err == nil || !strings.Contains(err.Error(), bad+" was cut off") {
		t.Errorf("of a file that is no snapshot: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "member" {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	made := t.TempDir()
	if err := os.MkdirAll(filepath.Join(made, "member", "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.install(made); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"member/new", "member.before-19700101T000000Z/wal"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// An etcd that refuses who asks works, and must not get another beside it.
func TestNoRestoreBesideAnEtcdWithUsers(t *testing.T) {
	t.Parallel()
	s := etcdtest.NewWithAuth(t, prefix)
	for name, user := range map[string][2]string{"nobody": {}, "one who may not read": {"fleet", "secret"}, "a wrong password": {"root", "wrong"}} {
		t.Run(name, func(t *testing.T) {
			o, _ := options(t, s)
			o.User, o.Password = user[0], user[1]
			err := RestoreOptions{Options: o, Prefix: prefix, Now: time.Now}.refuseBeside(t.Context())
			if err == nil || user[1] != "wrong" && !strings.Contains(err.Error(), "there would be two") {
				t.Errorf("got %v", err)
			}
		})
	}
}
