package registry

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
)

// A clock that tells whole seconds is ahead or behind only by what can't be owed
// to that, nor to the way there and back.
func TestApart(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(1e9) + int64(ms)) }
	tests := map[string]struct {
		told, sent, received int // milliseconds
		want                 time.Duration
	}{
		"the same second":           {0, 200, 210, 0},
		"its second has just begun": {1000, 990, 1010, 0},
		"its second ends":           {0, 990, 1000, 0},
		"a long way there":          {1000, 200, 3000, 0},
		"ahead":                     {9000, 200, 500, 8500 * time.Millisecond},
		"behind":                    {0, 4500, 4600, -3500 * time.Millisecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apart(at(tt.told), at(tt.sent), at(tt.received)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestMembersMachinesAndClock(t *testing.T) {
	r, _ := fresh(t)
	ctx := t.Context()
	for _, e := range r.Endpoints(ctx) {
		if e.Error != "" || e.Version == "" || !e.Leader || e.Took <= 0 {
			t.Errorf("%+v", e)
		}
	}
	here := httptest.NewServer(http.NotFoundHandler()) // which tells the time, as all do
	defer here.Close()
	if ahead, err := r.ClockOf(ctx, here.URL); err != nil || ahead != 0 {
		t.Errorf("this machine's own clock is %s ahead, %v", ahead, err)
	}
	members, err := r.Members(ctx)
	if err != nil || len(members) != 1 || members[0].Name == "" || len(members[0].Endpoints) != 1 || members[0].Endpoints[0].Error != "" {
		t.Errorf("%+v, %v", members, err)
	}
	key := r.keys.machine("2")
	if _, err := r.etcd.Put(ctx, key, encode(machine.Machine{ID: "2"})); err != nil {
		t.Fatal(err)
	}
	all, endless, err := r.Machines(ctx)
	if err != nil || len(all) != 1 || len(endless) != 1 || endless[0] != "2" {
		t.Errorf("%+v, %v, %v", all, endless, err)
	}
	if c, err := r.Cluster(ctx); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
}
