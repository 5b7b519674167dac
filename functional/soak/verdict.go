package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tablesName is the file in the soak's directory that has its tables.
const tablesName = "soak.md"

// least is how many marks growth can be judged by: the first doesn't count, then
// one to compare with, and those that are compared.
const least = 2 + last

// last is how many marks are compared.
const last = 3

// series is one figure over the marks.
type series struct {
	name string
	// allowed is what a figure may rise by without growing: a part of it, and a
	// number.
	part, number float64
	values       []float64
}

// grown says whether the figure keeps rising.
func (s series) grown() bool {
	if len(s.values) < least {
		return false
	}
	before := s.values[1]
	return slices.Min(s.values[len(s.values)-last:]) > before+before*s.part+s.number
}

// allowed gives the series that are judged. What a figure may rise by is what it
// was seen to differ by between marks of a process that had done the same:
//
//   - goroutines and descriptors by as many as a connection has, for one may be
//     closing or opening anew as the figure is taken;
//   - objects by 1,500, which is what the engine holds if it leads, and by a twentieth:
//     between two marks lie a thousand commands and more, so that two lost objects for
//     each command are far above it;
//   - bytes in use by a quarter of a megabyte, for the same, and by a tenth, for a map
//     keeps the room that it once had;
//   - what is resident by a quarter, for what the kernel has not taken back counts.
//     It is the least certain, and the figure that matters most;
//   - etcd's database by a quarter of a megabyte: it counts pages of 4 KiB, many of
//     them half full, and keeps the alarms and members of all time.
func (s *soak) allowed() []series {
	var all []series
	add := func(name string, part, number float64, of func(*mark) float64) {
		one := series{name: name, part: part, number: number}
		for _, m := range s.marks {
			one.values = append(one.values, of(m))
		}
		all = append(all, one)
	}
	add("keys", 0, 0, func(m *mark) float64 { return float64(m.figures.keys) })
	add("leases", 0, 0, func(m *mark) float64 { return float64(m.figures.leases) })
	add("etcd's bytes in use", 0, 256<<10, func(m *mark) float64 { return m.figures.etcd })
	for i, h := range s.Hosts {
		fleetd := func(m *mark) process { return m.figures.fleetd[i] }
		name := "fleetd's %s on " + h.Name()
		add(fmt.Sprintf(name, "goroutines"), 0, 4, func(m *mark) float64 { return fleetd(m).goroutines })
		add(fmt.Sprintf(name, "descriptors"), 0, 2, func(m *mark) float64 { return fleetd(m).descriptors })
		if h != s.steady() {
			continue
		}
		add(fmt.Sprintf(name, "objects"), 0.05, 1500, func(m *mark) float64 { return fleetd(m).objects })
		add(fmt.Sprintf(name, "bytes in use"), 0.1, 256<<10, func(m *mark) float64 { return fleetd(m).heap })
		add(fmt.Sprintf(name, "resident bytes"), 0.25, 0, func(m *mark) float64 { return fleetd(m).resident })
	}
	return all
}

// verdict prints the tables and says what was wrong, if anything was.
func (s *soak) verdict() error {
	table := s.tables()
	fmt.Print("\n" + table)
	err := os.WriteFile(filepath.Join(s.dir, tablesName), []byte(table), 0o644)
	wrong := 0
	for _, m := range s.marks {
		wrong += len(m.wrong)
	}
	if wrong > 0 {
		err = errors.Join(err, fmt.Errorf("%d things were wrong, see above", wrong))
	}
	if n := len(s.Hosts) - 1; s.marks[0].figures.fleetd[n].pid != s.marks[len(s.marks)-1].figures.fleetd[n].pid {
		err = errors.Join(err, fmt.Errorf("fleetd on %s is not the one that it was: it died, for nothing here has killed it", s.steady().Name()))
	}
	for _, one := range s.allowed() {
		if one.grown() {
			err = errors.Join(err, fmt.Errorf("%s have grown: %.0f", one.name, one.values))
		}
	}
	if err == nil && len(s.marks) < least {
		s.say("nothing was lost, doubled or left over; growth shows from %d marks on", least)
	} else if err == nil {
		s.say("nothing was lost, doubled or left over, and nothing has grown")
	}
	return err
}

// tables are the marks in Markdown, for docs/reliability.md.
func (s *soak) tables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, seed %d.\n\n", s.where, s.whole, s.seed)
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(cells ...string) {
		row(cells...)
		fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(cells)))
	}
	head("after", "faults", "commands", "refused or failed", "units", "settled", "lost", "doubled", "twice, out of touch", "etcd's keys", "leases", "etcd's data", "repairs")
	for _, m := range s.marks {
		f := m.figures
		apart := "none"
		if m.apart > 0 {
			apart = fmt.Sprintf("%d, for %.1f s at most", m.apart, m.longest.Seconds())
		}
		row(m.after.String(), fmt.Sprint(m.faults), fmt.Sprint(m.tally.acked), fmt.Sprint(m.tally.failed), fmt.Sprint(m.units), fmt.Sprintf("%.1f s", m.settled.Seconds()),
			fmt.Sprint(m.lost), fmt.Sprint(m.doubled), apart, fmt.Sprint(f.keys), fmt.Sprint(f.leases), fmt.Sprintf("%.0f KiB", f.etcd/1024), fmt.Sprintf("%.0f", f.repairs))
	}
	b.WriteString("\n")
	head("after", "host", "fleetd's process", "goroutines", "descriptors", "objects in use", "memory in use", "resident", "etcd's goroutines", "descriptors", "resident")
	for _, m := range s.marks {
		for i, p := range m.figures.fleetd {
			e := m.figures.members[i]
			row(m.after.String(), s.Hosts[i].Name(), p.pid, fmt.Sprint(p.goroutines), fmt.Sprint(p.descriptors), fmt.Sprint(p.objects), fmt.Sprintf("%.0f KiB", p.heap/1024),
				fmt.Sprintf("%.1f MiB", p.resident/(1<<20)), fmt.Sprint(e.goroutines), fmt.Sprint(e.descriptors), fmt.Sprintf("%.1f MiB", e.resident/(1<<20)))
		}
	}
	b.WriteString("\nThe faults: ")
	var each []string
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		each = append(each, fmt.Sprintf("%s (%d)", name, s.faults[name]))
	}
	fmt.Fprintf(&b, "%s.\n", strings.Join(each, ", "))
	return b.String()
}
