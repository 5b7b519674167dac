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
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// fleet1 answers as fleet 1.0 was seen to.
type fleet1 struct {
	t *testing.T

	mu     sync.Mutex
	server string              // its Server header; "" for one that a proxy took away
	broken bool                // it can't reach its etcd
	units  map[string]api.Unit // as it shows them
	states []api.UnitState
	puts   []string // what was sent, as JSON
	onPut  func(api.Unit)
}

const m1, m2 = "1e0312b467615f4070a5e7783fb28b19", "b6f98b0ce9a61cf3e95d4e0077eba9b5"

func newFleet1(t *testing.T) (*fleet1, *api.Client) {
	f := &fleet1{t: t, server: "fleetd/v1.0.0", units: map[string]api.Unit{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: 3 * time.Second})
}

func (f *fleet1) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != "" {
		w.Header().Set("Server", f.server)
	}
	w.Header().Set("Content-Type", "application/json")
	refuse := func(code int, message string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":%q}}`, code, message)
	}
	path := strings.TrimPrefix(r.URL.Path, "/fleet/v1/")
	name, one := strings.CutPrefix(path, "units/")
	u, exists := f.units[name]
	switch {
	case f.broken:
		refuse(http.StatusServiceUnavailable, "fleet server unable to communicate with etcd")
	case strings.HasPrefix(path, "state/"):
		f.t.Errorf("%s crashes a fleet 1.0 that doesn't know the unit", r.URL)
	case path == "machines":
		fmt.Fprintf(w, `{"machines":[{"id":%q,"metadata":{},"primaryIP":"10.0.0.1"},{"id":%q,"metadata":{},"primaryIP":"10.0.0.2"}]}`, m1, m2)
	case path == "state":
		only := r.URL.Query().Get("unitName")
		f.page(w, "states", slices.DeleteFunc(slices.Clone(f.states), func(s api.UnitState) bool { return only != "" && string(s.Name) != only }))
	case path == "units":
		var all []api.Unit
		for _, u := range f.units {
			all = append(all, u)
		}
		f.page(w, "units", all)
	case !one || strings.Contains(name, "/"):
		refuse(http.StatusNotFound, "")
	case r.Method == http.MethodPut:
		var in api.Unit
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			f.t.Error(err)
		}
		text, _ := json.Marshal(in)
		f.puts = append(f.puts, string(text))
		if !exists && len(in.Options) == 0 {
			refuse(http.StatusConflict, "unit does not exist and options field empty")
			return
		}
		code := http.StatusNoContent
		if len(in.Options) > 0 && !slices.Equal(in.Options, u.Options) {
			u, code = api.Unit{Name: in.Name, Options: in.Options}, http.StatusCreated
		}
		u.DesiredState = in.DesiredState
		f.units[name] = u
		if f.onPut != nil {
			f.onPut(in)
		}
		w.WriteHeader(code)
	case !exists:
		refuse(http.StatusNotFound, "unit does not exist")
	case r.Method == http.MethodDelete:
		delete(f.units, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		_ = json.NewEncoder(w).Encode(u)
	}
}

// page writes a list in one page; fleet 1.0 leaves an empty one out.
func (f *fleet1) page(w http.ResponseWriter, field string, list any) {
	text, err := json.Marshal(list)
	if err != nil {
		f.t.Error(err)
	}
	if string(text) == "null" || string(text) == "[]" {
		fmt.Fprint(w, "{}")
		return
	}
	fmt.Fprintf(w, `{%q:%s}`, field, text)
}

func (f *fleet1) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
}

// set makes a unit what the cluster has made of it.
func (f *fleet1) set(name unit.Name, current unit.Target, machine string) {
	u := f.units[string(name)]
	u.CurrentState, u.MachineID = current, machine
	f.units[string(name)] = u
}

func (f *fleet1) report(name unit.Name, hash unit.Hash, machine, active, sub string) {
	f.states = append(f.states, api.UnitState{
		Name: name, Hash: hash, MachineID: machine, SystemdLoadState: "loaded", SystemdActiveState: active, SystemdSubState: sub,
	})
}

const (
	hello = "# said by no fleet 1.0\n[Unit]\nDescription=hello\n\n[Service]\nExecStart=/bin/sleep infinity\n"
	// helloHash is what fleet 1.0 was seen to call it.
	helloHash = "34f13d7f86cf7ed301df960aeae20d3e4bb83f81"
)

var helloOptions = []unit.Option{
	{Section: "Unit", Name: "Description", Value: "hello"}, {Section: "Service", Name: "ExecStart", Value: "/bin/sleep infinity"},
}

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
