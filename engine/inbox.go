package engine

import (
	"sync"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

// inbox collects what the registry reports while the leader is busy with a
// plan, so that a burst of changes becomes one plan and one commit.
type inbox struct {
	// ready has room for one: there is something to take.
	ready chan struct{}

	mu      sync.Mutex
	reset   bool
	changes []record.Change
	rev     int64
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

// put takes an update from Follow's goroutine.
func (b *inbox) put(u registry.Update) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rev = u.View.Revision
	if u.Reset {
		b.reset, b.changes = true, u.View.Changes()
	} else if len(u.Changes) == 0 {
		return nil
	} else {
		b.changes = append(b.changes, u.Changes...)
	}
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return nil
}

// take empties the inbox. With reset, changes describe the whole cluster.
func (b *inbox) take() (reset bool, changes []record.Change, rev int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	reset, changes, rev = b.reset, b.changes, b.rev
	b.reset, b.changes = false, nil
	return reset, changes, rev
}
