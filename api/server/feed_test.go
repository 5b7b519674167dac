package server

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// textRow is a row that is a text.
type textRow string

// textFeed is a feed of rows that a test sets, all of units.
type textFeed struct {
	*feed
	cache *cache
	rows  map[unit.Name]textRow
}

func newTextFeed() *textFeed {
	f := &textFeed{cache: newCache(), rows: map[unit.Name]textRow{}}
	f.feed = &feed{
		kind: unitList,
		keys: func(*cache) (keys []record.Key) {
			for n := range f.rows {
				keys = append(keys, record.Key{Unit: n})
			}
			return keys
		},
		row: func(_ *cache, k record.Key) row {
			if r, there := f.rows[k.Unit]; there {
				return r
			}
			return nil
		},
	}
	return f
}

// set makes a row; "" takes it away.
func (f *textFeed) set(name unit.Name, text textRow) {
	if f.rows[name] = text; text == "" {
		delete(f.rows, name)
	}
	f.touch(record.Key{Unit: name})
}

// kept counts the versions that are kept.
func (f *textFeed) kept() (n int) {
	for _, h := range f.feed.rows {
		n += len(h.versions)
	}
	return n
}

func TestWatchesShareRows(t *testing.T) {
	f := newTextFeed()
	for i := range 100 {
		f.set(unit.Name(fmt.Sprintf("%03d", i)), "old")
	}
	var watches []*feedWatch
	var first []*version
	for range 50 {
		w, rows := f.join(f.cache, nil)
		if first == nil {
			first = rows
		}
		if len(rows) != 100 || &rows[0] != &first[0] || !slices.IsSortedFunc(rows, func(a, b *version) int { return compareKeys(a.key, b.key) }) {
			t.Fatalf("%d rows, of which this watch has a list of its own", len(rows))
		}
		watches = append(watches, w)
	}
	told := func(when string, want int, of ...*feedWatch) {
		t.Helper()
		for _, w := range of {
			if news, err := w.next(f.cache); err != nil || len(news) != want {
				t.Fatalf("%s: %d events, %v", when, len(news), err)
			}
		}
	}
	for i := range 10 {
		f.set(unit.Name(fmt.Sprintf("%03d", i)), "new")
	}
	told("after a change", 10, watches...)
	f.set("050", "new")
	told("after another", 1, watches[0])
	// What the others have come past is not kept; of what they haven't, the last
	// that they told.
	if got := f.kept(); got != 101 {
		t.Errorf("%d versions of 100 rows are kept", got)
	}
	told("the others", 1, watches[1:]...)
	f.set("050", "")
	told("taken away", 1, watches...)
	f.set("051", "new")
	told("something else", 1, watches...)
	if _, there := f.feed.rows[record.Key{Unit: "050"}]; there {
		t.Error("a row is kept that is gone")
	}
	for _, w := range watches {
		w.leave()
	}
	if f.feed.rows != nil || f.log != nil || f.sorted != nil {
		t.Error("rows are kept without a watch")
	}
}

// A watch that is not read must not have everything kept for it; and however far
// behind it is, no other is held up.
func TestWatchThatIsNotReadIsCutOff(t *testing.T) {
	f := newTextFeed()
	f.set("a", "0")
	slow, _ := f.join(f.cache, nil)
	quick, _ := f.join(f.cache, nil)
	most := 0
	for i := range 3 * leastBehind {
		f.set("a", textRow(fmt.Sprint(i+1)))
		if news, err := quick.next(f.cache); err != nil || len(news) != 1 {
			t.Fatalf("%v %v", news, err)
		}
		most = max(most, f.kept())
	}
	if limit := leastBehind + 10; most < leastBehind || most > limit {
		t.Errorf("%d versions were kept, want some %d", most, limit)
	}
	if _, err := slow.next(f.cache); !errors.Is(err, errTooSlow) {
		t.Errorf("the slow watch goes on: %v", err)
	}
	if got := f.kept(); got > 2 {
		t.Errorf("%d versions are kept", got)
	}
}

