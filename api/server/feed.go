package server

import (
	"cmp"
	"errors"
	"math"
	"reflect"
	"slices"
	"sync"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/registry/record"
)

// feed is what has become of a list's rows, kept once for all watches of the
// list. A watch remembers no rows: only how far in the feed it has come, so that
// a thousand watches of a list cost little more than one.
//
// Each change of a row makes a version of it, under the next number. A version
// that was replaced is kept until every watch has come past that: what a watch
// has told of a row is the version that it had when the watch last looked.
type feed struct {
	kind listKind
	keys func(*cache) []record.Key // of all rows, and perhaps of more; the cache's lock must be held
	// row makes a row; nil if there is none. The cache's lock must be held.
	row func(*cache, record.Key) row

	// touched are the rows to look at again. It has a lock of its own, under
	// which no other is taken: the cache touches rows while it is locked.
	touched struct {
		sync.Mutex
		keys    map[record.Key]struct{}
		all     bool
		watches map[*feedWatch]struct{}
	}

	mu   sync.RWMutex // before the cache's
	rows map[record.Key]*history
	log  []change // in order; the watches have come past those before
	last uint64   // number
	// sorted are the rows as they are, in order; nil until somebody asks.
	sorted []*version
}

// row is one row of a list, which nobody changes: a pointer to what its JSON is
// made of.
type row any

// history is a row's versions, the latest last.
type history struct {
	key      record.Key
	versions []*version
}

func (h *history) latest() *version { return h.versions[len(h.versions)-1] }

// at gives the version that the row had at a number; nil if there was no row.
func (h *history) at(number uint64) *version {
	for _, v := range slices.Backward(h.versions) {
		if v.number <= number {
			return v
		}
	}
	return nil
}

// next gives the version that followed one, of which the row is different.
func (h *history) next(to *version) *version { return h.versions[slices.Index(h.versions, to)+1] }

type version struct {
	number uint64
	key    record.Key
	row    row // nil: the row was taken away
}

func (v *version) gone() bool { return v == nil || v.row == nil }

// change is a step in the feed.
type change struct {
	of     *history
	number uint64
	drop   int // so many of the row's oldest versions are needed no more once all have come past
}

// told is an event of a list, about one row.
type told struct {
	kind api.EventType
	row  row
}

// feedWatch is one watch's place in a feed.
type feedWatch struct {
	feed  *feed
	wants func(record.Key) bool // nil: all rows
	at    uint64
	cut   bool
	ready chan struct{} // has one element while there may be news
}

var errTooSlow = errors.New("the list changes faster than this watch is read")

// touch has watches look at a row again.
func (f *feed) touch(k record.Key) {
	f.touched.Lock()
	defer f.touched.Unlock()
	if len(f.touched.watches) > 0 {
		f.touched.keys[k] = struct{}{}
		f.wake()
	}
}

// touchAll has watches look at all rows again.
func (f *feed) touchAll() {
	f.touched.Lock()
	defer f.touched.Unlock()
	f.touched.all = true
	f.wake()
}

// watched reports whether there are watches.
func (f *feed) watched() bool {
	f.touched.Lock()
	defer f.touched.Unlock()
	return len(f.touched.watches) > 0
}

func (f *feed) wake() {
	for w := range f.touched.watches {
		select {
		case w.ready <- struct{}{}:
		default:
		}
	}
}

// join begins a watch. It gives the rows as they are now, in order, of which the
// watch may want only some.
func (f *feed) join(c *cache, wants func(record.Key) bool) (*feedWatch, []*version) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &feedWatch{feed: f, wants: wants, ready: make(chan struct{}, 1)}
	f.touched.Lock()
	if len(f.touched.watches) == 0 {
		f.rows, f.log, f.sorted = map[record.Key]*history{}, nil, nil
		f.touched.keys, f.touched.watches, f.touched.all = map[record.Key]struct{}{}, map[*feedWatch]struct{}{}, true
	}
	f.touched.watches[w] = struct{}{}
	f.touched.Unlock()
	w.at = math.MaxUint64 // it has told nothing yet: nothing must be kept for it
	f.refresh(c)
	w.at = f.last
	if f.sorted == nil {
		f.sorted = make([]*version, 0, len(f.rows))
		for _, h := range f.rows {
			if v := h.latest(); !v.gone() {
				f.sorted = append(f.sorted, v)
			}
		}
		slices.SortFunc(f.sorted, func(a, b *version) int { return compareKeys(a.key, b.key) })
	}
	return w, f.sorted
}

