package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/faults"
	"github.com/fleet-project/fleet/functional/platform"
)

// soak is one run.
type soak struct {
	*cluster.Cluster
	options
	platform *platform.Platform
	promises *promises
	rng      *rand.Rand // draws the seeds of all others
	log      *os.File
	where    string        // commit and machine
	since    faults.Moment // the last mark
	marks    []*mark

	mu      sync.Mutex   // guards what follows
	cuts    []faults.Cut // when hosts were out of touch with etcd
	frozen  []faults.Cut // when hosts did nothing at all
	leaving map[*platform.Host]bool
	wrong   []string       // since the last mark
	faults  map[string]int // how often, by name
}

// boot forms the cluster.
func boot(ctx context.Context, o options) (*soak, error) {
	if err := os.RemoveAll(o.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	s := &soak{options: o, where: figure.Where(), promises: newPromises(), rng: rand.New(rand.NewPCG(o.seed, o.seed)), faults: map[string]int{}, leaving: map[*platform.Host]bool{}}
	var err error
	if s.log, err = os.Create(filepath.Join(o.dir, "soak.log")); err != nil {
		return nil, err
	}
	if s.platform, err = platform.New(ctx, platform.Options{Out: os.Stdout}); err != nil {
		return nil, err
	}
	opts := cluster.Options{Files: files(), Conf: func(i int) []string {
		return []string{"agent_ttl=" + agentTTL.String(), fmt.Sprintf("metadata=index=%d", i)}
	}}
	specs, err := cluster.Specs(ctx, s.platform, opts)
	if err != nil {
		return nil, errors.Join(err, s.platform.Close())
	}
	// The steady one tells finely what its memory is used for, for what has grown to
	// be found.
	finely := platform.File{Content: "[Service]\nEnvironment=GODEBUG=memprofilerate=4096\n"}
	specs[len(specs)-1].Files["/etc/systemd/system/fleet.service.d/20-soak.conf"] = finely
	hosts, err := s.platform.BootAll(ctx, specs...)
	if err == nil {
		s.Cluster, err = cluster.Form(ctx, hosts, opts)
	}
	if err != nil {
		return nil, errors.Join(err, s.platform.Close())
	}
	return s, nil
}

// steady is the host whose fleetd is never killed.
func (s *soak) steady() *platform.Host { return s.Hosts[len(s.Hosts)-1] }

// say tells a person how far it is, detail tells the log alone.
func (s *soak) say(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	s.detail(format, args...)
}

func (s *soak) detail(format string, args ...any) {
	fmt.Fprintf(s.log, "%s %.2f "+format+"\n", append([]any{time.Now().UTC().Format("15:04:05.000"), time.Duration(now()).Seconds()}, args...)...)
}

// run soaks, and says at the end what came of it.
func (s *soak) run(ctx context.Context) error {
	s.say("a soak of %s, a mark every %s, seed %d; the details are in %s", s.whole, s.step, s.seed, s.log.Name())
	s.since = now()
	s.do(ctx, s.Hosts[0], fleetctlFile("start", editions[0], names(bases)))
	began := time.Now()
	for at := s.step; at <= s.whole; at += s.step {
		s.turmoil(ctx, time.Until(began.Add(at))-quiet)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m, err := s.mark(ctx)
		if err != nil {
			return fmt.Errorf("the mark after %s: %w", at, err)
		}
		m.after = at
		s.marks = append(s.marks, m)
		s.say("%s", m)
		for _, what := range m.wrong {
			s.say("  WRONG: %s", what)
		}
		if len(m.wrong) > 0 {
			dir := filepath.Join(s.dir, fmt.Sprintf("wrong-at-%s", at))
			s.say("  the hosts' journals are in %s", dir)
			if err := s.platform.CollectJournals(ctx, dir); err != nil {
				return err
			}
		}
	}
	return s.verdict()
}

// turmoil has operators and faults loose for some time.
func (s *soak) turmoil(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	seeded := func() *rand.Rand { return rand.New(rand.NewPCG(s.rng.Uint64(), s.rng.Uint64())) }
	var all sync.WaitGroup
	for range operators {
		o := &operator{soak: s, rng: seeded()}
		all.Go(func() { o.work(ctx) })
	}
	for _, from := range [][]fault{outer, inner} {
		c := &chaos{soak: s, rng: seeded()}
		all.Go(func() { c.work(ctx, from) })
	}
	all.Wait()
}

// count notes that a fault was there.
func (s *soak) count(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[f.name]++
}

// cutsNow are the times in which hosts were out of touch, or did nothing at all, and
// faultsNow is how many faults there were so far.
func (s *soak) cutsNow() (touch, frozen []faults.Cut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.cuts), slices.Clone(s.frozen)
}

func (s *soak) faultsNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, n := range s.faults {
		sum += n
	}
	return sum
}
