package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// listing is a list command's flags.
type listing struct {
	full     bool
	noLegend bool
	fields   string
	output   string
}

func (l *listing) addTo(cmd *cobra.Command, fields string, known []string) {
	cmd.Flags().BoolVarP(&l.full, "full", "l", false, "don't shorten ids and hashes")
	cmd.Flags().BoolVar(&l.noLegend, "no-legend", false, "print no headers")
	cmd.Flags().StringVar(&l.fields, "fields", fields, "columns, of: "+strings.Join(known, ","))
	l.addOutput(cmd)
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

// column gives one cell of a row; "" is shown as "-".
type column[T any] func(row T, full bool) string

// print writes the rows as columns, or whatever the flags ask for. data is what
// json and yaml show.
func printList[T any](c *cli, l listing, columns map[string]column[T], rows []T, data any) error {
	if l.output != "" {
		return c.printData(l.output, data)
	}
	fields := strings.Split(l.fields, ",")
	for _, f := range fields {
		if columns[f] == nil {
			return failf("Invalid key in output format: %q", f)
		}
	}
	out := tabwriter.NewWriter(c.stdout, 0, 8, 1, '\t', 0)
	if !l.noLegend {
		fmt.Fprintln(out, strings.ToUpper(strings.Join(fields, "\t")))
	}
	for _, row := range rows {
		cells := make([]string, len(fields))
		for i, f := range fields {
			if cells[i] = columns[f](row, l.full); cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	return out.Flush()
}

// checkFields refuses an unknown column before anything is asked.
func checkFields[T any](l listing, columns map[string]column[T]) error {
	if err := l.check(); err != nil || l.output != "" {
		return err
	}
	for _, f := range strings.Split(l.fields, ",") {
		if columns[f] == nil {
			return failf("Invalid key in output format: %q", f)
		}
	}
	return nil
}

func columnNames[T any](columns map[string]column[T]) []string {
	var names []string
	for n := range columns {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (c *cli) printData(format string, data any) error {
	text, err := json.MarshalIndent(data, "", "  ")
	if err == nil && format == "yaml" {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.stdout, strings.TrimRight(string(text), "\n"))
	return nil
}

// pairs writes metadata as k=v,k=v, sorted.
func pairs(m map[string]string) string {
	out := make([]string, 0, len(m))
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}
