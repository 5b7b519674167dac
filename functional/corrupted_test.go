package functional

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// Another program writes rubbish over what fleet keeps in etcd: each kind of key,
// each kind of rubbish. No unit stops, moves or restarts by it, the cluster works
// on, also under a leader that has never seen the sound values, and fleet says
// which keys they are. Nobody needs etcdctl to put the unit right.
func TestCorruptedValuesStopNothing(t *testing.T) {
	w := use(t)
	before := w.startMany("sound", 6, "")
	const victim = "sound@1.service"
	h := w.host(victim)
	id := h.MachineID()
	var stored struct{ File string }
	if err := json.Unmarshal([]byte(w.get(w.Hosts[0], prefix+"units/"+victim).Kvs[0].Value), &stored); err != nil {
		t.Fatal(err)
	}
	strays := []string{"units/no unit's name", "units/../x.service", "schedule/x", "schedule//", "machines/a/b", "leader/x", "nowhere/x"}
	keys := []string{
		"units/" + victim, "units/sound@2.service", "schedule/" + id + "/" + victim, "states/" + id + "/" + victim, "machines/" + id, "files/" + stored.File, "metadata/" + id,
	}
	unchanged := func(when string) {
		t.Helper()
		// Whatever fleet would do, it does before this.
		w.fleetctl("start", w.file("probe.service", sleeper("")))
		w.fleetctl("destroy", "probe.service")
		if d := cmp.Diff(before, w.where("sound@"), cmp.AllowUnexported(running{})); d != "" {
			t.Errorf("%s: units changed:\n%s", when, d)
		}
	}
	for _, rubbish := range []string{"{garbage", "null", `{"target":"bogus"}`, "\xff\xfe\x00", strings.Repeat("large ", 1000)} {
		t.Run(fmt.Sprintf("%.20q", rubbish), func(t *testing.T) {
			for _, key := range slices.Concat(keys, strays) {
				w.put(w.Hosts[0], prefix+key, rubbish)
			}
			unchanged("overwritten")
			w.await("fleet to name and count the unit's key", func() (bool, string) {
				for _, h := range w.Hosts {
					n, _ := w.scrape(h).value("fleet_registry_unreadable_keys")
					if n > 0 && strings.Contains(w.fleetLog(h), "etcd key "+prefix+keys[0]+" holds what fleet cannot read") {
						return true, ""
					}
				}
				return false, "none does"
			})
			// The leader resigns as it ends: another begins, with a snapshot.
			w.everywhere(func(h *platform.Host) { w.run(h, "systemctl restart fleet.service") })
			for _, h := range w.Hosts {
				w.await("fleetd to have joined", func() (bool, string) {
					return w.joinedSince(h, w.mainPID(h, "fleet.service")), h.Name()
				})
			}
			unchanged("under a new leader")
		})
	}
	// What one key said, the leader has read off the others, and written anew. Where
	// all of a unit's are rubbish it leaves the unit alone, and says that.
	if list := w.fleetctl("list-units"); strings.Count(list, "sound@") != 5 || strings.Contains(list, victim) {
		t.Errorf("list-units:\n%s", list)
	}
	w.await("the leader to say so", func() (bool, string) {
		for _, h := range w.Hosts {
			if strings.Contains(w.fleetLog(h), victim+" runs on machine "+id[:8]+", but the cluster has no such unit: it is left alone") {
				return true, ""
			}
		}
		return false, "nobody does"
	})
	if out, err := w.Any().Run(w.ctx, "fleetctl", "restart", victim); err == nil || !strings.Contains(err.Error(), victim) {
		t.Errorf("restart of a unit that can't be read: %s, %v", out, err)
	}
	w.fleetctl("start", w.file(victim, sleeper("")))
	unchanged("submitted anew")
	if list := w.fleetctl("list-units"); strings.Count(list, "sound@") != 6 {
		t.Errorf("submitted anew:\n%s", list)
	}
	for _, key := range append(strays, keys[6]) {
		w.deleteKey(w.Hosts[0], prefix+key)
	}
	w.await("fleet to forget what was unreadable", func() (bool, string) {
		left, logs := w.sum("fleet_registry_unreadable_keys"), ""
		for _, h := range w.Hosts {
			logs += w.fleetLog(h)
		}
		return left == 0, fmt.Sprintf("%v; %s", left, logs)
	})
}
