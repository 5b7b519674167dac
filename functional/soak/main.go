package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/platform"
)

func main() {
	var o options
	flag.DurationVar(&o.whole, "for", time.Hour, "how long")
	flag.DurationVar(&o.step, "step", 10*time.Minute, "how long from mark to mark; a shorter soak has one, at its end")
	flag.Uint64Var(&o.seed, "seed", 1, "what draws faults and commands")
	flag.StringVar(&o.dir, "dir", "dist/out/soak", "where logs, memory profiles and, should it fail, the hosts' journals go")
	docs := flag.String("docs", "", "run nothing; put the tables of the last soak that lie in -dir into this page")
	flag.Parse()
	if *docs != "" {
		if err := intoPage(o.dir, *docs); err != nil {
			fmt.Fprintln(os.Stderr, "soak:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted, and the hosts are removed (%w)", err)
		}
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// intoPage puts the tables into a page of documentation.
func intoPage(dir, page string) error {
	tables, err := os.ReadFile(filepath.Join(dir, tablesName))
	if err != nil {
		return fmt.Errorf("%w (run: make soak)", err)
	}
	return figure.Put(page, "<!-- make soak: begin -->\n", "<!-- make soak: end -->", string(tables))
}

// options say what soak it is.
type options struct {
	whole, step time.Duration
	seed        uint64
	dir         string
}

// quiet is how much of a step the mark at its end takes, about.
const quiet = 90 * time.Second

func run(ctx context.Context, o options) (err error) {
	if o.step = min(o.step, o.whole); o.step < 2*quiet {
		return fmt.Errorf("from mark to mark, and for the whole, it takes %s at least", 2*quiet)
	}
	if err := platform.Prepare(ctx, os.Stdout); err != nil {
		return err
	}
	s, err := boot(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.platform.CollectJournals(context.WithoutCancel(ctx), o.dir))
		}
		err = errors.Join(err, s.platform.Close())
	}()
	return s.run(ctx)
}
