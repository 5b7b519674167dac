package server

import (
	"slices"
	"testing"
)

// However much changes, and however slowly somebody reads, one entry a key
// waits.
func TestPendingHoldsOneEntryAKey(t *testing.T) {
	p := newPending[string]()
	for range 1000 {
		for _, k := range []string{"a", "b", "c"} {
			p.touch(k)
		}
	}
	<-p.ready
	p.touch("a") // between the signal and the look
	keys, all := p.take()
	slices.Sort(keys)
	if all || !slices.Equal(keys, []string{"a", "b", "c"}) {
		t.Errorf("%v %v", keys, all)
	}
	select {
	case <-p.ready:
		t.Error("it is ready with nothing to look at")
	default:
	}
	p.touchAll()
	<-p.ready
	if keys, all := p.take(); !all || len(keys) != 0 {
		t.Errorf("%v %v", keys, all)
	}
}
