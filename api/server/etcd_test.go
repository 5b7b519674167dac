package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"golang.org/x/sync/errgroup"
)

// real is a server before a real etcd.
type real struct {
	etcd     *etcdtest.Server
	prefix   string
	registry *registry.Registry
	client   *http.Client
}

func newReal(t *testing.T) *real {
	t.Helper()
	r := &real{etcd: etcdtest.New(t), prefix: "/fleet/"}
	var err error
	r.registry, err = registry.Dial(registry.Config{Endpoints: r.etcd.Endpoints(), Prefix: r.prefix, RequestTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.registry.Close() })
	l := listening(t)
	serveOn(t, server.New(server.Options{Registry: r.registry}), l)
	r.client = clientOf(t, l.Addr().String())
	return r
}

// send has a request answered as it must be.
func (r *real) send(ctx context.Context, method, path string, in any, want int, into any) error {
	var text strings.Builder
	if in != nil {
		text.WriteString(body(in))
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://fleetd/fleet/v1/"+path, strings.NewReader(text.String()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// list is one of the lists, and how to tell its entries.
type list struct {
	path    string
	entries func(ctx context.Context, r *real, path string) (keys []string, next string, err error)
	stay    []string // what is there all the time
}

// walk takes a list in pages, and checks that it has what it must.
func (l list) walk(ctx context.Context, r *real, limit int) error {
	var got []string
	for token := ""; ; {
		keys, next, err := l.entries(ctx, r, fmt.Sprintf("%s?limit=%d&nextPageToken=%s", l.path, limit, url.QueryEscape(token)))
		if err != nil {
			return err
		}
		if len(keys) > limit || len(keys) < limit && next != "" {
			return fmt.Errorf("%s: a page of %d, with limit %d and the next at %q", l.path, len(keys), limit, next)
		}
		got = append(got, keys...)
		if token = next; token == "" {
			break
		}
	}
	for i := 1; i < len(got); i++ {
		if got[i-1] >= got[i] {
			return fmt.Errorf("%s in pages of %d: %s comes before %s", l.path, limit, got[i-1], got[i])
		}
	}
	for _, key := range l.stay {
		if _, there := slices.BinarySearch(got, key); !there {
			return fmt.Errorf("%s in pages of %d: %s is missing of %d entries", l.path, limit, key, len(got))
		}
	}
	return nil
}

// 10,000 units, as many states and 300 machines, listed in pages from a real etcd
// while others come and go between them, are each in exactly one page.
func TestPagesOfManyWhileOthersComeAndGo(t *testing.T) {
	const stay, come, hosts, guests = 10000, 1000, 300, 30
	r := newReal(t)
	staying := func(i int) string { return fmt.Sprintf("u%05d.service", i) }
	coming := func(i int) string { return fmt.Sprintf("u%05d-guest.service", i*stay/come) } // spread over the list
	host := func(i int) machine.ID { return machine.ID(fmt.Sprintf("%031x0", i+1)) }
	guest := func(i int) machine.ID { return machine.ID(fmt.Sprintf("%031x1", i*hosts/guests+1)) }

	units := list{path: "units", entries: func(ctx context.Context, r *real, path string) (keys []string, next string, err error) {
		var page api.UnitPage
		err = r.send(ctx, "GET", path, nil, 200, &page)
		for _, u := range page.Units {
			keys = append(keys, string(u.Name))
		}
		return keys, page.NextPageToken, err
	}}
	states := list{path: "state", entries: func(ctx context.Context, r *real, path string) (keys []string, next string, err error) {
		var page api.UnitStatePage
		err = r.send(ctx, "GET", path, nil, 200, &page)
		for _, s := range page.States {
			keys = append(keys, string(s.Name)+" "+s.MachineID)
		}
		return keys, page.NextPageToken, err
	}}
	machines := list{path: "machines", entries: func(ctx context.Context, r *real, path string) (keys []string, next string, err error) {
		var page api.MachinePage
		err = r.send(ctx, "GET", path, nil, 200, &page)
		for _, m := range page.Machines {
			keys = append(keys, m.ID)
		}
		return keys, page.NextPageToken, err
	}}

	// What stays.
	join := func(ctx context.Context, id machine.ID) (*registry.Presence, error) {
		return r.registry.Join(ctx, machine.Machine{ID: id, BootID: "b", IP: "10.0.0.1"}, 10*time.Minute)
	}
	state := &record.State{Spec: record.Spec{Target: unit.TargetLaunched}, SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}
	filling, ctx := errgroup.WithContext(t.Context())
	filling.SetLimit(16)
	first, err := join(t.Context(), host(0))
	if err != nil {
		t.Fatal(err)
	}
	said := map[unit.Name]*record.State{}
	for i := range stay {
		units.stay = append(units.stay, staying(i))
		states.stay = append(states.stay, staying(i)+" "+string(host(0)))
		said[unit.Name(staying(i))] = state
		filling.Go(func() error {
			_, _, err := r.registry.SubmitUnit(ctx, unit.Name(staying(i)), []byte(web), unit.TargetInactive)
			return err
		})
	}
	filling.Go(func() error { return first.PutStates(ctx, said) })
	for i := range hosts {
		machines.stay = append(machines.stay, string(host(i)))
		if i > 0 {
			filling.Go(func() error { _, err := join(ctx, host(i)); return err })
		}
	}
	if err := filling.Wait(); err != nil {
		t.Fatal(err)
	}
	// A server that has yet to hear of all that says so, after a while: ask again.
	for began := time.Now(); ; {
		_, _, err := units.entries(t.Context(), r, "units?limit=1")
		if err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal(err)
		}
	}

	etcd := r.etcd.Client(t)

	// What comes and goes, for as long as somebody walks.
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	var moves atomic.Int64
	enough := make(chan struct{})
	moved := func() {
		if moves.Add(1) == come {
			close(enough)
		}
	}
	var moving sync.WaitGroup
	forever := func(n int, move func(i int) error) {
		moving.Go(func() {
			for i := 0; ctx.Err() == nil; i = (i + 1) % n {
				if err := move(i); err != nil && ctx.Err() == nil {
					stop(err)
					return
				}
			}
		})
	}
	for part := range 2 { // two that create and destroy, each its own half
		forever(come/2, func(i int) error {
			name := coming(2*i + part)
			if err := r.send(ctx, "PUT", "units/"+name, m{"text": web, "desiredState": "inactive"}, 201, nil); err != nil {
				return err
			}
			if err := first.PutStates(ctx, map[unit.Name]*record.State{unit.Name(name): state}); err != nil {
				return err
			}
			if i%2 == 0 { // the other half stays a while, and is replaced
				return nil
			}
			gone := coming(2*(i-1) + part)
			for _, name := range []string{name, gone} {
				if err := r.send(ctx, "DELETE", "units/"+name, nil, 204, nil); err != nil {
					return err
				}
				if err := first.PutStates(ctx, map[unit.Name]*record.State{unit.Name(name): nil}); err != nil {
					return err
				}
				if _, err := etcd.Delete(ctx, r.prefix+"units/"+name); err != nil { // as the engine does
					return err
				}
				moved()
			}
			return nil
		})
	}
	forever(guests, func(i int) error {
		p, err := join(ctx, guest(i))
		if err == nil {
			err = p.Leave(ctx)
		}
		return err
	})

	var walking errgroup.Group
	for _, l := range []list{units, states, machines} {
		walking.Go(func() error {
			for _, limit := range []int{len(l.stay) / 250, 100, 1000, 5000} {
				if err := l.walk(ctx, r, limit); err != nil {
					return err
				}
			}
			for { // and on, until enough has come and gone
				select {
				case <-enough:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				default:
				}
				if err := l.walk(ctx, r, 500); err != nil {
					return err
				}
			}
		})
	}
	if err := walking.Wait(); err != nil {
		t.Error(err)
	}
	stop(nil)
	moving.Wait()
	t.Logf("%d units came and went", moves.Load())
}

// A fleetd that is older than its cluster answers what is asked, and takes no
// changes: it would drop what it doesn't know of. It says so at once, and what to do.
func TestOlderFleetdTakesNoChanges(t *testing.T) {
	r := newReal(t)
	r.etcd.Put(t, r.prefix+"cluster", `{"id":"c","schema":"1.0.0"}`)
	if err := r.send(t.Context(), "PUT", "units/a.service", m{"text": web, "desiredState": "loaded"}, 201, nil); err != nil {
		t.Fatal(err)
	}
	r.etcd.Put(t, r.prefix+"cluster", `{"id":"c","schema":"1.1.0"}`)
	before := r.etcd.All(t, r.prefix)
	change := []m{{"op": "add", "path": "/" + string(node1) + "/metadata/a", "value": "b"}}
	for name, of := range map[string]struct {
		method, path string
		body         any
	}{
		"a new unit":      {"PUT", "units/b.service", m{"text": web, "desiredState": "launched"}},
		"another text":    {"PUT", "units/a.service", m{"text": web + "# more\n"}},
		"another state":   {"PUT", "units/a.service", m{"desiredState": "launched"}},
		"a restart":       {"POST", "units/a.service/restart", nil},
		"destroying it":   {"DELETE", "units/a.service", nil},
		"a machine's own": {"PATCH", "machines", change},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), of.method, "http://fleetd/fleet/v1/"+of.path, strings.NewReader(body(of.body)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := r.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "" ||
				!strings.Contains(string(answer), "this fleetd takes no changes: cluster c stores its state in schema 1.1.0") || !strings.Contains(string(answer), "upgrade fleet on this host") {
				t.Errorf("%s %s %v", resp.Status, answer, err)
			}
		})
	}
	if after := r.etcd.All(t, r.prefix); !reflect.DeepEqual(before, after) {
		t.Errorf("changed: %v, was %v", after, before)
	}
	if err := r.send(t.Context(), "GET", "units/a.service", nil, 200, nil); err != nil {
		t.Error(err)
	}
}
