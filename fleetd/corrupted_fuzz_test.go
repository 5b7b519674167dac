package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

// rooms are what there is below fleet's prefix; the last are none.
var rooms = []string{"units/", "schedule/", "schedule/m1/", "states/", "states/m1/", "machines/", "metadata/", "files/", "leader/", "nowhere/", ""}

// Whatever somebody writes into etcd below fleet's prefix, but for keys that the
// cluster needs: engine and API go on with all else, and the API's answers can be
// read.
func FuzzCorruptedEtcd(f *testing.F) {
	for i := range rooms {
		f.Add(uint8(i), "x.service", []byte("{garbage"), uint8(0))
		f.Add(uint8(i), "no unit's name/..", []byte("\xff\xfe"), uint8(1))
	}
	f.Add(uint8(0), "x.service", []byte(`{"target":"launched","file":"beef","restart":18446744073709551615,"restartOn":{"":1}}`), uint8(0))
	f.Add(uint8(2), "x.service", []byte(`{"target":"loaded","file":""}`), uint8(0))
	f.Add(uint8(4), "x@.service", []byte(`{"target":"launched","active":"\u0000","error":"\ud800"}`), uint8(0))
	f.Add(uint8(5), "m3", []byte(`{"id":"m3","ip":"","metadata":{"":""},"capacity":{"cpus":-1},"leaving":true}`), uint8(0))
	f.Add(uint8(6), "m1", []byte(`{"metadata":{"a":null},"removed":["x"],"cordoned":false}`), uint8(0))
	c := newFuzzedCluster(f)
	f.Fuzz(func(t *testing.T, room uint8, name string, value []byte, times uint8) {
		key := c.prefix + rooms[int(room)%len(rooms)] + name
		switch key {
		case c.prefix + "cluster", c.prefix + "units/probe.service", c.prefix + "machines/m2", c.prefix + "metadata/m2", c.prefix:
			return
		}
		for range times%3 + 1 {
			c.etcd.Put(t, key, string(value))
		}
		c.works(t)
		c.etcd.Delete(t, key)
	})
}

// fuzzedCluster is an engine and an API over a real etcd, with a machine whose agent
// is pretended.
type fuzzedCluster struct {
	etcd   *etcdtest.Server
	prefix string
	r      *registry.Registry
	api    *server.Server

	mu     sync.Mutex
	placed chan record.Spec // what the machine is told of the probe
}

func newFuzzedCluster(f *testing.F) *fuzzedCluster {
	c := &fuzzedCluster{etcd: etcdtest.New(f), prefix: "/fuzz/", placed: make(chan record.Spec, 100)}
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	entry := logrus.NewEntry(log)
	var err error
	c.r, err = registry.Dial(registry.Config{Endpoints: c.etcd.Endpoints(), Prefix: c.prefix, RequestTimeout: 5 * time.Second, Log: entry})
	if err != nil {
		f.Fatal(err)
	}
	c.api = server.New(server.Options{Registry: c.r, AgentTTL: time.Minute, Log: entry})
	leader := engine.New(engine.Options{
		Registry: c.r, Machine: "m2", AgentTTL: time.Minute, KnownCluster: func() record.ClusterID { return "" }, Log: entry, Metrics: prometheus.NewRegistry(),
	})
	ctx, end := context.WithCancel(context.Background())
	presence, err := c.r.Join(ctx, machine.Machine{ID: "m2", BootID: "b", IP: "10.0.0.2", Metadata: map[string]string{"probe": "yes"}}, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	probe := record.Key{Machine: "m2", Unit: "probe.service"}
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{c.api.Run, leader.Run, presence.Run, func(ctx context.Context) error {
		return c.r.FollowMachine(ctx, "m2", func(u registry.Update) error {
			for _, change := range u.Changes {
				p, ok := change.(record.PlacementChange)
				if !ok || p.New == nil {
					continue
				}
				// Done as told, at once.
				if err := presence.PutStates(ctx, map[unit.Name]*record.State{p.Unit: {Spec: *p.New}}); err != nil {
					return err
				}
				if p.Key == probe {
					c.placed <- *p.New
				}
			}
			return nil
		})
	}} {
		running.Go(func() { _ = run(ctx) }) // ends with ctx
	}
	f.Cleanup(func() { end(); running.Wait(); c.r.Close() })
	return c
}

// works has the cluster place and take away the probe, and reads all that the API
// lists.
func (c *fuzzedCluster) works(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, target := range []unit.Target{unit.TargetLaunched, unit.TargetInactive} {
		told := target
		if target == unit.TargetInactive {
			told = unit.TargetNone
		}
		if _, _, err := c.r.SubmitUnit(t.Context(), "probe.service", []byte("[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=probe=yes\n"), target); err != nil {
			t.Fatal(err)
		}
		for deadline := time.After(20 * time.Second); ; {
			select {
			case spec := <-c.placed:
				if spec.Target != told {
					continue
				}
			case <-deadline:
				t.Fatalf("the probe is not %s: the engine is held up", told)
			}
			break
		}
	}
	for _, list := range []string{"/units", "/state", "/machines", "/units/probe.service/explain", "/units/x.service"} {
		w := httptest.NewRecorder()
		c.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, api.Prefix+list, nil))
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s: %d %s", list, w.Code, w.Body)
		}
	}
}
