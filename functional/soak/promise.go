package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// write is one command's doing to a value.
type write[V comparable] struct {
	began time.Time
	// acked is when its success was known; zero: it failed, or nobody knows, and
	// may come true any time later, or not.
	acked time.Time
	// values are what it may have made of the value.
	values []V
}

// register is a value that several write at a time.
type register[V comparable] struct{ writes []write[V] }

// note adds a write that is over, and forgets those that it has put an end to.
func (r *register[V]) note(w write[V]) {
	r.writes = append(r.writes, w)
	r.writes = slices.DeleteFunc(r.writes, func(old write[V]) bool {
		return !old.acked.IsZero() && slices.ContainsFunc(r.writes, func(w write[V]) bool {
			return !w.acked.IsZero() && w.began.After(old.acked)
		})
	})
}

// possible is what the value may be, in the order of the writes.
func (r *register[V]) possible() []V {
	var all []V
	for _, w := range r.writes {
		for _, v := range w.values {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	return all
}

// reset notes a value that was seen while nobody wrote.
func (r *register[V]) reset(value V, at time.Time) {
	r.writes = []write[V]{{began: at, acked: at, values: []V{value}}}
}

// wish is what operators have asked for of one unit. One that isn't there is
// destroyed, and has no text.
type wish struct {
	state register[unit.Target]
	text  register[unit.Hash]
}

// promises are what was acknowledged of all units.
type promises struct {
	mu     sync.Mutex
	wishes map[unit.Name]*wish
	count  tally
}

// tally counts commands.
type tally struct{ acked, failed int }

func newPromises() *promises { return &promises{wishes: map[unit.Name]*wish{}} }

func (p *promises) wish(name unit.Name) *wish {
	w := p.wishes[name]
	if w == nil {
		w = &wish{}
		before := time.Time{}.Add(1) // any command
		w.state.reset(unit.TargetDestroyed, before)
		w.text.reset("", before)
		p.wishes[name] = w
	}
	return w
}

// note notes a command that is over.
func (p *promises) note(c command, began time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var acked time.Time
	if err == nil {
		acked = time.Now()
		p.count.acked++
	} else {
		p.count.failed++
	}
	for _, name := range c.units {
		w := p.wish(name)
		if len(c.becomes) > 0 {
			w.state.note(write[unit.Target]{began, acked, c.becomes})
		}
		if c.text == nil {
			continue
		}
		texts := []unit.Hash{unit.HashOf(c.text(name))}
		if !c.replaces { // a unit that is there keeps its text
			texts = append(texts, w.text.possible()...)
		}
		w.text.note(write[unit.Hash]{began, acked, texts})
	}
}

// tally is how many commands there were since it was asked last.
func (p *promises) tally() tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.count
	p.count = tally{}
	return t
}

// stored is what etcd holds of a unit.
type stored struct {
	Target unit.Target `json:"target"`
	File   unit.Hash   `json:"file"`
}

// broken compares what etcd holds, while nobody writes, with what was
// acknowledged, and takes it for what holds from then on.
func (p *promises) broken(now map[unit.Name]stored) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Now()
	for name := range now {
		p.wish(name)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(p.wishes)) {
		w := p.wishes[name]
		is, there := now[name]
		if !there || is.Target == unit.TargetDestroyed {
			is = stored{Target: unit.TargetDestroyed}
		}
		if may := w.state.possible(); !slices.Contains(may, is.Target) {
			all = append(all, fmt.Sprintf("%s is %s in etcd; acknowledged was %v", name, is.Target, may))
		}
		if may := w.text.possible(); is.File != "" && !slices.Contains(may, is.File) {
			all = append(all, fmt.Sprintf("%s has the text %s; acknowledged was %v", name, is.File, may))
		}
		w.state.reset(is.Target, at)
		w.text.reset(is.File, at)
	}
	return all
}
