package main

import (
	"runtime"
	"strings"
	"sync"

	"github.com/fleet-project/fleet/engine/simulation"
)

// finding is the first seed with which a promise was broken.
type finding struct {
	Seed      uint64 // 0: none was
	Invariant string
	Broken    string
}

// trial runs seeds from 1 on, until a promise is broken. It gives the lowest such
// seed: it is the same on any machine.
func trial(seeds uint64) finding {
	var (
		mu   sync.Mutex
		next uint64
		last = seeds // nothing after it is of interest
		best finding
		work sync.WaitGroup
	)
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next, next <= last
	}
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for seed, more := take(); more; seed, more = take() {
				out := simulation.Run(seed, false)
				if out.Broken == nil {
					continue
				}
				mu.Lock()
				if best.Seed == 0 || seed < best.Seed {
					invariant, _, _ := strings.Cut(out.Broken.Error(), ", at ")
					best = finding{seed, invariant, out.Broken.Error()}
					last = seed
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return best
}
