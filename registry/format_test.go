package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// runningState is the record that there are most of: what a machine says of a unit.
var runningState = record.State{
	Spec:         record.Spec{Target: unit.TargetLaunched, File: unit.HashOf([]byte("text")), Restart: 3},
	SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "runningState"},
}

// BenchmarkFormat holds JSON, in which records are stored, against protobuf's
// wire format, written and read by hand: no generated code is faster.
func BenchmarkFormat(b *testing.B) {
	asJSON, asProto := []byte(encode(runningState)), appendProto(nil, runningState)
	for name, run := range map[string]func() int{
		"encode/json":  func() int { return len(encode(runningState)) },
		"encode/proto": func() int { return len(appendProto(nil, runningState)) },
		"decode/json": func() int {
			var s record.State
			if err := json.Unmarshal(asJSON, &s); err != nil || s != runningState {
				b.Fatal(s, err)
			}
			return len(asJSON)
		},
		"decode/json-as-fleet-writes-it": func() int {
			var s record.State
			if !s.ReadJSON(asJSON) || s != runningState {
				b.Fatal(s)
			}
			return len(asJSON)
		},
		"decode/proto": func() int {
			if s, ok := readProto(asProto); !ok || s != runningState {
				b.Fatal(s)
			}
			return len(asProto)
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				size = run()
			}
			b.ReportMetric(float64(size), "B/value")
		})
	}
}

// The fields in the order of their numbers.
func protoFields(s *record.State) []*string {
	return []*string{(*string)(&s.Target), (*string)(&s.File), &s.Load, &s.Active, &s.Sub, &s.Result, &s.Error, &s.Log}
}

const protoRestart = 9

func appendProto(b []byte, s record.State) []byte {
	for i, f := range protoFields(&s) {
		if *f != "" {
			b = protowire.AppendString(protowire.AppendTag(b, protowire.Number(i+1), protowire.BytesType), *f)
		}
	}
	return protowire.AppendVarint(protowire.AppendTag(b, protoRestart, protowire.VarintType), s.Restart)
}

func readProto(b []byte) (s record.State, ok bool) {
	fields := protoFields(&s)
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return s, false
		}
		b = b[n:]
		switch {
		case number == protoRestart && kind == protowire.VarintType:
			s.Restart, n = protowire.ConsumeVarint(b)
		case int(number) <= len(fields) && kind == protowire.BytesType:
			*fields[number-1], n = protowire.ConsumeString(b)
		default:
			return s, false
		}
		if n < 0 {
			return s, false
		}
		b = b[n:]
	}
	return s, true
}

// BenchmarkStored is 50,000 units on 1,000 machines, launched and running, as
// they come to be in etcd: what of its database that takes, and the history of it.
func BenchmarkStored(b *testing.B) {
	const units, machines = 50000, 1000
	for b.Loop() {
		s := etcdtest.NewWithTxnOps(b, manyOps)
		r, _ := connect(b, s.Endpoints(), "/fleet")
		etcd := s.Client(b)
		text := strings.Repeat("# a unit file has some lines of text\n", 15)
		var ops []clientv3.Op
		write := func(key, value string) {
			if ops = append(ops, clientv3.OpPut(key, value)); len(ops) == manyOps {
				if _, err := etcd.Txn(b.Context()).Then(ops...).Commit(); err != nil {
					b.Fatal(err)
				}
				ops = nil
			}
		}
		for t := range 50 {
			write(r.keys.file(unit.HashOf(fmt.Append(nil, t))), text)
		}
		starting := runningState
		starting.Active, starting.Sub = "activating", "start"
		keyOf := func(i int) record.Key {
			return record.Key{Machine: machine.ID(fmt.Sprintf("%032x", i%machines)), Unit: unit.Name(fmt.Sprintf("app%04d@%04d.service", i/1000, i%1000))}
		}
		for i := range units {
			key := keyOf(i)
			write(r.keys.unit(key.Unit), encode(record.Unit{File: runningState.File, Target: unit.TargetLaunched}))
			write(r.keys.placement(key), encode(runningState.Spec))
			write(r.keys.state(key), encode(starting))
		}
		for i := range units {
			write(r.keys.state(keyOf(i)), encode(runningState))
		}
		grown := statusOf(b, etcd)
		if _, err := etcd.Compact(b.Context(), s.Revision(b), clientv3.WithCompactPhysical()); err != nil {
			b.Fatal(err)
		}
		compacted := statusOf(b, etcd)
		if _, err := etcd.Defragment(b.Context(), etcd.Endpoints()[0]); err != nil {
			b.Fatal(err)
		}
		for name, n := range map[string]int64{"grown": grown.DbSize, "compacted": compacted.DbSizeInUse, "defragmented": statusOf(b, etcd).DbSize} {
			b.ReportMetric(float64(n)/(1<<20), name+"-MiB")
		}
	}
}

func statusOf(b *testing.B, etcd *clientv3.Client) *clientv3.StatusResponse {
	resp, err := etcd.Status(b.Context(), etcd.Endpoints()[0])
	if err != nil {
		b.Fatal(err)
	}
	return resp
}
