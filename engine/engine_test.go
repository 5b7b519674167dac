package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

const (
	ttl = 2 * time.Second // etcd's floor
	// steady is a machine's: it goes when a test says so, however busy this machine is.
	steady = 20 * time.Second
)

var plain = []byte("[Service]\nExecStart=/bin/true\n")

// bench is one etcd with engines and machines on it.
type bench struct {
	t      *testing.T
	etcd   *etcdtest.Server
	prefix string
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, etcd: etcdtest.New(t), prefix: etcdtest.Prefix()}
}

func (b *bench) registry() *registry.Registry { return b.registryAt(b.etcd.Endpoints()) }

func (b *bench) registryAt(endpoints []string) *registry.Registry {
	b.t.Helper()
	return b.speaking("", endpoints)
}

// speaking is a registry of a fleetd that speaks that schema; "" is this one's.
func (b *bench) speaking(schema string, endpoints []string) *registry.Registry {
	b.t.Helper()
	r, err := registry.Dial(registry.Config{Endpoints: endpoints, Prefix: b.prefix, RequestTimeout: 5 * time.Second, Log: quiet(), Schema: schema})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { r.Close() })
	return r
}

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// engine runs one until the test ends, or until stop is called.
func (b *bench) engine(id machine.ID, known record.ClusterID) (e *Engine, stop func()) {
	b.t.Helper()
	return b.run(New(b.options(id, known)))
}

func (b *bench) options(id machine.ID, known record.ClusterID) Options {
	return Options{Registry: b.registry(), Machine: id, AgentTTL: ttl, KnownCluster: func() record.ClusterID { return known },
		Log: quiet(), Metrics: prometheus.NewRegistry()}
}

func (b *bench) run(e *Engine) (_ *Engine, stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	b.t.Cleanup(stop)
	return e, stop
}

// machine makes one present, until leave is called.
func (b *bench) machine(id machine.ID) (p *registry.Presence, leave func()) {
	b.t.Helper()
	return b.machineOf(b.registry(), id)
}

func (b *bench) machineOf(r *registry.Registry, id machine.ID) (p *registry.Presence, leave func()) {
	b.t.Helper()
	p, err := r.Join(b.t.Context(), machine.Machine{ID: id, BootID: "boot-" + machine.BootID(id)}, steady)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })
	b.t.Cleanup(func() { cancel(); wg.Wait() })
	return p, func() {
		cancel()
		wg.Wait()
		e, there := b.etcd.Get(b.t, b.prefix+"machines/"+string(id))
		if !there {
			b.t.Fatalf("machine %s isn't there", id)
		}
		b.etcd.Revoke(b.t, e.Lease) // it is lost: one that leaves says so before
	}
}

func (b *bench) submit(name unit.Name, target unit.Target) {
	b.t.Helper()
	if _, _, err := b.registry().SubmitUnit(b.t.Context(), name, plain, target); err != nil {
		b.t.Fatal(err)
	}
}

// await follows the cluster until the condition holds.
func (b *bench) await(what string, holds func(*record.View) bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	last := ""
	err := b.registry().Follow(ctx, func(u registry.Update) error {
		if holds(u.View) {
			return io.EOF
		}
		last = fmt.Sprintf("schedule %v, units %v", u.View.Schedule, u.View.Units)
		return nil
	})
	if err != io.EOF {
		b.t.Fatalf("waited in vain for %s: %v; last seen: %s", what, err, last)
	}
}

func placed(name unit.Name, on machine.ID, target unit.Target) func(*record.View) bool {
	return func(v *record.View) bool { return v.Schedule[record.Key{Machine: on, Unit: name}].Target == target }
}

func TestLeaderPlacesWhatIsWanted(t *testing.T) {
	b := newBench(t)
	b.engine("a", "")
	b.machine("a")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on a", placed("x.service", "a", unit.TargetLaunched))
}

func TestAnotherEngineGoesOn(t *testing.T) {
	b := newBench(t)
	_, stop := b.engine("a", "")
	b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	b.engine("b", "")
	stop()
	b.submit("y.service", unit.TargetLoaded)
	b.await("y on m", placed("y.service", "m", unit.TargetLoaded))
}

