package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// process is what a process takes at rest.
type process struct {
	pid         string
	goroutines  float64
	descriptors float64
	heap        float64 // bytes in use, without garbage
	objects     float64 // in it
	resident    float64 // bytes of its own, not of its program
}

// figures are what was counted at a mark.
type figures struct {
	keys    int
	leases  int
	etcd    float64   // bytes of its database in use, after compaction
	repairs float64   // of the safety nets
	fleetd  []process // by host
	members []process // fleetd etcd, by host; of its heap only etcd's metrics tell
}

// held is how many leases three hosts at rest hold: one for their presence and one
// for their candidate each.
const held = 2 * 3

// wrong says what can't be right, whatever was before.
func (f figures) wrong() []string {
	var all []string
	if f.leases != held {
		all = append(all, fmt.Sprintf("etcd has %d leases, not %d", f.leases, held))
	}
	if f.repairs > 0 {
		all = append(all, fmt.Sprintf("safety nets had to repair %.0f times", f.repairs))
	}
	return all
}

// measure takes the figures; mark is its number.
func (s *soak) measure(ctx context.Context, mark int) (figures, error) {
	var f figures
	first := s.Hosts[0]
	if err := s.compact(ctx, first); err != nil {
		return f, err
	}
	all, err := keys(ctx, first)
	if err != nil {
		return f, err
	}
	f.keys = len(all)
	if f.leases, err = leases(ctx, first); err != nil {
		return f, err
	}
	for _, h := range s.Hosts {
		etcd, err := s.measureEtcd(ctx, h, &f)
		if err != nil {
			return f, fmt.Errorf("etcd on %s: %w", h.Name(), err)
		}
		f.members = append(f.members, etcd)
		fleetd, err := s.measureFleetd(ctx, h, mark)
		if err != nil {
			return f, fmt.Errorf("fleetd on %s: %w", h.Name(), err)
		}
		f.fleetd = append(f.fleetd, fleetd)
		metrics, err := gauges(ctx, h, "--unix-socket /run/fleet.sock http://fleet/metrics")
		if err != nil {
			return f, err
		}
		f.repairs += metrics["fleet_agent_reconcile_repairs_total"] + metrics["fleet_engine_safety_net_repairs_total"]
	}
	return f, nil
}

func (s *soak) measureEtcd(ctx context.Context, h *platform.Host, f *figures) (process, error) {
	p, err := outside(ctx, h, "etcd2")
	if err != nil {
		return p, err
	}
	metrics, err := gauges(ctx, h, "http://127.0.0.1:2379/metrics")
	if err != nil {
		return p, err
	}
	p.goroutines, p.heap, p.objects = metrics["go_goroutines"], metrics["go_memstats_heap_alloc_bytes"], metrics["go_memstats_heap_objects"]
	f.etcd = max(f.etcd, metrics["etcd_mvcc_db_total_size_in_use_in_bytes"])
	return p, nil
}

// measureFleetd asks fleetd itself, which collects its garbage for that, and keeps
// what its memory is used for.
func (s *soak) measureFleetd(ctx context.Context, h *platform.Host, mark int) (process, error) {
	p, err := outside(ctx, h, "fleet") // before it does anything for this
	if err != nil {
		return p, err
	}
	const dump = "/run/fleet/state-dump.json"
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := sh(ctx, h, "rm -f "+dump+"; systemctl kill -s USR1 --kill-whom=main fleet; until [ -e "+dump+" ]; do sleep 0.1; done; cat "+dump)
	if err != nil {
		return p, err
	}
	var said struct {
		Fleetd struct{ Goroutines, HeapBytes, HeapObjects float64 }
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return p, fmt.Errorf("%s: %w", dump, err)
	}
	p.goroutines, p.heap, p.objects = said.Fleetd.Goroutines, said.Fleetd.HeapBytes, said.Fleetd.HeapObjects
	profile, err := h.ReadFile(ctx, strings.Replace(dump, ".json", ".pprof", 1))
	if err != nil {
		return p, err
	}
	return p, os.WriteFile(filepath.Join(s.dir, fmt.Sprintf("mark-%d-%s.pprof", mark, h.Name())), []byte(profile), 0o644)
}

// outside is what the kernel says of a service's main process.
func outside(ctx context.Context, h *platform.Host, service string) (process, error) {
	var p process
	out, err := sh(ctx, h, "pid=$(systemctl show -P MainPID "+service+"); echo $pid $(ls /proc/$pid/fd | wc -l) $(awk '/^RssAnon:/ {print $2}' /proc/$pid/status)")
	if err != nil {
		return p, err
	}
	var kib float64
	if _, err := fmt.Sscan(out, &p.pid, &p.descriptors, &kib); err != nil {
		return p, fmt.Errorf("%q: %w", out, err)
	}
	p.resident = kib * 1024
	return p, nil
}

// String is a mark as a person reads it while the soak goes on.
func (m *mark) String() string {
	var b strings.Builder
	f := m.figures
	fmt.Fprintf(&b, "%s: %d units, %d commands and %d that failed, %d faults so far; settled %.1f s after the last; lost %d, doubled %d (and %d while a host was out of touch, for %.1f s at most); "+
		"%d keys, %d leases, etcd %.0f KiB, %.0f repairs", m.after, m.units, m.tally.acked, m.tally.failed, m.faults, m.settled.Seconds(), m.lost, m.doubled, m.apart,
		m.longest.Seconds(), f.keys, f.leases, f.etcd/1024, f.repairs)
	for i, p := range f.fleetd {
		fmt.Fprintf(&b, "\n  n%d fleetd %s: %.0f goroutines, %.0f descriptors, %.0f objects in %.0f KiB of heap, %.1f MiB resident; etcd: %.0f goroutines, %.0f descriptors, %.1f MiB resident",
			i+1, p.pid, p.goroutines, p.descriptors, p.objects, p.heap/1024, p.resident/(1<<20),
			f.members[i].goroutines, f.members[i].descriptors, f.members[i].resident/(1<<20))
	}
	return b.String()
}
