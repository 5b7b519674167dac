package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// A unit's life as a watch of a fleet 1.0 server tells it.
func TestFleet1Watch(t *testing.T) {
	f, c := newFleet1(t)
	var told []string
	err := c.Watch(t.Context(), []unit.Name{"a.service"}, func(e api.Event) error {
		if e.Status == nil {
			t.Fatalf("%+v", e)
		}
		s := *e.Status
		line := fmt.Sprintf("exists=%v destroying=%v %s", s.Exists, s.Destroying, s.DesiredState)
		for _, p := range s.Placements {
			line += fmt.Sprintf(" place=%s/%s:%s:%.7s", p.MachineID[:2], p.PrimaryIP, p.Target, p.Hash)
		}
		for _, st := range s.States {
			line += fmt.Sprintf(" state=%s/%s:%s:%.7s:%s", st.MachineID[:2], st.PrimaryIP, st.Target, st.Hash, st.Active)
		}
		told = append(told, line)
		var err error
		switch len(told) {
		case 1:
			_, err = c.SetUnit(t.Context(), api.Unit{Name: "a.service", Text: hello, DesiredState: unit.TargetLaunched})
		case 2:
			f.change(func() {
				f.set("a.service", unit.TargetLaunched, m1)
				f.report("a.service", helloHash, m1, "active", "running")
			})
		case 3:
			_, err = c.SetUnit(t.Context(), api.Unit{Name: "a.service", DesiredState: unit.TargetLoaded})
			f.change(func() { f.set("a.service", unit.TargetLoaded, m1) })
		case 4: // told to stop, and still stopping
			f.change(func() { f.states[0].SystemdActiveState = "inactive" })
		case 5:
			err = c.DestroyUnit(t.Context(), "a.service")
		case 6:
			f.change(func() { f.states = nil })
		case 7:
			err = errEnough
		}
		return err
	})
	want := []string{
		"exists=false destroying=false ",
		"exists=true destroying=false launched",
		"exists=true destroying=false launched place=1e/10.0.0.1:launched:34f13d7 state=1e/10.0.0.1:launched:34f13d7:active",
		"exists=true destroying=false loaded place=1e/10.0.0.1:loaded:34f13d7 state=1e/10.0.0.1:launched:34f13d7:active",
		"exists=true destroying=false loaded place=1e/10.0.0.1:loaded:34f13d7 state=1e/10.0.0.1:loaded:34f13d7:inactive",
		"exists=false destroying=true  state=1e/10.0.0.1:loaded:34f13d7:inactive",
		"exists=false destroying=false ",
	}
	if !errors.Is(err, errEnough) || !slices.Equal(told, want) {
		t.Error(err, cmp.Diff(want, told))
	}
	var sent api.Unit
	if err := json.Unmarshal([]byte(f.puts[0]), &sent); err != nil || sent.Text != "" || !slices.Equal(sent.Options, helloOptions) {
		t.Errorf("%v: fleet 1.0 was sent %s", err, f.puts[0])
	}
}