func TestUnitsOfAMachineThatLeftMove(t *testing.T) {
	b := newBench(t)
	b.engine("e", "")
	_, leave := b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	b.machine("n")
	leave()
	b.await("x on n", placed("x.service", "n", unit.TargetLaunched))
	b.await("an instruction for m, should it come back", placed("x.service", "m", unit.TargetNone))
}

// The machine lives and only its key was deleted: nothing may move, though the
// key stays away until the agent puts it back.
func TestPresenceDeletedByHandMovesNothing(t *testing.T) {
	b := newBench(t)
	b.engine("e", "")
	// A machine whose agent never puts the key back, but keeps the lease.
	_, err := b.registry().Join(t.Context(), machine.Machine{ID: "m", BootID: "b"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	b.machine("n")
	b.etcd.Delete(t, b.prefix+"machines/m")
	// Whatever the engine makes of that, it has done before it places this.
	b.submit("y.service", unit.TargetLaunched)
	b.await("y on n", placed("y.service", "n", unit.TargetLaunched))
	b.await("x still on m", placed("x.service", "m", unit.TargetLaunched))
}

func TestDestroyedUnitIsReleased(t *testing.T) {
	b := newBench(t)
	b.engine("e", "")
	p, _ := b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	key := record.Key{Machine: "m", Unit: "x.service"}
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	if _, err := b.registry().DestroyUnit(t.Context(), "x.service"); err != nil {
		t.Fatal(err)
	}
	b.await("the withdrawal", placed("x.service", "m", unit.TargetNone))
	ack := &record.State{Spec: record.Spec{Target: unit.TargetNone}}
	if err := p.PutStates(t.Context(), map[unit.Name]*record.State{"x.service": ack}); err != nil {
		t.Fatal(err)
	}
	b.await("nothing left of x", func(v *record.View) bool {
		_, scheduled := v.Schedule[key]
		_, stated := v.States[key]
		return !scheduled && !stated && len(v.Units) == 0 && len(v.Files) == 0
	})
}

func (e *Engine) troubled() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trouble
}

func TestClusterKeyGoneOrDifferentSuspends(t *testing.T) {
	for name, replace := range map[string]string{"gone": "", "different": `{"id":"other","schema":"1.0.0"}`} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			_, stop := b.engine("e", "")
			b.machine("m")
			b.submit("x.service", unit.TargetLaunched)
			var own *record.Cluster
			b.await("x on m", func(v *record.View) bool {
				own = v.Cluster
				return placed("x.service", "m", unit.TargetLaunched)(v)
			})
			stop()
			e, _ := b.engine("e", own.ID)
			if replace == "" {
				b.etcd.Delete(t, b.prefix+"cluster")
			} else {
				b.etcd.Put(t, b.prefix+"cluster", replace)
			}
			b.submit("y.service", unit.TargetLaunched)
			for e.troubled() == nil {
				if t.Context().Err() != nil {
					t.Fatal("the engine sees no trouble")
				}
				realWorld{}.Pause(t.Context(), time.Millisecond)
			}
			if !strings.Contains(e.troubled().Error(), "etcdctl put "+b.prefix+"cluster") {
				t.Errorf("the trouble names no remedy: %v", e.troubled())
			}
			if _, placed := b.etcd.Get(t, b.prefix+"schedule/m/y.service"); placed {
				t.Error("y was placed in a cluster that is not ours")
			}
			text, err := json.Marshal(own)
			if err != nil {
				t.Fatal(err)
			}
			b.etcd.Put(t, b.prefix+"cluster", string(text))
			b.await("y on m once the key is back", placed("y.service", "m", unit.TargetLaunched))
		})
	}
}

func TestEngineGoesOnAfterEtcdOutage(t *testing.T) {
	b := newBench(t)
	b.engine("e", "")
	b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	b.etcd.Stop()
	b.etcd.Start(t)
	b.submit("y.service", unit.TargetLaunched)
	b.await("y on m", placed("y.service", "m", unit.TargetLaunched))
	b.await("x where it was", placed("x.service", "m", unit.TargetLaunched))
}

