// Command plot draws the series that benchmarks have written as one SVG: what a
// size costs, on logarithmic axes, where a straight line is a power and its slope
// the exponent. The same reports give the same file, byte by byte. It is a module
// of its own, so that fleet doesn't depend on what draws.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("out", "", "draw into this file")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: plot -out FILE.svg REPORT.json...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(out string, paths []string) error {
	if out == "" {
		return errors.New("-out FILE.svg says where to draw")
	}
	all, err := read(paths...)
	if err != nil {
		return err
	}
	panels := panelsOf(all)
	if len(panels) == 0 {
		return errors.New("no series in these reports: bench/planner writes some")
	}
	picture, err := render(panels)
	if err != nil {
		return err
	}
	return os.WriteFile(out, picture, 0o644)
}

// series is bench/figure's Series: what a size costs.
type series struct {
	Subject, Name, XLabel, YLabel string
	Points                        []struct{ X, Y float64 }
}

// read gives the series of reports that bench/figure wrote, in their order.
func read(paths ...string) ([]series, error) {
	var all []series
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var report struct{ Series []series }
		if err := json.Unmarshal(text, &report); err != nil {
			return nil, fmt.Errorf("%s: not a report of a benchmark: %w", path, err)
		}
		for _, s := range report.Series {
			for _, p := range s.Points {
				if p.X <= 0 || p.Y <= 0 {
					return nil, fmt.Errorf("%s: series %q: %v, %v has no place on logarithmic axes", path, s.Name, p.X, p.Y)
				}
			}
			if len(s.Points) > 0 {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// panel is what shares its axes.
type panel []series

// panelsOf puts series of the same subject and axes together, in the order in
// which they come.
func panelsOf(all []series) []panel {
	type axes struct{ subject, x, y string }
	at := map[axes]int{}
	var panels []panel
	for _, s := range all {
		key := axes{s.Subject, s.XLabel, s.YLabel}
		i, known := at[key]
		if !known {
			i = len(panels)
			at[key] = i
			panels = append(panels, nil)
		}
		panels[i] = append(panels[i], s)
	}
	return panels
}
