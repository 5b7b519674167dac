package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// disk is a host's disk in a directory.
type disk struct{ dir, name string }

func (d disk) Name() string              { return d.name }
func (d disk) OnDisk(path string) string { return filepath.Join(d.dir, d.name, path) }

// wrote puts what a witness of unit u would have written on a host's disk: alive
// every second from one second to another.
func (d disk) wrote(t *testing.T, run string, from, to int, end string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "start %d.00 boot-1\n", from)
	for s := from; s <= to; s++ {
		fmt.Fprintf(&b, "alive %d.00\n", s)
	}
	b.WriteString(end)
	path := d.OnDisk(logDir + "/u.service/" + run)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func at(seconds float64) Moment { return Moment(seconds * float64(time.Second)) }

func TestAccount(t *testing.T) {
	type run struct {
		host, id string
		from, to int
		end      string
	}
	tests := []struct {
		name string
		runs []run
		cuts []Cut
		want Seen
	}{
		{"undisturbed", []run{{"n1", "a", 0, 40, ""}}, nil, Seen{}},
		{"never ran", nil, nil, Seen{Lost: 1, Away: 20}},
		{"killed, and nobody started it again", []run{{"n1", "a", 0, 15, ""}}, nil, Seen{Lost: 1, Away: 15, Converged: 5}},
		{"stopped, and nobody started it again", []run{{"n1", "a", 0, 15, "stop 15.00\n"}}, nil, Seen{Lost: 1, Away: 15, Converged: 5}},
		{"began", []run{{"n1", "a", 12, 40, ""}}, nil, Seen{Away: 2, Converged: 2}},
		{"restarted", []run{{"n1", "a", 0, 12, ""}, {"n1", "b", 13, 40, ""}}, nil, Seen{Restarted: 1, Away: 1, Converged: 3}},
		{"moved", []run{{"n1", "a", 0, 12, ""}, {"n2", "b", 17, 40, ""}}, nil, Seen{Moved: 1, Away: 5, Converged: 7}},
		{"moved and back", []run{{"n1", "a", 0, 12, ""}, {"n2", "b", 14, 18, ""}, {"n1", "c", 20, 40, ""}}, nil, Seen{Moved: 2, Away: 2, Converged: 10}},
		{"moved before, and not since", []run{{"n1", "a", 0, 5, ""}, {"n2", "b", 6, 40, ""}}, nil, Seen{}},
		{"moved after the end", []run{{"n1", "a", 0, 35, ""}, {"n2", "b", 36, 40, ""}}, nil, Seen{}},
		{"twice", []run{{"n1", "a", 0, 40, ""}, {"n2", "b", 15, 40, ""}}, nil, Seen{Doubled: 1, Moved: 1, Converged: 5}},
		{"twice for a while", []run{{"n1", "a", 0, 20, "stop 20.00\n"}, {"n2", "b", 15, 40, ""}}, nil, Seen{Doubled: 1, Moved: 1, Converged: 10}},
		{
			"twice while one is cut off",
			[]run{{"n1", "a", 0, 20, "stop 20.00\n"}, {"n2", "b", 15, 40, ""}},
			[]Cut{{"n1", Span{at(10), at(21)}}},
			Seen{Apart: 1, ApartFor: 5, Moved: 1, Converged: 10},
		},
		{
			"twice while a third is cut off",
			[]run{{"n1", "a", 0, 20, "stop 20.00\n"}, {"n2", "b", 15, 40, ""}},
			[]Cut{{"n3", Span{at(10), at(21)}}},
			Seen{Doubled: 1, Moved: 1, Converged: 10},
		},
		{
			"twice for longer than one is cut off",
			[]run{{"n1", "a", 0, 20, "stop 20.00\n"}, {"n2", "b", 15, 40, ""}},
			[]Cut{{"n1", Span{at(10), at(17)}}, {"n1", Span{at(16), at(18)}}},
			Seen{Doubled: 1, Apart: 1, ApartFor: 3, Moved: 1, Converged: 10},
		},
		{"killed while it stops", []run{{"n1", "a", 0, 12, "stopping 12.10\nalive 13.00\nali"}}, nil, Seen{Lost: 1, Away: 17, Converged: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			disks := []disk{{dir, "n1"}, {dir, "n2"}, {dir, "n3"}}
			for _, r := range tt.runs {
				disk{dir, r.host}.wrote(t, r.id, r.from, r.to, r.end)
			}
			l, err := Read(disks, tt.cuts...)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Units = 1
			if d := cmp.Diff(tt.want, l.Account([]string{"u.service"}, at(10), at(30)).Seen()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// A host that was frozen did nothing meanwhile: that is no time in which its
// units ran.
func TestFrozenIsNotRunning(t *testing.T) {
	d := disk{t.TempDir(), "n1"}
	d.wrote(t, "a", 0, 15, "alive 25.00\nalive 26.00\nalive 30.00\nalive 31.00\n")
	l, err := Read([]disk{d})
	if err != nil {
		t.Fatal(err)
	}
	a := l.Account([]string{"u.service"}, at(10), at(30.5))
	if a.Away != 10*time.Second || len(a.Lost) != 0 {
		t.Errorf("away for %s, lost %v: it was frozen for 10 s, and then ran", a.Away, a.Lost)
	}
}

func TestRunningWantsProof(t *testing.T) {
	d := disk{t.TempDir(), "n1"}
	d.wrote(t, "a", 10, 20, "stop 20.50\n")
	d.wrote(t, "b", 21, 30, "")
	l, err := Read([]disk{d})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at   float64
		want int
	}{{20.9, 0}, {21, 1}, {25, 1}, {30, 1}, {30.1, 0}} {
		if got := len(l.Running("u.service", at(tt.at))); got != tt.want {
			t.Errorf("at %g it ran %d times", tt.at, got)
		}
	}
}

func TestRefusesWhatNoWitnessWrites(t *testing.T) {
	for _, text := range []string{"alive 1.00\n", "start\n", "start x boot\n", "start 1.00 boot\nalive\n"} {
		if l, err := parseLife(text); err == nil {
			t.Errorf("%q is a life: %v", text, l)
		}
	}
}
