package record

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

// quick is a record that can be read without encoding/json.
type quick interface{ ReadJSON([]byte) bool }

// likeJSON holds quick reading against encoding/json's.
func likeJSON(t interface{ Fatalf(string, ...any) }, value []byte, read, want quick, must bool) {
	if !read.ReadJSON(value) {
		if must {
			t.Fatalf("not read: %s", value)
		}
		return
	}
	if err := json.Unmarshal(value, want); err != nil || !reflect.DeepEqual(read, want) {
		t.Fatalf("%s\nread as %+v\nencoding/json has %+v %v", value, read, want, err)
	}
}

func TestRecordsAreReadAsByEncodingJSON(t *testing.T) {
	plain := rapid.StringMatching(`[ !#-%'-;=?-\[\]-~]{0,20}`) // what JSON doesn't escape
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{Target: unit.Target(plain.Draw(t, "target")), File: unit.Hash(plain.Draw(t, "file")), Restart: rapid.Uint64().Draw(t, "restart")}
		state := State{
			Spec: spec, SystemdState: unit.SystemdState{Load: plain.Draw(t, "load"), Active: plain.Draw(t, "active"), Sub: plain.Draw(t, "sub"), Result: plain.Draw(t, "result")},
			Error: plain.Draw(t, "error"), Log: rapid.OneOf(plain, rapid.String()).Draw(t, "log"),
		}
		u := Unit{File: spec.File, Target: spec.Target, Restart: spec.Restart}
		if rapid.Bool().Draw(t, "on one") {
			u.RestartOn = map[machine.ID]uint64{"m": 7}
		}
		encoded := func(v any) []byte {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		likeJSON(t, encoded(u), &Unit{}, &Unit{}, u.RestartOn == nil)
		likeJSON(t, encoded(spec), &Spec{}, &Spec{}, true)
		likeJSON(t, encoded(state), &State{}, &State{}, false)
		state.Log = ""
		likeJSON(t, encoded(state), &State{}, &State{}, true)
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"target":"launched","file":"beef","restart":3,"load":"loaded","active":"active","sub":"running"}`))
	f.Add([]byte(`{"file":"beef","target":"loaded","restart":018446744073709551616}`))
	f.Add([]byte(`{"target":"loaded","Target":"x","file":"\u0041","restart":1e3}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		likeJSON(t, value, &Unit{}, &Unit{}, false)
		likeJSON(t, value, &Spec{}, &Spec{}, false)
		likeJSON(t, value, &State{}, &State{}, false)
	})
}
