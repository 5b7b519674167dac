package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sirupsen/logrus"
)

// What was learned of etcd's members is true of one cluster, for one configuration.
func TestEtcdMembersAreKept(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	dir := t.TempDir()
	in := func(cluster string) {
		if err := os.WriteFile(filepath.Join(dir, "cluster"), []byte(`{"id":"`+cluster+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	of := func(endpoints ...string) etcdMembers {
		return etcdMembers{unitsDir: filepath.Join(dir, "units"), cluster: knownCluster(filepath.Join(dir, "units")), endpoints: endpoints, log: logrus.NewEntry(log)}
	}
	members := []string{"http://10.0.0.1:2379", "http://10.0.0.2:2379"}
	here := of("http://127.0.0.1:2379")
	here.learned(members)
	if got := here.known(); got != nil {
		t.Errorf("before the host is in any cluster: %v", got)
	}
	in("c1")
	here.learned(members)
	if got := here.known(); !slices.Equal(got, members) {
		t.Errorf("%v, want %v", got, members)
	}
	if got := of("http://10.9.9.9:2379").known(); got != nil {
		t.Errorf("with another etcd_servers: %v", got)
	}
	in("c2")
	here = of("http://127.0.0.1:2379") // the fleetd that starts then
	if got := here.known(); got != nil {
		t.Errorf("in another cluster: %v", got)
	}
	if err := os.WriteFile(here.path(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	in("c1")
	here = of("http://127.0.0.1:2379")
	if got := here.known(); got != nil {
		t.Errorf("from a damaged file: %v", got)
	}
	here.learned(members[:1])
	if got := here.known(); !slices.Equal(got, members[:1]) {
		t.Errorf("%v, want %v", got, members[:1])
	}
}
