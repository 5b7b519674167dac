package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The report is bench/figure's, written anew: with fleet's module, all that
// fleet depends on would have to agree with what SwarmKit depends on.
type report struct {
	Figures []figure
	Series  []series
}

type figure struct {
	Subject, Name string
	Value         float64
	Unit          string
	Beside        *beside `json:",omitempty"`
	Note          string  `json:",omitempty"`
}

type beside struct {
	Name  string
	Value float64
}

type series struct {
	Subject, Name, XLabel, YLabel string
	Points                        []point
}

type point struct{ X, Y float64 }

// sweep is the name of the planner's series of the sizes that are here, in seconds of
// processor time for so many units.
const sweep = "place all, no global units, processor time"

// readSweep finds it in the report of bench/planner; nil if there is no report.
func readSweep(path string) ([]point, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Printf("%s isn't there: SwarmKit's figures stand alone (make bench-planner writes it)\n", path)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range r.Series {
		if s.Subject == "planner" && s.Name == sweep {
			return s.Points, nil
		}
	}
	return nil, fmt.Errorf("%s has no series %q of the planner: has bench/planner named it anew?", path, sweep)
}

// compare adds what the planner makes of a size beside what SwarmKit does.
func (r *report) compare(s size, t took, planner []point) {
	n := float64(s.tasks())
	decided, written := n/t.decided.cpu.Seconds(), n/t.all.cpu.Seconds()
	for _, p := range planner {
		if p.X == n {
			r.add(s.String(), n/p.Y, &beside{"SwarmKit", decided})
			r.add(s.String(), n/p.Y, &beside{"SwarmKit, its store included", written})
			return
		}
	}
	r.add("SwarmKit: "+s.String(), decided, nil)
	r.add("SwarmKit, its store included: "+s.String(), written, nil)
}

func (r *report) add(name string, perSecond float64, peer *beside) {
	r.Figures = append(r.Figures, figure{Subject: "placed a second of processor time", Name: name, Value: perSecond, Unit: "/s", Beside: peer})
}

// write keeps the report where it is wanted.
func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
