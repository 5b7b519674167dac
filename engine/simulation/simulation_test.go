package simulation

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seeds   = flag.String("seeds", "7", "how many seeds to run, from 1 on; or from-to")
	large   = flag.String("large", "0", "how many worlds of thousands of machines to run, from seed 1 on; or from-to")
	tracing = flag.Bool("trace", false, "print what happened, also where nothing is wrong")
)

// TestMain has garbage be collected seldom: worlds are small, and make a lot of it.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// span reads what -seeds or -large says.
func span(s string) (from, to uint64, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if from, err = strconv.ParseUint(a, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%s: a number, or two with a dash between: %w", s, err)
	}
	if !isRange {
		return 1, from, nil
	}
	if to, err = strconv.ParseUint(b, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%s: a number, or two with a dash between: %w", s, err)
	}
	return from, to, nil
}

// TestSeeds runs worlds, each with its own seed, and prints what they were put to.
func TestSeeds(t *testing.T) {
	from, to, err := span(*seeds)
	if err != nil {
		t.Fatal(err)
	}
	next, outcomes := make(chan uint64), make(chan Outcome)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := range next {
				outcomes <- Run(seed, *tracing)
			}
		})
	}
	go func() {
		for seed := from; seed <= to; seed++ {
			next <- seed
		}
		close(next)
		workers.Wait()
		close(outcomes)
	}()
	began := time.Now()
	counts, steps, passed, broken := map[string]int{}, uint64(0), time.Duration(0), 0
	for o := range outcomes {
		steps, passed = steps+o.Steps, passed+o.Passed
		for what, n := range o.Counts {
			counts[what] += n
		}
		if o.Broken != nil {
			broken++
			if broken <= 5 && !*tracing { // it is the same run, to the last bit
				o.History = Run(o.Seed, true).History
			}
		}
		report(t, o, Replay(o.Seed))
	}
	fmt.Printf("%d seeds, %d steps, %s in their worlds, in %s; %d broken\n", to-from+1, steps, passed.Round(time.Minute), time.Since(began).Round(time.Second), broken)
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Printf("%8d %s\n", counts[what], what)
	}
	for _, name := range missing(to-from+1, counts) {
		t.Errorf("none of the worlds had: %s", name)
	}
}

// report says what became of a seed: all that happened if it is traced, else what came
// last before a promise was broken.
func report(t *testing.T, o Outcome, replay string) {
	t.Helper()
	last := o.History
	if !*tracing {
		last = last[max(0, len(last)-40):]
	}
	switch {
	case o.Broken != nil:
		t.Errorf("seed %d: %v\nreplay it: %s\n%s", o.Seed, o.Broken, replay, strings.Join(last, "\n"))
	case *tracing:
		t.Log(strings.Join(last, "\n"))
	}
}
