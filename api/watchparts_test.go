package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// More units than one request can name are watched all the same.
func TestWatchOfManyUnits(t *testing.T) {
	const many = 6000
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", StreamType)
		out := json.NewEncoder(w)
		for _, n := range r.URL.Query()["unit"] {
			_ = out.Encode(Event{Status: &UnitStatus{Unit: unit.Name(n)}})
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	c, err := NewClient(ClientOptions{Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names := make([]unit.Name, many)
	for i := range names { // more than 1 MiB together
		names[i] = unit.Name(fmt.Sprintf("%s@%05d.service", strings.Repeat("long", 50), i))
	}
	heard := map[unit.Name]bool{}
	enough := errors.New("enough")
	err = c.Watch(t.Context(), names, func(e Event) error {
		if e.Status == nil {
			return errors.New(e.Trouble)
		}
		if heard[e.Status.Unit] = true; len(heard) == many {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || len(heard) != many {
		t.Errorf("%v after %d units", err, len(heard))
	}
}

func TestStreamsTellOfATroubleOnce(t *testing.T) {
	var got []string
	m := &mergedWatch{troubled: map[int]bool{}, fn: func(e Event) error {
		got = append(got, fmt.Sprintf("%s %t", e.Trouble, e.Recovered))
		return nil
	}}
	for _, e := range []struct {
		stream int
		Event
	}{
		{0, Event{Trouble: "etcd"}}, {1, Event{Trouble: "etcd"}}, {0, Event{Recovered: true}}, {1, Event{Recovered: true}},
		{1, Event{Trouble: "etcd"}}, {0, Event{Trouble: "lost"}}, {0, Event{Recovered: true}}, {1, Event{Recovered: true}},
	} {
		if err := m.pass(t.Context(), e.stream, e.Event); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"etcd false", " true", "etcd false", "lost false", " true"}, got); diff != "" {
		t.Error(diff)
	}
	over, end := context.WithCancelCause(t.Context())
	why := errors.New("another stream's end")
	end(why)
	if err := m.pass(over, 0, Event{Trouble: "late"}); !errors.Is(err, why) || len(got) != 5 {
		t.Errorf("%v %q", err, got)
	}
}
