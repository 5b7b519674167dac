package registry

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var rewrite = flag.Bool("update", false, "write docs/scaling.md's table anew")

// typical is what a cluster stores of a unit and of a host, with names and texts
// as long as people have them.
type typical struct{ keys keyspace }

func (typical) host(i int) machine.Machine {
	return machine.Machine{
		ID: machine.ID(fmt.Sprintf("%032x", i)), BootID: machine.BootID(fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)),
		Hostname: fmt.Sprintf("host-%05d.eu-west.example.com", i), IP: "10.123.45.67",
		Metadata: map[string]string{"region": "eu-west", "zone": "eu-west-1b", "role": "worker", "disk": "ssd"},
		Capacity: machine.Capacity{CPUs: 16, MemoryBytes: 64 << 30}, Version: "2.0.0", Manager: machine.Manager{Scope: "system"},
	}
}

func (typical) unit(i int) unit.Name { return unit.Name(fmt.Sprintf("web-frontend@%06d.service", i)) }

const typicalText = `[Unit]
Description=Web frontend, instance %i
After=docker.service
Requires=docker.service

[Service]
TimeoutStartSec=0
ExecStartPre=-/usr/bin/docker rm -f web-frontend-%i
ExecStart=/usr/bin/docker run --rm --name web-frontend-%i -p 80 registry.example.com/web-frontend:1.42
ExecStop=/usr/bin/docker stop web-frontend-%i
Restart=on-failure

[X-Fleet]
MachineMetadata=role=worker
Conflicts=web-frontend@*.service
`

// keyAndValue is one key, as the registry writes it.
type keyAndValue struct{ room, key, value string }

func (s keyAndValue) bytes() int { return len(s.key) + len(s.value) }

func (c typical) storedOfHost(i int) keyAndValue {
	h := c.host(i)
	return keyAndValue{"machines", c.keys.machine(h.ID), encode(h)}
}

func (c typical) storedOfFile() keyAndValue {
	return keyAndValue{"files", c.keys.file(unit.HashOf([]byte(typicalText))), typicalText}
}

func (c typical) storedOfUnit(i, hosts int) []keyAndValue {
	name, file := c.unit(i), unit.HashOf([]byte(typicalText))
	key := record.Key{Machine: c.host(i % hosts).ID, Unit: name}
	spec := record.Spec{Target: unit.TargetLaunched, File: file}
	state := record.State{Spec: spec, SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}
	return []keyAndValue{
		{"units", c.keys.unit(name), encode(record.Unit{File: file, Target: unit.TargetLaunched})},
		{"schedule", c.keys.placement(key), encode(spec)},
		{"states", c.keys.state(key), encode(state)},
	}
}

// What docs/scaling.md says a key takes is what the registry writes.
func TestScalingSaysWhatAKeyTakes(t *testing.T) {
	const page, begin, end = "../docs/scaling.md", "<!-- bytes of a key: begin -->\n", "<!-- bytes of a key: end -->\n"
	c := typical{keys: "/_coreos.com/fleet/"}
	table := "| key | one for each | bytes, key and value |\n|---|---|---|\n"
	row := func(s keyAndValue, each string) {
		table += fmt.Sprintf("| `%s/` | %s | %d |\n", s.room, each, s.bytes())
	}
	of := c.storedOfUnit(1, 1)
	row(of[0], "unit")
	row(of[1], "unit on a host")
	row(of[2], "unit on a host")
	row(c.storedOfFile(), "text, which a template's instances share")
	row(c.storedOfHost(1), "host")
	text, err := os.ReadFile(page)
	ok(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	is, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		t.Fatalf("%s has no %q and %q", page, begin, end)
	}
	if *rewrite {
		ok(t, os.WriteFile(page, []byte(before+begin+table+end+after), 0o644))
	} else if is != table {
		t.Errorf("%s says\n%s\nand the registry writes (go test ./registry -run %s -update)\n%s", page, is, t.Name(), table)
	}
}

// BenchmarkNeeded tells what etcd needs for a unit and for a host, beyond their
// bytes: in its database, with and without history, and in memory.
func BenchmarkNeeded(b *testing.B) {
	const units, hosts = 40000, 4000
	for b.Loop() {
		s := etcdtest.New(b)
		c := typical{keys: keyspace(etcdtest.Prefix())}
		empty := footprint(b, s)
		var all []keyAndValue
		for i := range hosts {
			all = append(all, c.storedOfHost(i))
		}
		putAll(b, s, all)
		withHosts := footprint(b, s)
		var units3, again []keyAndValue
		for i := range units {
			of := c.storedOfUnit(i, hosts)
			units3, again = append(units3, of...), append(again, of[2])
		}
		putAll(b, s, units3)
		putAll(b, s, again) // a state is told twice: starting, then running
		all, units3, again = nil, nil, nil
		withUnits := footprint(b, s)
		tell := func(name string, from, to, n int64) { b.ReportMetric(float64(to-from)/float64(n), name) }
		tell("db-B/host", empty.used, withHosts.used, hosts)
		tell("heap-B/host", empty.heap, withHosts.heap, hosts)
		tell("history-B/unit", withHosts.used, withUnits.grown, units)
		tell("db-B/unit", withHosts.used, withUnits.used, units)
		tell("heap-B/unit", withHosts.heap, withUnits.heap, units)
	}
}

// taken is what an etcd of this process takes.
type taken struct {
	grown int64 // used of the database before compaction
	used  int64 // after it
	heap  int64
}

func footprint(b *testing.B, s *etcdtest.Server) (of taken) {
	b.Helper()
	inUse := func() int64 {
		status := must(s.Client(b).Status(b.Context(), s.Endpoints()[0]))(b)
		return status.DbSizeInUse
	}
	of.grown = inUse()
	s.Compact(b)
	must(s.Client(b).Defragment(b.Context(), s.Endpoints()[0]))(b)
	of.used = inUse()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	of.heap = int64(m.HeapAlloc)
	return of
}

// putAll writes keys, as many in each transaction as etcd takes.
func putAll(b *testing.B, s *etcdtest.Server, all []keyAndValue) {
	b.Helper()
	client := s.Client(b)
	for some := range slices.Chunk(all, 128) {
		var ops []clientv3.Op
		for _, kv := range some {
			ops = append(ops, clientv3.OpPut(kv.key, kv.value))
		}
		must(client.Txn(b.Context()).Then(ops...).Commit())(b)
	}
}
