package figure

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is what one run of a benchmark program told.
type Report struct {
	// Where says when it was, of which commit and on which machine; of several
	// reports, all that is said of them. Write completes it.
	Where   []string
	Figures []Figure
	Series  []Series `json:",omitempty"`
}

// Add appends figures of one subject.
func (r *Report) Add(subject string, figures ...Figure) {
	for _, f := range figures {
		f.Subject = subject
		r.Figures = append(r.Figures, f)
	}
}

// Write keeps the report in a file, for bench/table.
func (r *Report) Write(path string) error {
	if r.Where == nil {
		r.Where = []string{Where()}
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

// Read takes in the reports of some files, in their order.
func Read(paths ...string) (*Report, error) {
	var all Report
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r Report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: not a report of a benchmark: %w", path, err)
		}
		for _, line := range r.Where {
			if !slices.Contains(all.Where, line) {
				all.Where = append(all.Where, line)
			}
		}
		all.Figures = append(all.Figures, r.Figures...)
		all.Series = append(all.Series, r.Series...)
	}
	return &all, nil
}

// Heads are the columns of the table.
var Heads = []string{"figure", "measured", "floor or peer", "ratio", "wanted", ""}

// Cells are a figure's columns.
func (f Figure) Cells() []string {
	cells := []string{f.Name, quantity(f.Value, f.Unit), "", "", "", ""}
	if f.Beside != nil {
		cells[2] = quantity(f.Beside.Value, f.Unit) + " " + f.Beside.Name
	}
	if ratio, ok := f.Ratio(); ok {
		cells[3] = Number(ratio)
	}
	if f.Want != nil {
		cells[4] = "≤ " + quantity(f.Want.Limit, f.Unit)
		if f.Want.AtLeast {
			cells[4] = "≥ " + quantity(f.Want.Limit, f.Unit)
		}
		cells[5] = "met"
		if !f.Met() {
			cells[5] = "MISSED"
		}
	}
	return cells
}

// String is the report as a table for a terminal, a part for each subject. The
// ratio is to the floor or peer, and where there is none, to what is wanted.
func (r *Report) String() string {
	var rows strings.Builder
	w := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', 0)
	subject := ""
	var notes []string
	for _, f := range r.Figures {
		if f.Subject != subject {
			if subject != "" {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%s\t%s\n", strings.ToUpper(f.Subject), strings.Join(Heads[1:], "\t"))
			subject = f.Subject
		}
		fmt.Fprintln(w, strings.Join(f.Cells(), "\t"))
		if f.Note != "" {
			notes = append(notes, f.Name+": "+f.Note)
		}
	}
	w.Flush()
	var out strings.Builder
	for line := range strings.Lines(rows.String()) {
		fmt.Fprintln(&out, strings.TrimRight(line, " \n"))
	}
	if len(notes) > 0 {
		fmt.Fprintf(&out, "\n%s\n", strings.Join(notes, "\n"))
	}
	return out.String()
}

func quantity(v float64, unit string) string {
	return strings.TrimRight(Number(v)+" "+unit, " ")
}

// Number writes a value as precisely as a benchmark's is worth.
func Number(v float64) string {
	if v == float64(int64(v)) || v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