// Whatever happens, and whenever watches look: what a watch is told leads from
// the rows that it knows to the rows as they are, and no event is in vain.
func TestWatchesAreToldWhatBecomes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newTextFeed()
		names := []unit.Name{"a", "b", "c"}
		type follower struct {
			watch *feedWatch
			knows map[unit.Name]textRow
		}
		var followers []*follower
		look := func(w *follower) {
			news, err := w.watch.next(f.cache)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range news {
				name := unit.Name(string(e.row.(textRow))[:1])
				before, known := w.knows[name]
				switch {
				case e.kind == "ADDED" && !known, e.kind == "MODIFIED" && known && before != e.row:
					w.knows[name] = e.row.(textRow)
				case e.kind == "DELETED" && known && before == e.row:
					delete(w.knows, name)
				default:
					t.Fatalf("told %s %s, knowing %q", e.kind, e.row, before)
				}
			}
			want := maps.Clone(f.rows)
			if w.watch.wants != nil {
				delete(want, "c")
			}
			if diff := cmp.Diff(want, w.knows); diff != "" {
				t.Fatal(diff)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				f.set(name, textRow(string(name)+rapid.SampledFrom([]string{"1", "2"}).Draw(t, "text")))
			},
			"remove": func(t *rapid.T) { f.set(rapid.SampledFrom(names).Draw(t, "name"), "") },
			"reset":  func(*rapid.T) { f.touchAll() },
			"join": func(t *rapid.T) {
				var wants func(record.Key) bool
				if rapid.Bool().Draw(t, "some") {
					wants = func(k record.Key) bool { return k.Unit != "c" }
				}
				w, rows := f.join(f.cache, wants)
				n := &follower{w, map[unit.Name]textRow{}}
				for _, v := range rows {
					if wants == nil || wants(v.key) {
						n.knows[v.key.Unit] = v.row.(textRow)
					}
				}
				followers = append(followers, n)
				look(n)
			},
			"leave": func(t *rapid.T) {
				if len(followers) > 0 {
					followers[0].watch.leave()
					followers = followers[1:]
				}
			},
			"look": func(t *rapid.T) {
				if len(followers) > 0 {
					look(rapid.SampledFrom(followers).Draw(t, "who"))
				}
			},
		})
		for _, w := range followers {
			look(w)
		}
	})
}

// A watch is woken when there may be something to tell, and not otherwise.
func TestWatchesAreWoken(t *testing.T) {
	c := newCache()
	c.update(registry.Update{Reset: true, View: clusterOf("10.0.0.1")})
	w, _ := c.feeds[unitList].join(c, nil)
	woken := func() bool {
		select {
		case <-w.ready:
			return true
		default:
			return false
		}
	}
	change := func(ch record.Change) {
		c.update(registry.Update{View: record.NewView(), Changes: []record.Change{ch}})
	}
	change(record.UnitChange{Name: "b.service", New: &record.Unit{File: "h", Target: unit.TargetLoaded}})
	if !woken() {
		t.Error("not woken by a change")
	}
	if news, err := w.next(c); err != nil || len(news) != 1 || news[0].kind != "MODIFIED" {
		t.Errorf("%v %v", news, err)
	}
	change(record.OverridesChange{ID: "m1", New: &record.Overrides{Cordoned: true}})
	if woken() {
		t.Error("woken by what no unit has")
	}
}

// BenchmarkWatches tells what 1,000 watches of 10,000 units take of memory.
func BenchmarkWatches(b *testing.B) {
	c := newCache()
	units := []record.Change{record.FileChange{Hash: "h", Text: []byte("[Service]\nExecStart=/bin/app\n")}}
	for i := range 10000 {
		units = append(units, record.UnitChange{Name: unit.Name(fmt.Sprintf("app@%05d.service", i)), New: &record.Unit{File: "h", Target: unit.TargetLaunched}})
	}
	c.update(registry.Update{Reset: true, View: clusterOf("10.0.0.1", units...)})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const watches = 1000
	f := c.feeds[unitList]
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		before := heap()
		first, _ := f.join(c, nil)
		one := heap()
		b.StartTimer()
		all := []*feedWatch{first}
		for range watches {
			w, _ := f.join(c, nil)
			all = append(all, w)
		}
		b.StopTimer()
		b.ReportMetric(float64(one-before), "B/first")
		b.ReportMetric(float64(heap()-one)/watches, "B/watch")
		for _, w := range all {
			w.leave()
		}
		b.StartTimer()
	}
	if row := f.row(c, record.Key{Unit: "app@00007.service"}).(*unitRow); !strings.HasPrefix(string(row.Options), `[{`) {
		b.Fatal(row)
	}
}
