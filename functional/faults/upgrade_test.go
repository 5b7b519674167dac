package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// upgradeRows change the version that runs.
var upgradeRows = []row{
	{
		name:     "upgraded",
		fault:    "a cluster of the previous commit's build is upgraded by the package, host after host, and back again, while operators start, stop and destroy units on every host",
		promised: "no unit is touched; no operator's command fails",
		some:     true,
		wrecks:   true,
		limit:    upgradeLimit,
		run:      upgraded,
	},
}

// upgradeLimit has room for a build with cold caches.
const upgradeLimit = 10 * time.Minute

func upgraded(s *scene) {
	old, err := cluster.Previous(s.ctx, os.Stdout)
	s.must(err)
	built, err := cluster.Package()
	s.must(err)
	s.bornOf(old)
	before, after := cluster.PreviousVersion, packaged(s, built)
	s.awaitVersions(before, before, before)
	s.everyone(map[string]string{"/root/before.deb": old, "/root/after.deb": built})
	s.start("w", 45, Witness())
	s.start("never-twice", 15, Witness("Isolation=stop"))
	s.submit("op", "[Service]\nExecStart=/bin/sleep infinity\n")

	s.begin()
	stop := s.operate()
	versions := []string{before, before, before}
	for i, h := range s.Hosts {
		s.install(h, "/root/after.deb")
		versions[i] = after
		s.awaitVersions(versions...)
	}
	up := stop()
	s.expect(s.account(), want{})

	stop = s.operate()
	for i, h := range s.Hosts {
		s.install(h, "/root/before.deb")
		versions[i] = before
		s.awaitVersions(versions...)
	}
	down := stop()
	s.expect(s.account(), want{})
	if up == 0 || down == 0 {
		s.t.Errorf("operators did nothing: %d commands on the way up, %d on the way down", up, down)
	}
	s.seen.Note = fmt.Sprintf("%d commands meanwhile", up+down)
}

// bornOf has the row play on a new cluster, made by another package.
func (s *scene) bornOf(deb string) {
	s.t.Helper()
	w, err := NewPool(1, cluster.Options{Conf: conf, Package: deb}, os.Stdout).Take(s.ctx)
	s.must(err)
	given := s.World
	s.World = w // which is thrown away in the other's stead
	s.must(given.Platform.Close())
}

// packaged is the version that a package's fleetd says it is.
func packaged(s *scene, deb string) string {
	s.t.Helper()
	_, rest, _ := strings.Cut(deb[strings.LastIndexByte(deb, '/')+1:], "_")
	version, _, found := strings.Cut(rest, "_")
	if !found {
		s.t.Fatalf("%s is not named as a package is", deb)
	}
	return strings.ReplaceAll(version, "~", "-")
}

// everyone puts files of this machine's on every host.
func (s *scene) everyone(files map[string]string) {
	s.t.Helper()
	for to, from := range files {
		content, err := os.ReadFile(from)
		s.must(err)
		for _, h := range s.Hosts {
			s.must(h.WriteFile(s.ctx, to, platform.File{Content: string(content)}))
		}
	}
}

// install installs a package as an operator would.
func (s *scene) install(h *platform.Host, deb string) {
	s.t.Helper()
	was := s.fleetd(h)
	s.run(h, "dpkg --force-unsafe-io --install "+deb+" 2>&1")
	if is := s.fleetd(h); is == was {
		s.t.Fatalf("fleetd on %s is still process %s: the package didn't restart it", h.Name(), was)
	}
	s.awaitJoined(h)
}

// awaitVersions waits until the cluster knows which version each host runs.
func (s *scene) awaitVersions(want ...string) {
	s.t.Helper()
	s.await("list-machines to show the versions", func() (bool, string) {
		out, err := s.Fleetctl(s.ctx, "list-machines", "--no-legend", "--fields", "hostname,version")
		if err != nil {
			return false, err.Error()
		}
		got := map[string]string{}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 2 {
				got[f[0]] = f[1]
			}
		}
		for i, h := range s.Hosts {
			if got[h.Name()] != want[i] {
				return false, out
			}
		}
		return len(got) == len(s.Hosts), out
	})
}

// operate has an operator on each host start, stop and destroy units without a
// pause, by that host's own fleetctl and fleetd, until stop is called. stop gives how
// many commands there were; each of them must have succeeded.
func (s *scene) operate() (stop func() int) {
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	counts := make([]int, len(s.Hosts))
	for i, h := range s.Hosts {
		wg.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				unit := fmt.Sprintf("op@%d-%d.service", i, round%3)
				for _, verb := range []string{"start", "stop", "start", "destroy"} {
					// The command that is under way when the others are done is waited for.
					if out, err := h.Run(s.ctx, "fleetctl", verb, unit); err != nil {
						s.t.Errorf("fleetctl %s %s on %s: %v %s", verb, unit, h.Name(), err, out)
						return
					}
					counts[i]++
				}
			}
		})
	}
	return func() int {
		cancel()
		wg.Wait()
		all := 0
		for _, n := range counts {
			all += n
		}
		return all
	}
}