// leave ends a watch. The last one takes the rows with it.
func (w *feedWatch) leave() {
	f := w.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	f.touched.Lock()
	defer f.touched.Unlock()
	delete(f.touched.watches, w)
	if len(f.touched.watches) == 0 {
		f.rows, f.log, f.sorted = nil, nil, nil
		clear(f.touched.keys)
	}
}

// next gives what has become of rows since the watch last asked.
func (w *feedWatch) next(c *cache) ([]told, error) {
	f := w.feed
	// A thousand watches are woken at a time. The first one makes the versions, and
	// all read them side by side: whoever finds nothing touched waits here until
	// they are made.
	if f.stale() {
		f.renew(c)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if w.cut {
		return nil, errTooSlow
	}
	from, _ := slices.BinarySearchFunc(f.log, w.at+1, func(c change, n uint64) int { return cmp.Compare(c.number, n) })
	var events []told
	for _, ch := range f.log[from:] {
		now := ch.of.latest()
		if now.number != ch.number || w.wants != nil && !w.wants(ch.of.key) {
			continue // it changed again later
		}
		switch before := ch.of.at(w.at); {
		case before.gone() && now.gone(): // it came and went
		case before.gone():
			events = append(events, told{api.Added, now.row})
		case now.gone():
			events = append(events, told{api.Deleted, before.row})
		case ch.of.next(before) == now || !sameRow(before.row, now.row): // else it is again what it was
			events = append(events, told{api.Modified, now.row})
		}
	}
	w.at = f.last
	return events, nil
}

// stale reports whether rows were touched. They are taken off that list only
// while the feed is locked.
func (f *feed) stale() bool {
	f.touched.Lock()
	defer f.touched.Unlock()
	return f.touched.all || len(f.touched.keys) > 0
}

func (f *feed) renew(c *cache) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh(c)
}

// refresh makes versions of the rows that were touched, where they are different.
func (f *feed) refresh(c *cache) {
	f.touched.Lock()
	keys := make([]record.Key, 0, len(f.touched.keys))
	for k := range f.touched.keys {
		keys = append(keys, k)
	}
	all := f.touched.all
	f.touched.all = false
	clear(f.touched.keys)
	f.touched.Unlock()
	if all {
		keys = f.allKeys(c)
		for k := range f.rows {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return
	}
	slices.SortFunc(keys, compareKeys)
	for _, k := range slices.Compact(keys) {
		f.put(k, f.at(c, k))
	}
	f.forget()
}

// allKeys and at take the cache's lock, and give it back though a mistake in a
// row may panic: one watch must not hold up all of fleetd.
func (f *feed) allKeys(c *cache) []record.Key {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return f.keys(c)
}

func (f *feed) at(c *cache, k record.Key) row {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return f.row(c, k)
}

// put makes a version of a row if it has changed.
func (f *feed) put(k record.Key, now row) {
	h := f.rows[k]
	var before *version
	if h != nil {
		before = h.latest()
	}
	if before.gone() && now == nil || !before.gone() && now != nil && sameRow(before.row, now) {
		return
	}
	if h == nil {
		h = &history{key: k}
		f.rows[k] = h
	}
	f.last++
	h.versions = append(h.versions, &version{number: f.last, key: k, row: now})
	ch := change{of: h, number: f.last}
	if !before.gone() {
		ch.drop++
	}
	if now == nil {
		ch.drop++ // itself
	}
	f.log = append(f.log, ch)
	f.sorted = nil
}

// sameRow reports whether two rows are told alike.
func sameRow(before, now row) bool {
	return reflect.DeepEqual(before, now)
}

// forget drops what all watches have come past. A watch that would have too much
// kept for it is cut off: who reads so slowly is better served by a new list.
func (f *feed) forget() {
	f.touched.Lock()
	defer f.touched.Unlock()
	slowest := f.last
	for w := range f.touched.watches {
		if !w.cut {
			slowest = min(slowest, w.at)
		}
	}
	if most := 2*len(f.rows) + leastBehind; len(f.log) > most {
		slowest = max(slowest, f.log[len(f.log)-most-1].number)
		for w := range f.touched.watches {
			w.cut = w.cut || w.at < slowest
		}
	}
	n := 0
	for ; n < len(f.log) && f.log[n].number <= slowest; n++ {
		ch := f.log[n]
		ch.of.versions = slices.Delete(ch.of.versions, 0, ch.drop)
		if len(ch.of.versions) == 0 {
			delete(f.rows, ch.of.key)
		}
	}
	f.log = slices.Delete(f.log, 0, n)
}

// leastBehind is how many changes a watch may be behind, however short the list.
const leastBehind = 10000

func compareKeys(a, b record.Key) int {
	return cmp.Or(cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Machine, b.Machine))
}
