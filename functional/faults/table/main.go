// Command table prints what the faults' tests have seen as one table, and with
// -docs puts it into a page, between two marks.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/faults"
)

// What stands between these in a page is made here.
const (
	begin = "<!-- make test-faults: begin -->\n"
	end   = "<!-- make test-faults: end -->\n"
)

func main() {
	docs := flag.String("docs", "", "put the table into this page, too")
	dir := flag.String("dir", filepath.Join(cluster.Root(), faults.OutDir), "where the tests wrote what they saw")
	flag.Parse()
	if err := run(*docs, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(docs, dir string) error {
	rows, err := faults.ReadResults(dir)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return errors.New(dir + " has no rows (run: make test-faults)")
	}
	fmt.Print(faults.Table(rows))
	if docs == "" {
		return nil
	}
	return figure.Put(docs, begin, end, faults.Markdown(rows))
}
