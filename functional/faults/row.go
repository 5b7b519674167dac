package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
)

// OutDir is where the rows are kept, in the project's directory.
const OutDir = "dist/out/faults"

// Result is one row of the table: a fault, what was promised, what was seen.
type Result struct {
	// Name is the row's, as it is chosen by; the table is in the order of Number,
	// then of names.
	Name   string
	Number int
	Fault  string
	// Promised is what must come of it, as an operator would say it.
	Promised string
	Test     string
	Seen     Seen
	// Held: all that was promised came true.
	Held  bool
	Where string // when, and on what machine
}

// Seen is what became of the units.
type Seen struct {
	Units int
	Lost  int // run nowhere at the end
	// Doubled ran twice at one time while both hosts could reach etcd; Apart, while
	// one was cut off, for at most ApartFor seconds.
	Doubled   int
	Apart     int     `json:",omitempty"`
	ApartFor  float64 `json:",omitempty"`
	Restarted int     // began anew on the same host
	Moved     int     // began anew on another
	// Away is the longest that a unit ran nowhere, in seconds; Converged how long
	// after the fault the last unit began or ended.
	Away, Converged float64
	// Uncounted: what is 0 of restarted, moved and away wasn't counted.
	Uncounted bool   `json:",omitempty"`
	Note      string `json:",omitempty"`
}

// Seen sums an account up.
func (a *Account) Seen() Seen {
	s := Seen{
		Units: a.Units, Lost: len(a.Lost), Restarted: len(a.Restarted), Moved: len(a.Moved),
		Away: seconds(a.Away), Converged: seconds(a.Settled.Sub(a.From)),
	}
	for _, d := range a.Doubles {
		if d.InTouch > 0 {
			s.Doubled++
		}
		if apart := d.Together - d.InTouch; apart > 0 {
			s.Apart++
			s.ApartFor = max(s.ApartFor, seconds(apart))
		}
	}
	return s
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Millisecond)) / float64(time.Second)
}

// heads are the columns of the table.
var heads = []string{"fault", "promised", "units", "lost", "doubled", "restarted", "moved", "longest away", "settled after", "note", "test"}

func (r *Result) cells() []string {
	s := r.Seen
	doubled := fmt.Sprint(s.Doubled)
	if s.Apart > 0 {
		doubled += fmt.Sprintf(" (%d while a host was out of touch, for %.1f s)", s.Apart, s.ApartFor)
	}
	promised := r.Promised
	if !r.Held {
		promised = "BROKEN: " + promised
	}
	counted := func(format string, n float64) string {
		if s.Uncounted && n == 0 {
			return "–"
		}
		return fmt.Sprintf(format, n)
	}
	return []string{
		r.Fault, promised, fmt.Sprint(s.Units), fmt.Sprint(s.Lost), doubled, counted("%.0f", float64(s.Restarted)), counted("%.0f", float64(s.Moved)),
		counted("%.1f s", s.Away), fmt.Sprintf("%.1f s", s.Converged), s.Note, r.Test,
	}
}

// String is the row as one line: the fault, what was promised, what was seen.
func (r *Result) String() string {
	c := r.cells()
	line := fmt.Sprintf("FAULT %s | PROMISED %s | SEEN of %s units: lost %s, doubled %s, restarted %s, moved %s; longest away %s, settled after %s",
		c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8])
	if r.Seen.Note != "" {
		line += "; " + r.Seen.Note
	}
	return line
}

// Write keeps the row in a directory, for the table.
func (r *Result) Write(dir string) error {
	r.Where = figure.Where()
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Name+".json"), append(text, '\n'), 0o644)
}

// ReadResults reads the rows that lie in a directory, in the table's order.
func ReadResults(dir string) ([]*Result, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Result
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r := &Result{}
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("%s: not a row of the table of faults: %w", path, err)
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b *Result) int { return a.Number - b.Number }) // Glob sorts by name
	return all, nil
}

// Table is the rows as a table for a terminal: a part for each, for their cells
// are sentences.
func Table(rows []*Result) string {
	var b strings.Builder
	held := 0
	for _, r := range rows {
		fmt.Fprintln(&b, r)
		if r.Held {
			held++
		}
	}
	fmt.Fprintf(&b, "%d faults, %d of them with all that was promised\n", len(rows), held)
	return b.String()
}

// Markdown is the rows as a table of a page.
func Markdown(rows []*Result) string {
	var b strings.Builder
	var where []string
	for _, r := range rows {
		if !slices.Contains(where, r.Where) {
			where = append(where, r.Where)
		}
	}
	fmt.Fprintf(&b, "%s\n\n| %s |\n|%s\n", strings.Join(where, "\n"), strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, r := range rows {
		cells := r.cells()
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.ReplaceAll(strings.Join(cells, " | "), "  ", " "))
	}
	return b.String()
}
