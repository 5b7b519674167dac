package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

var (
	chosen   = flag.String("faults", "some", "which rows to test: all, some (those of make test), or names with commas between")
	clusters = flag.Int("clusters", 3, "on how many clusters, and so how many rows at a time")
)

// agentTTL of the clusters, but for rows that have their own.
const agentTTL = 5 * time.Second

// row is one fault.
type row struct {
	name, fault, promised string
	// some: it is a part of make test.
	some bool
	// wrecks: nobody gets the cluster after it.
	wrecks bool
	// limit is what it may take; 0: three minutes.
	limit time.Duration
	run   func(s *scene)
}

// rows are all rows, in the order of the table.
func rows() []row {
	return slices.Concat(processRows, hostRows, systemRows, unitRows, upgradeRows, isolationRows, networkRows, etcdRows, historyRows)
}

var (
	pool      *Pool
	whyNoHost error
	// running ends when somebody interrupts the tests: rows then fail, and clean up.
	running context.Context

	sawLock sync.Mutex
	saw     []*Result
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(*clusters)); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	running = ctx
	if err := platform.Install(ctx, os.Stdout); err != nil {
		fmt.Println(err)
		return 1
	}
	if whyNoHost = platform.Check(); whyNoHost == nil {
		pool = NewPool(*clusters, cluster.Options{Conf: conf}, os.Stdout)
		defer func() {
			if err := pool.Close(); err != nil {
				fmt.Println(err)
			}
		}()
	}
	code := m.Run()
	if len(saw) > 0 {
		slices.SortFunc(saw, func(a, b *Result) int { return a.Number - b.Number })
		fmt.Print("\n", Table(saw))
	}
	return code
}

// conf is what fleet.conf says on a host.
func conf(i int) []string {
	return []string{"agent_ttl=" + agentTTL.String(), fmt.Sprintf("metadata=index=%d", i)}
}

// TestFaults does to real hosts what its rows say. What isn't chosen by -faults
// isn't there.
func TestFaults(t *testing.T) {
	all := rows()
	names := strings.Split(*chosen, ",")
	for _, name := range names {
		if name != "all" && name != "some" && !slices.ContainsFunc(all, func(r row) bool { return r.name == name }) {
			t.Fatalf("there is no row %q", name)
		}
	}
	for i, r := range all {
		if !slices.Contains(names, "all") && !slices.Contains(names, r.name) && !(r.some && slices.Contains(names, "some")) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if whyNoHost != nil {
				t.Skipf("needs real hosts: %v", whyNoHost)
			}
			play(t, i, r)
		})
	}
}

// play gives a row a cluster, and keeps what was seen.
func play(t *testing.T, number int, r row) {
	w, err := pool.Take(running)
	if err != nil {
		t.Fatal(err)
	}
	limit := r.limit
	if limit == 0 {
		limit = 3 * time.Minute
	}
	// Not the test's context: that ends before what a row has to clean up.
	ctx, cancel := context.WithTimeout(running, limit)
	s := &scene{World: w, t: t, ctx: ctx, clock: time.Now()}
	t.Cleanup(func() {
		cancel()
		s.leave(r)
		result := &Result{Name: r.name, Number: number, Fault: r.fault, Promised: r.promised, Test: t.Name(), Seen: s.seen, Held: !t.Failed()}
		t.Log(result)
		if err := result.Write(filepath.Join(cluster.Root(), OutDir)); err != nil {
			t.Error(err)
		}
		sawLock.Lock()
		defer sawLock.Unlock()
		saw = append(saw, result)
	})
	r.run(s)
	if s.seen.Units == 0 && !t.Failed() {
		t.Error("the row has told nothing that it saw")
	}
}

// leave gives the cluster back, and says what the row has left broken.
func (s *scene) leave(r row) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if !s.t.Failed() && !r.wrecks {
		err := pool.Give(ctx, s.World)
		if err == nil {
			return
		}
		s.t.Error(err)
	}
	if s.t.Failed() {
		s.keepJournals()
	}
	if err := pool.Discard(s.World); err != nil {
		s.t.Error(err)
	}
}

// keepJournals writes the hosts' journals where a person can read them.
func (s *scene) keepJournals() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := filepath.Join(cluster.Root(), "functional/failed", strings.ReplaceAll(s.t.Name(), "/", "-"))
	if err := s.Platform.CollectJournals(ctx, dir); err != nil {
		s.t.Log("the hosts' journals: ", err)
		return
	}
	s.t.Logf("the hosts' journals are in %s", dir)
}
