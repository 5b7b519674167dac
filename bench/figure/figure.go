// Package figure is what the benchmarks tell: figures, each beside what it is
// held against, and series to plot. A program of bench/ prints its own as a table
// and writes them to a file, of which bench/table makes one table of all.
package figure

import (
	"math"
	"slices"
	"time"
)

// Figure is one line of the table.
type Figure struct {
	// Subject is the part of fleet that it is about, such as "planner".
	Subject string
	// Name says what was measured, as a person would.
	Name  string
	Value float64
	// Unit is what Value is in, such as "ms"; empty for a plain number.
	Unit string
	// Beside is the floor or the peer, in the same unit, measured in the same run.
	Beside *Beside `json:",omitempty"`
	// Want is what was promised; without it, the figure is told for what it is.
	Want *Want `json:",omitempty"`
	// Note is what limits it, or what a reader must know to compare it.
	Note string `json:",omitempty"`
}

// Beside is what a figure is compared with.
type Beside struct {
	Name  string
	Value float64
}

// Want is the limit of a figure, in its unit.
type Want struct {
	Limit   float64
	AtLeast bool // rather than at most
}

// AtMost is the promise that a figure stays below a limit.
func AtMost(limit float64) *Want { return &Want{Limit: limit} }

// AtLeast is the promise that a figure reaches a limit.
func AtLeast(limit float64) *Want { return &Want{Limit: limit, AtLeast: true} }

// Ratio is how many times the floor or the peer a figure is, and where there is
// neither, how many times its limit; false if there is nothing to divide by.
func (f Figure) Ratio() (float64, bool) {
	switch {
	case f.Beside != nil && f.Beside.Value != 0:
		return f.Value / f.Beside.Value, true
	case f.Beside == nil && f.Want != nil && f.Want.Limit != 0:
		return f.Value / f.Want.Limit, true
	}
	return 0, false
}

// Met says whether a figure is what was promised.
func (f Figure) Met() bool {
	switch {
	case f.Want == nil:
		return true
	case f.Want.AtLeast:
		return f.Value >= f.Want.Limit
	}
	return f.Value <= f.Want.Limit
}

// Series is a line to plot: what a size costs.
type Series struct {
	Subject, Name string
	// XLabel and YLabel say what the numbers are, with their units.
	XLabel, YLabel string
	Points         []Point
}

// Point is one measurement of a Series.
type Point struct{ X, Y float64 }

// Exponent is the e of the y = c·x^e that fits the points best.
func (s Series) Exponent() float64 {
	var sx, sy, sxx, sxy float64
	for _, p := range s.Points {
		x, y := math.Log(p.X), math.Log(p.Y)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	n := float64(len(s.Points))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// Quantile is the value below which the part q of all are, by nearest rank: with
// 0.5, the median.
func Quantile(took []time.Duration, q float64) time.Duration {
	took = slices.Sorted(slices.Values(took))
	return took[max(0, int(math.Ceil(q*float64(len(took))))-1)]
}

// Millis gives a duration in milliseconds.
func Millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// Micros gives a duration in microseconds.
func Micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
