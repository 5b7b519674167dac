package simulation

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdmodel"
	"github.com/sirupsen/logrus"
)

// requestTimeout is etcd_request_timeout's default.
const requestTimeout = time.Second

// process is one program that runs: a fleetd, or an operator at an API.
type process struct {
	world *world
	name  string
	host  *Host // nil: an operator's
	link  *link
	life  context.Context

	registry *registry.Registry
	tasks    []*task
	feeds    []*following
	dead     bool
	frozen   time.Time // until then no task goes on
	touched  bool
	leads    bool // its engine does
}

func (w *world) process(name string, host *Host, at *link, log *logrus.Entry) *process {
	p := &process{world: w, name: name, host: host, link: at, life: context.Background()}
	client := &etcdmodel.Client{Store: w.store, Send: p.send}
	p.registry = registry.Over(registry.Model{
		KV: client, Lease: client, Watcher: etcdmodel.Silent{}, Clock: processClock{p},
		Random: bytesOf{w.rand}, Shuffle: w.rand.Shuffle, Most: w.plan.batch,
	}, registry.Config{Log: log, RequestTimeout: requestTimeout})
	return p
}

// Registry is Process's.
func (p *process) Registry() *registry.Registry { return p.registry }

// Now is Process's.
func (p *process) Now() time.Time { return hostClock{p.world, p.link}.Now() }

// monotonic is what the clock shows that nobody sets.
func (p *process) monotonic() time.Duration {
	return hostClock{p.world, p.link}.monotonic(p.world.now)
}

// trueTime is when that clock will show m.
func (p *process) trueTime(m time.Duration) time.Time {
	return hostClock{p.world, p.link}.trueTime(m)
}

// Freeze is Process's.
func (p *process) Freeze(until time.Time) {
	if until.After(p.frozen) {
		p.frozen = until
	}
}

// Kill is Process's.
func (p *process) Kill() {
	if p.dead {
		return
	}
	p.dead, p.leads = true, false
	for _, f := range p.feeds {
		p.world.unwatch(f)
	}
	for _, t := range p.tasks {
		if t != p.world.running {
			t.stop()
		}
	}
	p.tasks, p.feeds = nil, nil
}

// processClock is the clock of a process's registry.
type processClock struct{ *process }

func (c processClock) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() == nil {
		c.sleep(d)
	}
	return ctx.Err()
}

// Lock looks at a lock again and again: who holds it is another task of the
// process, which waits for etcd.
func (c processClock) Lock(l *sync.Mutex) {
	for !l.TryLock() {
		c.sleep(2 * time.Millisecond)
	}
}

// bytesOf reads from a world's chance.
type bytesOf struct{ *rand.Rand }

func (r bytesOf) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// chance gives a source of its own to a part of the world, so that what one
// draws changes nothing for the others.
func chance(seed uint64, part string) *rand.Rand {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	copy(b[8:], part)
	return rand.New(rand.NewChaCha8(b))
}