// A leader that is cut off from etcd while it writes can't know what will become of
// that. Before it reads what there is, it makes sure that nothing comes later.
func TestLeaderThatWasNotAnsweredBeginsAnew(t *testing.T) {
	b := newBench(t)
	link := b.etcd.Link(t)
	opts := b.options("e", "")
	opts.Registry = b.registryAt(link.Endpoints())
	b.run(New(opts))
	b.machine("m")
	b.submit("busy.service", unit.TargetLaunched)
	users := b.registry()
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	busy.Go(func() { // so that the leader writes all the time
		for ctx.Err() == nil {
			_, _ = users.RestartUnit(ctx, "busy.service")
		}
	})
	defer busy.Wait()
	defer cancel()
	anew := func() bool {
		for _, key := range b.etcd.All(t, b.prefix+"leader/") {
			if key.Modified > key.Created {
				return true
			}
		}
		return false
	}
	for i := 0; !anew(); i++ {
		if i == 20 {
			t.Fatal("its writes were cut off again and again, and it went on as if it knew what had become of them")
		}
		name := unit.Name(fmt.Sprintf("before%d.service", i))
		b.submit(name, unit.TargetLaunched)
		b.await("the leader writing", placed(name, "m", unit.TargetLaunched))
		link.Cut()
		link.Mend()
	}
	b.submit("after.service", unit.TargetLaunched)
	b.await("the leader going on", placed("after.service", "m", unit.TargetLaunched))
}

// The leader doesn't hear of the loss but from a snapshot. It has seen the
// machine, so it knows better than to give it agent_ttl to come back.
func TestMachineLostBetweenWatchesMovesAtOnce(t *testing.T) {
	b := newBench(t)
	link := b.etcd.Link(t)
	opts := b.options("e", "")
	opts.Registry, opts.AgentTTL = b.registryAt(link.Endpoints()), time.Hour
	b.run(New(opts))
	_, leave := b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	b.machine("n")
	b.submit("y.service", unit.TargetLaunched)
	b.await("y on n, so that the leader knows n", placed("y.service", "n", unit.TargetLaunched))
	link.Cut()
	leave()
	b.submit("z.service", unit.TargetInactive)
	b.etcd.Compact(t) // the events are gone: the leader must take a snapshot
	link.Mend()
	b.await("x on n", placed("x.service", "n", unit.TargetLaunched))
}

// All were gone, and so nobody knows who is coming back.
func TestFirstMachineBackDoesNotGetAll(t *testing.T) {
	b := newBench(t)
	opts := b.options("e", "")
	opts.AgentTTL = time.Hour
	b.run(New(opts))
	_, leave := b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	leave()
	b.machine("n")
	b.submit("y.service", unit.TargetLaunched)
	b.await("y on n", placed("y.service", "n", unit.TargetLaunched))
	b.await("x still on m", placed("x.service", "m", unit.TargetLaunched))
}

// Comparisons that follow each other without a pause find nothing to repair,
// however much happens meanwhile.
func TestSafetyNetRaisesNoFalseAlarm(t *testing.T) {
	b := newBench(t)
	opts, metrics := b.options("e", ""), prometheus.NewRegistry()
	opts.Metrics = metrics
	e := New(opts)
	e.safetyNet = 3 * time.Millisecond
	b.run(e)
	b.machine("m")
	for i := range 40 {
		b.submit(unit.Name(fmt.Sprintf("x%d.service", i)), unit.TargetLaunched)
	}
	b.await("the last one placed", placed("x39.service", "m", unit.TargetLaunched))
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		if f.GetName() == "fleet_engine_safety_net_repairs_total" {
			found = true
			if n := f.GetMetric()[0].GetCounter().GetValue(); n != 0 {
				t.Errorf("%v decisions repaired", n)
			}
		}
	}
	if !found {
		t.Error("the metric is gone")
	}
}

func TestSafetyNetOutlastsTheTimeToComeBack(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{time.Second: minSafetyNet, time.Hour: 2 * time.Hour} {
		if got := New(Options{AgentTTL: ttl, SafetyNet: time.Second, Metrics: prometheus.NewRegistry()}).safetyNet; got != want {
			t.Errorf("agent_ttl %s: %s", ttl, got)
		}
	}
}
