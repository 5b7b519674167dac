package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// listing is a list command's flags.
type listing struct {
	full     bool
	noLegend bool
	fields   string
	output   string
	watch    bool
}

// table is one of the lists.
type table[R any] struct {
	columns map[string]column[R]
	fields  string // that are shown unless asked otherwise
	// key is what tells rows apart.
	key   func(R) string
	rows  func(context.Context) ([]R, error)
	watch func(context.Context, func(api.ListEvent[R]) error) error
}

// column gives one cell of a row; "" is shown as "-".
type column[R any] func(row R, full bool) string

// listCommand makes cmd the command that prints a table.
func listCommand[R any](c *cli, cmd *cobra.Command, t table[R]) *cobra.Command {
	var l listing
	known := slices.Sorted(maps.Keys(t.columns))
	cmd.Args = noArgs
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		fields, err := l.columns(cmd.Flags().Changed("fields"), known)
		if err != nil {
			return err
		}
		if l.watch {
			return watchTable(cmd.Context(), c, l, fields, t)
		}
		rows, err := t.rows(cmd.Context())
		if err != nil {
			return err
		}
		if l.output != "" {
			return c.printData(l.output, rows)
		}
		return printTable(c.stdout, l, fields, t.columns, rows)
	}
	f := cmd.Flags()
	f.BoolVarP(&l.full, "full", "l", false, "don't shorten ids and hashes")
	f.BoolVar(&l.noLegend, "no-legend", false, "print no headers")
	f.StringVar(&l.fields, "fields", t.fields, "columns, of: "+strings.Join(known, ","))
	f.BoolVarP(&l.watch, "watch", "w", false, "go on, and print a row again when it changes")
	_ = cmd.RegisterFlagCompletionFunc("fields", completeFields(known)) // the flag has just been made
	l.addOutput(cmd)
	return cmd
}

func (l *listing) addOutput(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&l.output, "output", "o", "", "print json or yaml, with everything that is known")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)) // the flag has just been made
}

// check refuses flags that make no sense, before anything is asked.
func (l *listing) check() error {
	if l.output != "" && l.output != "json" && l.output != "yaml" {
		return usagef("--output %s: want json or yaml", l.output)
	}
	return nil
}

// columns gives the fields to print as columns.
func (l *listing) columns(chosen bool, known []string) ([]string, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if l.output != "" {
		if chosen {
			return nil, usagef("--fields chooses columns, and --output %s prints everything that is known: leave one of them out", l.output)
		}
		return nil, nil
	}
	if l.fields == "" {
		return nil, failf("Must define output format\nThere are: %s", strings.Join(known, ","))
	}
	fields := strings.Split(l.fields, ",")
	for _, f := range fields {
		if !slices.Contains(known, f) {
			return nil, failf("Invalid key in output format: %q\nThere are: %s", f, strings.Join(known, ","))
		}
	}
	return fields, nil
}

func printTable[R any](out io.Writer, l listing, fields []string, columns map[string]column[R], rows []R) error {
	all := make([][]string, 0, len(rows)+1)
	if !l.noLegend {
		all = append(all, headers(fields))
	}
	cells := make([]string, 0, len(rows)*len(fields)) // of all rows
	show := columnsOf(fields, columns)
	for _, row := range rows {
		from := len(cells)
		cells = appendCells(cells, row, show, l.full)
		all = append(all, cells[from:])
	}
	return printAligned(out, &alignment{}, all)
}

// printAligned writes rows at once, in columns that fit them all.
func printAligned(out io.Writer, a *alignment, rows [][]string) error {
	for _, r := range rows {
		a.fit(r)
	}
	var text []byte
	for _, r := range rows {
		if text = a.appendLine(text, r); len(text) >= printAtOnce {
			if _, err := out.Write(text); err != nil {
				return err
			}
			text = text[:0]
		}
	}
	_, err := out.Write(text)
	return err
}

// printAtOnce is how much is written at a time, and some.
const printAtOnce = 64 << 10

func headers(fields []string) []string {
	return strings.Split(strings.ToUpper(strings.Join(fields, ",")), ",")
}

func columnsOf[R any](fields []string, columns map[string]column[R]) []column[R] {
	out := make([]column[R], len(fields))
	for i, f := range fields {
		out[i] = columns[f]
	}
	return out
}

func appendCells[R any](cells []string, row R, columns []column[R], full bool) []string {
	for _, c := range columns {
		cells = append(cells, cellText(c(row, full)))
	}
	return cells
}

func (c *cli) printData(format string, data any) error {
	text, err := json.MarshalIndent(data, "", "  ")
	if err == nil && format == "yaml" {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, strings.TrimRight(string(text), "\n"))
	return err
}

// pairs writes metadata as k=v,k=v, sorted.
func pairs(m map[string]string) string {
	out := make([]string, 0, len(m))
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