// Global units have no placement at fleet 1.0: where they are is where they say
// that they are. More than a few units are looked up in the list.
func TestFleet1WatchOfManyAndGlobal(t *testing.T) {
	f, c := newFleet1(t)
	global := api.Unit{Name: "g.service", DesiredState: unit.TargetLaunched, Options: []unit.Option{
		{Section: "Service", Name: "ExecStart", Value: "/bin/sleep infinity"}, {Section: "X-Fleet", Name: "Global", Value: "true"},
	}}
	f.units["g.service"] = global
	for _, m := range []string{m1, m2} {
		f.report("g.service", "d7594b2e4f5933f0b3e48bc2e812b0c5955bd9c6", m, "active", "running")
	}
	names := []unit.Name{"g.service"}
	for i := range 20 {
		names = append(names, unit.Name(fmt.Sprintf("u%d.service", i)))
	}
	told := map[unit.Name]api.UnitStatus{}
	err := c.Watch(t.Context(), names, func(e api.Event) error {
		told[e.Status.Unit] = *e.Status
		if len(told) == len(names) {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	g := told["g.service"]
	if !g.Global || len(g.Placements) != 2 || len(g.States) != 2 || g.ServiceType != "simple" {
		t.Errorf("%+v", g)
	}
	for i, st := range g.States {
		if st.Target != unit.TargetLaunched || st.Hash != g.Hash || g.Placements[i].Hash != g.Hash || g.Placements[i].MachineID != st.MachineID {
			t.Errorf("%+v, %+v", st, g.Placements[i])
		}
	}
	if told["u7.service"].Exists {
		t.Errorf("%+v", told["u7.service"])
	}
}

func TestFleet1UnitsHaveTheHashOfTheirStates(t *testing.T) {
	f, c := newFleet1(t)
	f.units["a.service"] = api.Unit{Name: "a.service", Options: helloOptions}
	u, err := c.Unit(t.Context(), "a.service")
	if err != nil || u.Hash != helloHash {
		t.Errorf("%+v %v", u, err)
	}
	all, err := c.Units(t.Context())
	if err != nil || len(all) != 1 || all[0].Hash != helloHash {
		t.Errorf("%+v %v", all, err)
	}
}

// A text that is sent before anything is known of the server gets there all the
// same, for a new unit and for one that fleet 1.0 has.
func TestFleet1IsRecognisedByAnAnswer(t *testing.T) {
	for name, stored := range map[string]bool{"a new unit": false, "a unit that it has": true} {
		t.Run(name, func(t *testing.T) {
			f, c := newFleet1(t)
			if stored {
				f.units["a.service"] = api.Unit{Name: "a.service", Options: helloOptions[1:]}
			}
			created, err := c.SetUnit(t.Context(), api.Unit{Name: "a.service", Text: hello, DesiredState: unit.TargetLoaded})
			if err != nil || !created {
				t.Error(created, err)
			}
			if u := f.units["a.service"]; !slices.Equal(u.Options, helloOptions) || u.DesiredState != unit.TargetLoaded {
				t.Errorf("%+v", u)
			}
		})
	}
}

func TestFleet1Recognition(t *testing.T) {
	tests := []struct {
		name, server string
		handler      http.Handler // nil: fleet 1.0's
		says         string
	}{
		{"it names itself", "fleetd/v1.0.0", nil, "is fleet 1.0 or older"},
		{"a distribution's build", "fleetd/0.0.0+wasnotbuiltproperly", nil, "is fleet 1.0 or older"},
		{"behind a proxy that names itself", "nginx", nil, "is fleet 1.0 or older"},
		{"nothing of fleet", "", http.NotFoundHandler(), "404 Not Found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fleet1{t: t, server: tt.server, units: map[string]api.Unit{}}
			handler := tt.handler
			if handler == nil {
				handler = f
			}
			s := httptest.NewServer(handler)
			defer s.Close()
			c := newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: 3 * time.Second})
			_, err := c.Explain(t.Context(), "a.service")
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("explain: %v", err)
			}
			err = c.Watch(t.Context(), []unit.Name{"a.service"}, func(api.Event) error { return errEnough })
			if isOld := errors.Is(err, errEnough); isOld != (tt.handler == nil) {
				t.Errorf("watch: %v", err)
			}
		})
	}
	t.Run("this fleet", func(t *testing.T) {
		c := newClient(t, api.ClientOptions{Endpoint: servertest.New(t).Serve(t, server.Options{}), Timeout: 3 * time.Second})
		if _, err := c.Explain(t.Context(), "a.service"); !api.IsNotFound(err) {
			t.Error(err)
		}
	})
}

