// Command table makes one table of what the benchmarks of a run have written,
// prints it, and with -docs puts it into a page, between two marks.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/fleet-project/fleet/bench/figure"
)

// What stands between these in a page is made here.
const (
	begin = "<!-- make bench: begin -->\n"
	end   = "<!-- make bench: end -->\n"
)

func main() {
	docs := flag.String("docs", "", "put the table into this page, too")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: table [-docs PAGE] REPORT.json...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*docs, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(docs string, paths []string) error {
	if len(paths) == 0 {
		return errors.New("no reports: name the files that the benchmarks wrote (dist/out/bench/*.json)")
	}
	report, err := figure.Read(paths...)
	if err != nil {
		return err
	}
	where := strings.Join(report.Where, "\n")
	fmt.Printf("%s\n\n%s", where, report)
	if docs == "" {
		return nil
	}
	return figure.Put(docs, begin, end, where+"\n\n"+markdown(report))
}

// markdown is the report as tables of a page, one for each subject.
func markdown(r *figure.Report) string {
	var out strings.Builder
	subject := ""
	for _, f := range r.Figures {
		if f.Subject != subject {
			subject = f.Subject
			fmt.Fprintf(&out, "\n### %s\n\n| %s |\n|%s\n", subject, strings.Join(figure.Heads, " | "), strings.Repeat("---|", len(figure.Heads)))
		}
		cells := f.Cells()
		if f.Note != "" {
			cells[0] += " (" + f.Note + ")"
		}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(&out, "| %s |\n", strings.ReplaceAll(strings.Join(cells, " | "), "  ", " "))
	}
	return strings.TrimPrefix(out.String(), "\n") + "\n"
}
