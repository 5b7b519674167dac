package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// tabWidth is how far apart fleet 1.0's columns lie, which scripts cut on.
const tabWidth = 8

// alignment lays rows out in columns, by tabs, as text/tabwriter does; but it
// can take rows that come later. Its columns only ever grow.
type alignment struct {
	widths []int // of each column's widest cell
}

// fit makes room for a row.
func (a *alignment) fit(cells []string) {
	for i, cell := range cells {
		if i == len(a.widths) {
			a.widths = append(a.widths, 0)
		}
		a.widths[i] = max(a.widths[i], utf8.RuneCountInString(cell))
	}
}

// appendLine appends a row that there is room for.
func (a *alignment) appendLine(b []byte, cells []string) []byte {
	for i, cell := range cells {
		b = append(b, cell...)
		if i == len(cells)-1 {
			break
		}
		stop := a.widths[i]/tabWidth + 1 // there is a space at least between two cells
		for range stop - utf8.RuneCountInString(cell)/tabWidth {
			b = append(b, '\t')
		}
	}
	return append(b, '\n')
}

// cellText is a value as a cell: "-" if there is none. What would break the
// columns, or the terminal, is left out.
func cellText(value string) string {
	if value == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, value)
}
