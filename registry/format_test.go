package registry

import (
	"encoding/json"
	"testing"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/mvccpb"
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
		"decode/json-as-fleet-does": func() int {
			s, err := decode[record.State](&mvccpb.KeyValue{Value: asJSON}, false)
			if err != nil || *s != runningState {
				b.Fatal(s, err)
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
