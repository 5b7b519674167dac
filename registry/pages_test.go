package registry

import (
	"fmt"
	"testing"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

func TestFollowASnapshotOfManyPages(t *testing.T) {
	r, s := fresh(t)
	c := s.Client(t)
	for i := range 2*firstPage + 7 {
		if _, err := c.Put(t.Context(), r.keys.unit(unit.Name(fmt.Sprintf("u%d.service", i))), `{"target":"loaded"}`); err != nil {
			t.Fatal(err)
		}
	}
	f := follow(t, r.Follow)
	f.wait(t, "all units", func(v *record.View) bool { return len(v.Units) == 2*firstPage+7 })
	if n := len(f.all()); n != 1 {
		t.Errorf("%d updates", n)
	}
}

func TestPagesFitWhatTheyHold(t *testing.T) {
	page := func(n, size int) []*mvccpb.KeyValue {
		kvs := make([]*mvccpb.KeyValue, n)
		for i := range kvs {
			kvs[i] = &mvccpb.KeyValue{Key: []byte("k"), Value: make([]byte, size-1)}
		}
		return kvs
	}
	for name, tc := range map[string]struct {
		kvs  []*mvccpb.KeyValue
		want int64
	}{
		"states":      {page(1000, 200), largePage},
		"units":       {page(1000, 400), pageBytes / 400},
		"large texts": {page(10, 1<<20), 100},
		"nothing":     {nil, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextPage(tc.kvs); got != tc.want {
				t.Errorf("the next page has %d keys, want %d", got, tc.want)
			}
		})
	}
}
