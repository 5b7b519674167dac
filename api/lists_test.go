package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

var errEnough = errors.New("enough")

// story is what a watch told, a word or two an event.
type story []string

func (s *story) add(e api.ListEvent[api.Unit]) {
	switch {
	case e.Object != nil:
		*s = append(*s, fmt.Sprintf("%s %s", e.Type, e.Object.Name))
	case e.Trouble != "":
		*s = append(*s, "trouble")
	default:
		*s = append(*s, "well")
	}
}

func submit(t *testing.T, c *servertest.Cluster, names ...unit.Name) {
	t.Helper()
	for _, n := range names {
		if _, _, err := c.SubmitUnit(context.Background(), n, []byte(web), unit.TargetInactive); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWatchListsEndWithTheirContextAndTheirCallback(t *testing.T) {
	cluster := servertest.New(t)
	cluster.SetMachine(machine.Machine{ID: "11111111111111111111111111111111", IP: "10.0.0.1"})
	c := newClient(t, api.ClientOptions{Endpoint: cluster.Serve(t, server.Options{}), Timeout: 3 * time.Second})
	tests := []struct {
		name  string
		watch func(context.Context, func() error) error
	}{
		{"units", func(ctx context.Context, fn func() error) error {
			return c.WatchUnits(ctx, func(api.ListEvent[api.Unit]) error { return fn() })
		}},
		{"states", func(ctx context.Context, fn func() error) error {
			return c.WatchStates(ctx, api.StateFilter{Unit: "a.service"}, func(api.ListEvent[api.UnitState]) error { return fn() })
		}},
		{"machines", func(ctx context.Context, fn func() error) error {
			return c.WatchMachines(ctx, func(api.ListEvent[api.Machine]) error { return fn() })
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if err := tt.watch(ctx, func() error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := tt.watch(t.Context(), func() error { return errEnough }); !errors.Is(err, errEnough) {
				t.Error(err)
			}
		})
	}
}

// A watch outlives its connection: it says so, and then tells only what has
// become different meanwhile.
func TestWatchListConnectsAgain(t *testing.T) {
	cluster := servertest.New(t)
	submit(t, cluster, "a.service", "b.service")
	var conn atomic.Pointer[net.Conn]
	var down atomic.Bool
	c := newClient(t, api.ClientOptions{Endpoint: cluster.Serve(t, server.Options{}), Timeout: time.Second,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if down.Load() {
				return nil, errors.New("no way there")
			}
			made, err := (&net.Dialer{}).DialContext(ctx, network, address)
			conn.Store(&made)
			return made, err
		}})
	var told story
	err := c.WatchUnits(t.Context(), func(e api.ListEvent[api.Unit]) error {
		told.add(e)
		switch len(told) {
		case 3: // the list is complete
			down.Store(true)
			(*conn.Load()).Close()
		case 4: // the trouble
			if _, err := cluster.DestroyUnit(t.Context(), "a.service"); err != nil {
				t.Fatal(err)
			}
			submit(t, cluster, "c.service")
			down.Store(false)
		case 7:
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
	want := story{"ADDED a.service", "ADDED b.service", "well", "trouble", "well", "ADDED c.service", "DELETED a.service"}
	if d := cmp.Diff(want, told); d != "" {
		t.Error(d)
	}
}

// A fleet 1.0 server doesn't know watch=true and answers with the list: it is
// asked again now and then. It doesn't say a machine's address with a state,
// either.
func TestWatchListOfFleet1(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Server", "fleetd/1.0.0")
		state := func(name, sub string) string {
			return fmt.Sprintf(`{"name": %q, "hash": "h", "machineID": "m1", "systemdLoadState": "loaded", "systemdActiveState": "active", "systemdSubState": %q}`, name, sub)
		}
		switch {
		case r.URL.Path == "/fleet/v1/machines":
			fmt.Fprint(w, `{"machines": [{"id": "m1", "primaryIP": "10.0.0.1"}]}`)
		case asked.Add(1) <= 2: // the attempt to watch, and the first look
			fmt.Fprintf(w, `{"states": [%s, %s]}`, state("a.service", "start"), state("b.service", "running"))
		case asked.Load() == 3:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprintf(w, `{"states": [%s]}`, state("a.service", "running"))
		}
	}))
	defer s.Close()
	c := newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: time.Second})
	var told []string
	err := c.WatchStates(t.Context(), api.StateFilter{}, func(e api.ListEvent[api.UnitState]) error {
		if e.Object != nil {
			told = append(told, fmt.Sprint(e.Type, " ", e.Object.Name, " ", e.Object.SystemdSubState, " ", e.Object.PrimaryIP))
		} else {
			told = append(told, fmt.Sprint(e.Type, " ", e.Trouble))
		}
		if e.Type == api.Deleted {
			return errEnough
		}
		return nil
	})
	want := []string{
		"ADDED a.service start 10.0.0.1", "ADDED b.service running 10.0.0.1", "BOOKMARK ",
		"BOOKMARK fleetd answered 500 Internal Server Error", "BOOKMARK ",
		"MODIFIED a.service running 10.0.0.1", "DELETED b.service running 10.0.0.1",
	}
	if !slices.Equal(told, want) || !errors.Is(err, errEnough) {
		t.Error(err, cmp.Diff(want, told))
	}
}

// A server that ends each stream at once, and a proxy that has none behind it,
// are asked again, but not without end.
func TestWatchListOfAServerThatHangsUp(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := asked.Add(1); {
		case n == 2:
			w.WriteHeader(http.StatusBadGateway)
		case n < 5:
			w.Header().Set("Content-Type", api.StreamType)
			fmt.Fprintln(w, `{"type": "BOOKMARK"}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer s.Close()
	c := newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: time.Second})
	began := time.Now()
	var told story
	err := c.WatchUnits(t.Context(), func(e api.ListEvent[api.Unit]) error {
		told.add(e)
		return nil
	})
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Code != http.StatusForbidden {
		t.Error(err)
	}
	if d := cmp.Diff(story{"well", "trouble", "well", "trouble", "well", "trouble"}, told); d != "" {
		t.Error(d)
	}
	if took := time.Since(began); took < 400*time.Millisecond { // half of the pauses: never too soon, however slow the host
		t.Errorf("asked %d times in %s", asked.Load(), took)
	}
}
