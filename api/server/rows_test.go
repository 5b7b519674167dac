package server

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyOf is any value of a type, with the texts that lists have, and those that
// JSON must escape. All are sound UTF-8: they come from JSON.
func anyOf[T any](t *rapid.T) T {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "app@1.service", `a "b" \c`, "<&>", "a\nb\b", "é\u2028", "\x7f"}))
	return rapid.MakeCustom[T](rapid.MakeConfig{Kinds: map[reflect.Kind]*rapid.Generator[any]{reflect.String: text.AsAny()}}).Draw(t, "value")
}

// Clients of any fleet read what encoding/json writes.
func TestPagesAreWrittenAsByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units, states := anyOf[api.UnitPage](t), anyOf[api.UnitStatePage](t)
		units.NextPageToken, states.NextPageToken = "", ""
		var next *cursor
		if rapid.Bool().Draw(t, "more") {
			next = &cursor{After: anyOf[string](t)}
			units.NextPageToken, states.NextPageToken = next.token(unitList), next.token(stateList)
		}
		out, free := newPageWriter("units")
		defer free()
		units.Units = append([]api.Unit{}, units.Units...)
		for i := range units.Units {
			u := &units.Units[i]
			u.Text = ""                                                                        // lists leave it out
			u.Options = append(u.Options, unit.Option{Section: "S", Name: "N", Value: "\xff"}) // from a file
			row := newUnitRow(*u, optionsJSON(u.Options))
			out.row(&row)
		}
		out.end(next, unitList)
		written(t, out, units)

		out, free = newPageWriter("states")
		defer free()
		states.States = append([]api.UnitState{}, states.States...)
		for i := range states.States {
			out.row(&states.States[i])
		}
		out.end(next, stateList)
		written(t, out, states)
	})
}

func written(t *rapid.T, got *pageWriter, page any) {
	var want bytes.Buffer
	if err := json.NewEncoder(&want).Encode(page); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), got.body.String()); diff != "" || got.err != nil {
		t.Fatal(got.err, diff)
	}
}

func TestWatchesTellAsByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, s, m := anyOf[api.Unit](t), anyOf[api.UnitState](t), anyOf[api.Machine](t)
		u.Text = ""
		row := newUnitRow(u, optionsJSON(u.Options))
		st := &listStream{}
		var want bytes.Buffer
		for _, pair := range []struct{ told, want any }{{&row, u}, {&s, s}, {&m, m}} {
			st.text.Reset()
			if err := st.append(told{api.Modified, pair.told}); err != nil {
				t.Fatal(err)
			}
			want.Reset()
			if err := json.NewEncoder(&want).Encode(api.ListEvent[any]{Type: api.Modified, Object: &pair.want}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), st.text.String()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