func TestFleet1Restart(t *testing.T) {
	f, c := newFleet1(t)
	f.units["a.service"] = api.Unit{Name: "a.service", Options: helloOptions, DesiredState: unit.TargetLaunched, CurrentState: unit.TargetLaunched, MachineID: m1}
	f.report("a.service", helloHash, m1, "active", "running")
	f.onPut = func(in api.Unit) {
		f.set(in.Name, in.DesiredState, m1)
		f.states[0].SystemdActiveState = map[unit.Target]string{unit.TargetLoaded: "inactive", unit.TargetLaunched: "active"}[in.DesiredState]
	}
	var counts []uint64
	err := c.Watch(t.Context(), []unit.Name{"a.service"}, func(e api.Event) error {
		counts = append(counts, e.Status.Restart)
		if len(counts) > 1 && e.Status.Restart == 1 {
			return errEnough // what is told now was asked after the restart
		}
		if len(counts) > 1 {
			return nil
		}
		r, err := c.RestartUnit(t.Context(), "a.service")
		if r.Restart != 1 {
			t.Errorf("%+v", r)
		}
		return err
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
	want := []string{`{"name":"a.service","desiredState":"loaded"}`, `{"name":"a.service","desiredState":"launched"}`}
	if !slices.Equal(f.puts, want) {
		t.Error(f.puts)
	}
}

// fleet 1.0 would restart a unit wherever it is: that is not done in its stead,
// whether or not it is known yet to be one.
func TestFleet1CannotRestartOnOneMachine(t *testing.T) {
	f, c := newFleet1(t)
	f.units["a.service"] = api.Unit{Name: "a.service", Options: helloOptions, DesiredState: unit.TargetLaunched, CurrentState: unit.TargetLaunched, MachineID: m1}
	for range 2 {
		var refused *api.Fleet1Error
		if _, err := c.RestartUnitOn(t.Context(), "a.service", m1); !errors.As(err, &refused) || !strings.Contains(err.Error(), "fleetctl ssh "+m1+" sudo systemctl restart a.service") {
			t.Errorf("%v", err)
		}
	}
	if len(f.puts) > 0 {
		t.Error(f.puts)
	}
}

// Who gives up waiting for the stop leaves no unit stopped.
func TestFleet1RestartGivenUp(t *testing.T) {
	f, c := newFleet1(t)
	f.units["a.service"] = api.Unit{Name: "a.service", Options: helloOptions, DesiredState: unit.TargetLaunched, CurrentState: unit.TargetLaunched, MachineID: m1}
	f.report("a.service", helloHash, m1, "active", "running")
	ctx, cancel := context.WithCancel(t.Context())
	f.onPut = func(api.Unit) { cancel() }
	if _, err := c.RestartUnit(ctx, "a.service"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if u := f.units["a.service"]; u.DesiredState != unit.TargetLaunched {
		t.Errorf("it was left %s", u.DesiredState)
	}
}

func TestFleet1WatchOutlivesTrouble(t *testing.T) {
	f, c := newFleet1(t)
	var told []string
	err := c.Watch(t.Context(), []unit.Name{"a.service"}, func(e api.Event) error {
		switch {
		case e.Trouble != "":
			told = append(told, e.Trouble)
			f.change(func() { f.broken = false })
		case e.Recovered:
			told = append(told, "recovered")
			return errEnough
		default:
			told = append(told, "status")
			f.change(func() { f.broken = true })
		}
		return nil
	})
	if !errors.Is(err, errEnough) || len(told) != 3 || !strings.Contains(told[1], "unable to communicate with etcd") {
		t.Error(err, told)
	}
}

func TestIsOf(t *testing.T) {
	tests := []struct {
		name   string
		status api.UnitStatus
		text   string
		want   bool
	}{
		{"this very text", api.UnitStatus{Hash: unit.HashOf([]byte(hello))}, hello, true},
		{"another comment", api.UnitStatus{Hash: unit.HashOf([]byte(hello))}, "# new\n" + hello, false},
		{"fleet 1.0: the same but for comments", api.UnitStatus{Hash: helloHash, Options: helloOptions}, hello, true},
		{"fleet 1.0: an option more", api.UnitStatus{Hash: helloHash, Options: helloOptions}, hello + "Nice=1\n", false},
		{"fleet 1.0: no unit file", api.UnitStatus{Hash: helloHash, Options: helloOptions}, "what is this", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.status.IsOf([]byte(tt.text)); got != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
}
