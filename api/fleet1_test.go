package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
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
