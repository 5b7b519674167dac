package main

import (
	"context"
	"encoding/json"
	"io"
	"reflect"
	"slices"

	"github.com/fleet-project/fleet/api"
	"sigs.k8s.io/yaml"
)

// gone marks a row that went away.
const gone = "(gone)"

// watchText is what list commands say of --watch in their help.
const watchText = `With --watch it goes on: after the list a row is printed again whenever one of
its columns changes, and once more, marked "(gone)", when it goes away. With
--output json or yaml, each change is a document of its own, of 'type' (ADDED,
MODIFIED or DELETED) and 'object' (the row as it is, or as it was last): in json
one a line, in yaml with '---' between. If fleetd goes away, that is said on
standard error, and what has changed meanwhile is printed once it is back.`

// changeWriter prints what becomes of rows.
type changeWriter[R any] interface {
	// begin is when the list is complete: these are its rows.
	begin(rows []R) error
	// change is what became of one row later.
	change(e api.ListEvent[R]) error
}

// watchTable prints a table, and then what becomes different in it, until ctx
// ends.
func watchTable[R any](ctx context.Context, c *cli, l listing, fields []string, t table[R]) error {
	w := &tableWatch[R]{cli: c, key: t.key, rows: map[string]R{}}
	switch l.output {
	case "":
		w.out = &rowWriter[R]{out: c.stdout, listing: l, fields: fields, columns: columnsOf(fields, t.columns), key: t.key, shown: map[string][]string{}}
	default:
		w.out = &documentWriter[R]{out: c.stdout, yaml: l.output == "yaml"}
	}
	err := t.watch(ctx, w.take)
	if ctx.Err() != nil {
		return &exitError{code: exitInterrupted} // there is nothing to say about the usual end
	}
	return err
}

// tableWatch follows a table.
type tableWatch[R any] struct {
	cli     *cli
	out     changeWriter[R]
	key     func(R) string
	rows    map[string]R
	order   []string // of the keys, until the list is complete
	begun   bool
	trouble bool
}

// take is what the API tells next.
func (w *tableWatch[R]) take(e api.ListEvent[R]) error {
	if e.Type == api.Bookmark {
		return w.bookmark(e.Trouble)
	}
	k := w.key(*e.Object)
	last, known := w.rows[k]
	if known && e.Type != api.Deleted && reflect.DeepEqual(last, *e.Object) {
		return nil // what changed is nothing that the table has
	}
	if e.Type == api.Deleted {
		delete(w.rows, k)
	} else {
		w.rows[k] = *e.Object
	}
	if w.begun {
		return w.out.change(e)
	}
	if !known {
		w.order = append(w.order, k)
	}
	return nil
}

func (w *tableWatch[R]) bookmark(trouble string) error {
	switch {
	case trouble != "":
		w.trouble = true
		w.cli.errorf("%s", trouble)
		return nil
	case w.trouble:
		w.trouble = false
		w.cli.errorf("fleetd answers again")
	}
	if w.begun {
		return nil
	}
	w.begun = true
	var rows []R
	listed := map[string]bool{} // one that went and came is in the order twice
	for _, k := range w.order {
		if row, there := w.rows[k]; there && !listed[k] {
			rows, listed[k] = append(rows, row), true
		}
	}
	w.order = nil
	return w.out.begin(rows)
}

// rowWriter prints rows in columns.
type rowWriter[R any] struct {
	out     io.Writer
	listing listing
	fields  []string
	columns []column[R] // of the fields
	key     func(R) string
	align   alignment
	shown   map[string][]string // the cells, by the row's key
}

func (w *rowWriter[R]) begin(rows []R) error {
	var all [][]string
	if !w.listing.noLegend {
		all = append(all, headers(w.fields))
	}
	for _, row := range rows {
		cells := appendCells(nil, row, w.columns, w.listing.full)
		w.shown[w.key(row)] = cells
		all = append(all, cells)
	}
	return printAligned(w.out, &w.align, all)
}

func (w *rowWriter[R]) change(e api.ListEvent[R]) error {
	k := w.key(*e.Object)
	cells := appendCells(nil, *e.Object, w.columns, w.listing.full)
	switch {
	case e.Type == api.Deleted:
		delete(w.shown, k)
		cells = append(cells, gone)
	case slices.Equal(cells, w.shown[k]):
		return nil
	default:
		w.shown[k] = cells
	}
	return printAligned(w.out, &w.align, [][]string{cells})
}

// documentWriter prints each change as a document.
type documentWriter[R any] struct {
	out     io.Writer
	yaml    bool
	printed bool
}

func (w *documentWriter[R]) begin(rows []R) error {
	for _, row := range rows {
		if err := w.change(api.ListEvent[R]{Type: api.Added, Object: &row}); err != nil {
			return err
		}
	}
	return nil
}

func (w *documentWriter[R]) change(e api.ListEvent[R]) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	switch {
	case !w.yaml:
		text = append(text, '\n')
	default:
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
		if w.printed {
			text = append([]byte("---\n"), text...)
		}
	}
	w.printed = true
	_, err = w.out.Write(text)
	return err
}

// listEvent turns an event about what the API has into one about a row.
func listEvent[T, R any](e api.ListEvent[T], rowOf func(T) R) api.ListEvent[R] {
	out := api.ListEvent[R]{Type: e.Type, Trouble: e.Trouble}
	if e.Object != nil {
		row := rowOf(*e.Object)
		out.Object = &row
	}
	return out
}

// source gives a table's rows and watch from what the API has.
func source[T, R any](c *cli, rowOf func(T) R,
	list func(*api.Client, context.Context) ([]T, error), watch func(*api.Client, context.Context, func(api.ListEvent[T]) error) error,
) (func(context.Context) ([]R, error), func(context.Context, func(api.ListEvent[R]) error) error) {
	rows := func(ctx context.Context) ([]R, error) {
		client, err := c.client(ctx)
		if err != nil {
			return nil, err
		}
		all, err := list(client, ctx)
		if err != nil {
			return nil, err
		}
		out := make([]R, 0, len(all)) // never null
		for _, one := range all {
			out = append(out, rowOf(one))
		}
		return out, nil
	}
	follow := func(ctx context.Context, fn func(api.ListEvent[R]) error) error {
		client, err := c.client(ctx)
		if err != nil {
			return err
		}
		return watch(client, ctx, func(e api.ListEvent[T]) error { return fn(listEvent(e, rowOf)) })
	}
	return rows, follow
}
