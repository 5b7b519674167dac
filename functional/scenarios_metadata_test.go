package functional

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// TestCompatXFleetMetadataChanges: a machine whose metadata changes loses what
// no longer fits there, gets what only now does, and nothing else moves.
func TestCompatXFleetMetadataChanges(t *testing.T) {
	w := use(t)
	w.startMany("calm", 6, "")
	w.startOn(2, "us.service", sleeper("MachineMetadata=region=us\n"))
	w.fleetctl("start", w.file("all-us.service", sleeper("Global=true\nMachineMetadata=region=us\n")))
	w.awaitOn("all-us.service", w.Hosts[2])
	w.fleetctl("start", "--no-block", w.file("ssd.service", sleeper("MachineMetadata=disk=ssd\n")))
	w.awaitNowhere("ssd.service", "MachineMetadata=disk=ssd: this machine has no disk")
	calm := w.where("calm@")

	changed := w.Hosts[1]
	// What the API was told outlives a test that fails, as it does everything else.
	defer w.deleteKey(w.Hosts[0], prefix+"metadata/"+changed.MachineID())
	ways := []struct {
		name           string
		change, revert func(w *world)
	}{
		{"by PATCH", func(w *world) {
			w.patch(changed, `{"op":"replace","path":"/%s/metadata/region","value":"us"}`, `{"op":"add","path":"/%s/metadata/disk","value":{"value":"ssd"}}`)
		}, func(w *world) {
			w.patch(changed, `{"op":"remove","path":"/%s/metadata/disk"}`, `{"op":"remove","path":"/%s/metadata"}`)
		}},
		// After the other, which must leave nothing that hides what fleet.conf says.
		{"by SIGHUP", func(w *world) {
			w.run(changed, "sed -i.was s/region=eu/region=us,disk=ssd/ /etc/fleet/fleet.conf; systemctl reload fleet.service")
		}, func(w *world) {
			w.run(changed, "mv /etc/fleet/fleet.conf.was /etc/fleet/fleet.conf; systemctl reload fleet.service")
		}},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			w := w.with(t)
			w.startOn(1, "eu.service", sleeper("MachineMetadata=region=eu\n"))
			w.fleetctl("start", w.file("near.service", sleeper("MachineOf=eu.service\n")))
			w.awaitOn("near.service", changed)
			way.change(w)
			w.awaitOn("eu.service", w.Hosts[0]) // the last with region=eu
			w.awaitOn("near.service", w.Hosts[0])
			w.awaitOn("ssd.service", changed)
			w.awaitOn("all-us.service", changed, w.Hosts[2])
			w.awaitOn("us.service", w.Hosts[2])
			pid := w.mainPID(w.Hosts[0], "eu.service")
			way.revert(w)
			w.awaitNowhere("ssd.service", "MachineMetadata=disk=ssd: this machine has no disk")
			w.awaitOn("all-us.service", w.Hosts[2])
			if is := w.mainPID(w.Hosts[0], "eu.service"); is != pid {
				t.Error("eu.service moved again though it could stay")
			}
			w.fleetctl("destroy", "eu.service", "near.service")
			if d := cmp.Diff(calm, w.where("calm@"), cmp.AllowUnexported(running{})); d != "" {
				t.Errorf("units without demands changed:\n%s", d)
			}
		})
	}
}

// patch sends a JSON Patch of a host's metadata to the API; %s in an operation
// is the host's machine ID.
func (w *world) patch(h *platform.Host, ops ...string) {
	w.t.Helper()
	for i, op := range ops {
		ops[i] = fmt.Sprintf(op, h.MachineID())
	}
	code := w.run(w.Any(), "curl -s -o /dev/null -w '%{http_code}' --unix-socket /var/run/fleet.sock -X PATCH -H 'Content-Type: application/json' "+
		"-d '["+strings.Join(ops, ",")+"]' http://fleet/fleet/v1/machines")
	if code != "204" {
		w.t.Fatalf("PATCH /machines answered %s", code)
	}
}
