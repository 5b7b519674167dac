package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// What fleet 1.0 has left is taken over as it is, told, and taken away only when
// that is instructed.
func TestInheritsFromFleet1(t *testing.T) {
	r := newRig(t)
	leave := func(name unit.Name, text, linked, active string) {
		t.Helper()
		if err := os.MkdirAll(r.opts.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.opts.Dir, string(name)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r.sys.files[name] = linked
		r.sys.get(name).active = active
	}
	leave("runs.service", sleeper, sleeper, "active")
	leave("loaded.service", sleeper, sleeper, "inactive")
	leave("failed.service", sleeper, sleeper, "failed")
	leave("host.service", sleeper, "[Service]\nExecStart=/bin/host\n", "active")
	leave("gone.service", sleeper, "", "inactive")
	leave("README", sleeper, sleeper, "inactive")
	r.start()
	r.cluster.await(t, "runs", is("runs.service", unit.TargetLaunched, "active"))
	r.cluster.await(t, "loaded", is("loaded.service", unit.TargetLoaded, "inactive"))
	r.cluster.await(t, "failed", is("failed.service", unit.TargetLaunched, "failed"))
	h := r.cluster.file(sleeper)
	r.cluster.tell(place("runs.service", launched(h)), place("failed.service", launched(h)))
	r.idle()
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("it did %v", log)
	}
	r.cluster.mu.Lock()
	if n := len(r.cluster.view.States); n != 3 {
		t.Errorf("%d units are told of: %v", n, r.cluster.view.States)
	}
	r.cluster.mu.Unlock()
	r.cluster.tell(place("runs.service", record.Spec{Target: unit.TargetNone}))
	r.cluster.await(t, "taken away", gone("runs.service"))
	r.stop()
	r.sys.log()
	r.start()
	r.idle()
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("the next agent did %v", log)
	}
}
