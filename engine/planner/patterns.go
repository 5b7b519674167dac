package planner

import (
	"slices"
	"sort"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// relation is the option that a pattern stands in.
type relation uint8

const (
	conflicts relation = iota
	replaces
)

// pattern is one glob of Conflicts or Replaces, shared by all units that name
// it. Who conflicts with whom is never spelled out, unit by unit, for that
// grows with the square of the units: each pattern counts, machine by machine,
// the units that name it and the units that it covers.
type pattern struct {
	relation
	glob    unit.Glob
	authors map[*job]struct{} // units that name it; never empty
	covered map[*job]struct{} // units whose names it matches
	at      map[*host]tally   // machines where any of them is; no zero values
	waiters map[*job]struct{} // of both kinds: those that wait for a place

	ring *ring
	// Once they are many and a search has asked for them, the machines where
	// there are authors, and covered ones, held or leaving.
	authorsOn, coveredOn set
	generation           int // of the ring, for these
}

// tally counts the seats of both kinds on one machine.
type tally struct{ authors, covered seatCounts }

// seatCounts counts seats by presence; index away is not used.
type seatCounts [held + 1]int32

type patternKey struct {
	relation
	glob unit.Glob
}

// patterns indexes the patterns by their literal prefix.
type patterns struct {
	all      map[patternKey]*pattern
	byPrefix map[string][]*pattern
	lengths  []int // of the prefixes, sorted
	perLen   map[int]int
	names    *names
	ring     *ring
}

func newPatterns(n *names, r *ring) *patterns {
	return &patterns{ring: r, all: map[patternKey]*pattern{}, byPrefix: map[string][]*pattern{}, perLen: map[int]int{}, names: n}
}

// introduce finds the patterns that match a new unit.
func (ps *patterns) introduce(j *job) {
	for _, n := range ps.lengths {
		if n > len(j.name) {
			break
		}
		for _, g := range ps.byPrefix[string(j.name[:n])] {
			if g.glob.Match(j.name) {
				g.cover(j)
			}
		}
	}
}

// cover adds a unit that the pattern matches.
func (g *pattern) cover(j *job) {
	g.covered[j] = struct{}{}
	own := j.own()
	own.known = append(own.known, g)
	if j.waiting {
		g.waiters[j] = struct{}{}
	}
	for _, s := range j.seats {
		g.add(s, s.counted, 0, 1)
	}
}

// retire takes a unit out that has no seats and names no patterns.
func (ps *patterns) retire(j *job) {
	for _, g := range j.known {
		delete(g.covered, j)
		delete(g.waiters, j)
	}
	if len(j.known) > 0 {
		j.known = nil
	}
}

// tie makes a unit an author of the patterns. It must not be waiting.
func (ps *patterns) tie(j *job, r relation, globs []unit.Glob) []*pattern {
	var out []*pattern
	for _, glob := range globs {
		g := ps.all[patternKey{r, glob}]
		if g == nil {
			g = ps.create(r, glob)
		}
		if _, ok := g.authors[j]; ok {
			continue
		}
		g.authors[j] = struct{}{}
		for _, s := range j.seats {
			g.add(s, s.counted, 1, 0)
		}
		out = append(out, g)
	}
	return out
}

func (ps *patterns) create(r relation, glob unit.Glob) *pattern {
	g := &pattern{
		relation: r, glob: glob, ring: ps.ring,
		authors: map[*job]struct{}{}, covered: map[*job]struct{}{},
		at: map[*host]tally{}, waiters: map[*job]struct{}{},
	}
	ps.all[patternKey{r, glob}] = g
	prefix := glob.LiteralPrefix()
	ps.byPrefix[prefix] = append(ps.byPrefix[prefix], g)
	if ps.perLen[len(prefix)]++; ps.perLen[len(prefix)] == 1 {
		ps.lengths = append(ps.lengths, len(prefix))
		sort.Ints(ps.lengths)
	}
	ps.names.withPrefix(prefix, func(j *job) {
		if glob.Match(j.name) {
			g.cover(j)
		}
	})
	return g
}

// untie ends a unit's authorship.
func (ps *patterns) untie(j *job, list []*pattern) {
	for _, g := range list {
		for _, s := range j.seats {
			g.add(s, s.counted, -1, 0)
		}
		delete(g.authors, j)
		if !slices.Contains(j.known, g) {
			delete(g.waiters, j)
		}
		if len(g.authors) == 0 {
			ps.remove(g)
		}
	}
}

func (ps *patterns) remove(g *pattern) {
	for j := range g.covered {
		j.known = slices.DeleteFunc(j.known, func(x *pattern) bool { return x == g })
	}
	delete(ps.all, patternKey{g.relation, g.glob})
	prefix := g.glob.LiteralPrefix()
	list := slices.DeleteFunc(ps.byPrefix[prefix], func(x *pattern) bool { return x == g })
	if len(list) == 0 {
		delete(ps.byPrefix, prefix)
	} else {
		ps.byPrefix[prefix] = list
	}
	if ps.perLen[len(prefix)]--; ps.perLen[len(prefix)] == 0 {
		delete(ps.perLen, len(prefix))
		ps.lengths = slices.DeleteFunc(ps.lengths, func(n int) bool { return n == len(prefix) })
	}
}

// count puts a seat of that presence into the tallies, or takes it out.
func (ps *patterns) count(s *seat, as presence, by int32) {
	for _, g := range s.job.wants {
		g.add(s, as, by, 0)
	}
	for _, g := range s.job.takes {
		g.add(s, as, by, 0)
	}
	for _, g := range s.job.known {
		g.add(s, as, 0, by)
	}
}

func (g *pattern) add(s *seat, as presence, authors, covered int32) {
	if as == away {
		return
	}
	t := g.at[s.host]
	t.authors[as] += authors
	t.covered[as] += covered
	if t == (tally{}) {
		delete(g.at, s.host)
	} else {
		g.at[s.host] = t
	}
	if g.authorsOn != nil && g.generation == g.ring.generation && s.host.at >= 0 {
		g.file(s.host.at, t)
	}
}

func (g *pattern) file(at int32, t tally) {
	g.authorsOn.put(at, t.authors.in(enter) > 0)
	g.coveredOn.put(at, t.covered.in(enter) > 0)
}

// move files a machine that had another position, or none.
func (g *pattern) move(h *host, was int32) {
	if g.authorsOn == nil || g.generation != g.ring.generation {
		return
	}
	if was >= 0 {
		g.file(was, tally{})
	}
	g.file(h.at, g.at[h])
}

// refresh brings the sets up to date; false if the machines are few.
func (g *pattern) refresh() bool {
	if len(g.at) <= g.ring.few {
		g.authorsOn, g.coveredOn = nil, nil
		return false
	}
	if g.authorsOn == nil || g.generation != g.ring.generation {
		g.generation = g.ring.generation
		g.authorsOn, g.coveredOn = g.ring.newSet(), g.ring.newSet()
		for h, t := range g.at {
			if h.at >= 0 {
				g.file(h.at, t)
			}
		}
	}
	return true
}

// banned gives machines where patterns keep the unit away; those with few
// machines are left to the filters. It is good until the next call. None of what is
// counted is the unit's own: while it has anything on a live machine, no place is
// searched for it.
func (p *Planner) banned(j *job) set {
	var out set
	ban := func(s set) {
		if out == nil {
			out = append(p.bans[:0], s...)
			p.bans = out
			return
		}
		for i, w := range s {
			out[i] |= w
		}
	}
	for _, list := range [...][]*pattern{j.wants, j.takes} {
		for _, g := range list {
			if g.refresh() {
				ban(g.coveredOn)
			}
		}
	}
	for _, g := range j.known {
		if g.relation == conflicts && g.refresh() {
			ban(g.authorsOn)
		}
	}
	return out
}

// names finds units by how their names begin: a sorted list, with a short
// unsorted one for what came since.
type names struct {
	sorted []*job
	recent []*job
	gone   int // entries of both whose unit is gone
}

// maxRecent bounds what a look-up reads one by one; sorting anew costs a pass
// over all names, so it must not happen at every look-up.
const maxRecent = 256

func (n *names) add(j *job) { n.recent = append(n.recent, j) }

// drop takes note that a unit is gone. Units may come and go for ever without anybody
// asking for names: those that are gone must not gather.
func (n *names) drop() {
	if n.gone++; n.gone > maxRecent && 2*n.gone > len(n.sorted)+len(n.recent) {
		n.sorted, n.recent, n.gone = present(n.sorted), present(n.recent), 0
	}
}

func present(list []*job) []*job { return slices.DeleteFunc(list, func(j *job) bool { return j.gone }) }

func (n *names) withPrefix(prefix string, do func(*job)) {
	if len(n.recent) > maxRecent {
		n.tidy()
	}
	from, _ := slices.BinarySearchFunc(n.sorted, prefix, func(j *job, s string) int {
		return strings.Compare(string(j.name), s)
	})
	for _, j := range n.sorted[from:] {
		if !strings.HasPrefix(string(j.name), prefix) {
			break
		}
		if !j.gone {
			do(j)
		}
	}
	for _, j := range n.recent {
		if !j.gone && strings.HasPrefix(string(j.name), prefix) {
			do(j)
		}
	}
}

func (n *names) tidy() {
	all := present(append(n.sorted, n.recent...))
	slices.SortFunc(all, byName)
	n.sorted, n.recent, n.gone = all, nil, 0
}

func byName(a, b *job) int { return strings.Compare(string(a.name), string(b.name)) }
