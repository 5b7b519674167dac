package api

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyText is text as units have it, and what JSON must escape.
func anyText(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.StringMatching(`[a-z0-9@.-]{0,12}`), rapid.String(), rapid.SampledFrom([]string{"", `a "b" \c`, "<&>", "a\nb", "é\u2028", "\xff", "\x7f"}),
	).Draw(t, label)
}

func anyUnit(t *rapid.T) Unit {
	u := Unit{
		Name: unit.Name(anyText(t, "name")), DesiredState: unit.Target(anyText(t, "desired")), CurrentState: unit.Target(anyText(t, "current")),
		MachineID: anyText(t, "machine"), PrimaryIP: anyText(t, "ip"), Hash: unit.Hash(anyText(t, "hash")),
	}
	for range rapid.IntRange(0, 2).Draw(t, "options") {
		u.Options = append(u.Options, unit.Option{Section: anyText(t, "section"), Name: anyText(t, "option"), Value: anyText(t, "value")})
	}
	return u
}

func anyState(t *rapid.T) UnitState {
	return UnitState{
		Name: unit.Name(anyText(t, "name")), Hash: unit.Hash(anyText(t, "hash")), MachineID: anyText(t, "machine"), SystemdLoadState: anyText(t, "load"),
		SystemdActiveState: anyText(t, "active"), SystemdSubState: anyText(t, "sub"), PrimaryIP: anyText(t, "ip"),
		Result: anyText(t, "result"), Error: anyText(t, "error"), Log: anyText(t, "log"),
	}
}

func marshal(t testing.TB, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRowsAreWrittenAsByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		u := anyUnit(r)
		if rapid.Bool().Draw(r, "with text") {
			u.Text = anyText(r, "text")
		}
		if diff := cmp.Diff(marshal(t, u), string(u.AppendJSON(nil, EncodeOptions(u.Options)))); diff != "" {
			r.Fatal(diff)
		}
		s := anyState(r)
		if diff := cmp.Diff(marshal(t, s), string(s.AppendJSON(nil))); diff != "" {
			r.Fatal(diff)
		}
	})
}

// What encoding/json writes is read the quick way, and comes to the same.
func TestPagesAreReadAsByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		in := newReader() // that has read other pages before
		for range rapid.IntRange(1, 3).Draw(r, "pages") {
			units := UnitPage{Units: []Unit{}, NextPageToken: anyText(r, "token")}
			states := UnitStatePage{States: []UnitState{}, NextPageToken: anyText(r, "token")}
			for range rapid.IntRange(0, 4).Draw(r, "rows") {
				units.Units = append(units.Units, anyUnit(r))
				states.States = append(states.States, anyState(r))
			}
			sameAsEncodingJSON(r, in, "units", marshal(t, units), UnitPage{}, func(p UnitPage) page[Unit] { return page[Unit]{p.Units, p.NextPageToken} }, true)
			sameAsEncodingJSON(r, in, "states", marshal(t, states)+"\n", UnitStatePage{}, func(p UnitStatePage) page[UnitState] { return page[UnitState]{p.States, p.NextPageToken} }, true)
		}
	})
}

// sameAsEncodingJSON holds the quick way against encoding/json's, if it is taken,
// which it must be if quick.
func sameAsEncodingJSON[T, P any](t interface{ Fatalf(string, ...any) }, in *reader, field, body string, into P, of func(P) page[T], quick bool) {
	var got page[T]
	in.rest, in.ok = []byte(body), true
	if !got.read(in, field) {
		if quick {
			t.Fatalf("not read the quick way: %s", body)
		}
		return
	}
	if err := json.Unmarshal([]byte(body), &into); err != nil {
		t.Fatalf("%s was read, but is no JSON: %v", body, err)
	}
	if want := of(into); !reflect.DeepEqual(want, got) {
		t.Fatalf("%s\nread as %+v\nencoding/json has %+v", body, got, want)
	}
}

// Pages that others write are encoding/json's.
func TestPagesOfOthers(t *testing.T) {
	a := []Unit{{Name: "a.service", DesiredState: "launched"}}
	for name, tt := range map[string]struct {
		body string
		want page[Unit]
		err  bool
	}{
		"spaces":              {`{ "units": [ {"name": "a.service", "desiredState": "launched"} ] }`, page[Unit]{rows: a}, false},
		"another order":       {`{"nextPageToken":"x","units":[{"name":"a.service","desiredState":"launched"}]}`, page[Unit]{a, "x"}, false},
		"an unknown field":    {`{"units":[{"new":[1],"name":"a.service","desiredState":"launched"}]}`, page[Unit]{rows: a}, false},
		"a field of the page": {`{"units":[{"name":"a.service","desiredState":"launched"}],"new":null}`, page[Unit]{rows: a}, false},
		"a field twice":       {`{"units":[{"name":"b","name":"a.service","desiredState":"launched"}]}`, page[Unit]{rows: a}, false},
		"null":                {`{"units":[{"name":"a.service","desiredState":"launched","options":null}]}`, page[Unit]{rows: a}, false},
		"nothing":             {`{}`, page[Unit]{}, false},
		"no JSON":             {`<html>`, page[Unit]{}, true},
		"half of it":          {`{"units":[{"name":"a.service","desir`, page[Unit]{}, true},
		"another type":        {`{"units":[{"name":7}]}`, page[Unit]{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodePage[Unit]([]byte(tt.body), "units", newReader())
			if (err != nil) != tt.err || err == nil && !reflect.DeepEqual(tt.want, got) {
				t.Errorf("%+v %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestUnitsOfAFileShareItsOptions(t *testing.T) {
	body := `{"units":[{"name":"a@1.service","options":[{"section":"S","name":"N","value":"v"}]},{"name":"a@2.service","options":[{"section":"S","name":"N","value":"v"}]}]}`
	p, err := decodePage[Unit]([]byte(body), "units", newReader())
	if err != nil || len(p.rows) != 2 || &p.rows[0].Options[0] != &p.rows[1].Options[0] {
		t.Errorf("%+v %v", p, err)
	}
}

func FuzzPage(f *testing.F) {
	f.Add(`{"units":[{"name":"a.service","options":[{"section":"S","name":"N","value":"v"}],"desiredState":"loaded"}],"nextPageToken":"x"}`)
	f.Add(`{"units":[{"name":"a","hash":"\u00e9"},{"options":[]}]}` + "\n")
	f.Add(`{"states":[{"name":"a","hash":"h","machineID":"m","systemdLoadState":"loaded","log":"a\nb"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		in := newReader()
		sameAsEncodingJSON(t, in, "units", body, UnitPage{}, func(p UnitPage) page[Unit] { return page[Unit]{p.Units, p.NextPageToken} }, false)
		sameAsEncodingJSON(t, in, "states", body, UnitStatePage{}, func(p UnitStatePage) page[UnitState] { return page[UnitState]{p.States, p.NextPageToken} }, false)
	})
}
