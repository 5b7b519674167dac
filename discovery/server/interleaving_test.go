package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/server"
	"github.com/fleet-project/fleet/discovery/token"
	"pgregory.net/rapid"
)

// Whatever comes in whichever order, restarts and time included: never more
// members than the size, whoever was acknowledged keeps the place and the index,
// and nothing lives beyond its time.
func TestAnyInterleaving(t *testing.T) {
	const unfinished, complete = time.Hour, 3 * time.Hour
	s := newService(t, server.Options{Lifetime: token.Lifetime{Unfinished: unfinished, Complete: complete}})
	rapid.Check(t, func(rt *rapid.T) {
		type cluster struct {
			path   string
			size   int
			made   time.Time
			joined []int
		}
		var all []*cluster
		gone := func(c *cluster) bool {
			life := unfinished
			if len(c.joined) == c.size {
				life = complete
			}
			return !s.opts.Now().Before(c.made.Add(life))
		}
		one := func() *cluster {
			if len(all) == 0 {
				rt.Skip("no token yet")
			}
			return rapid.SampledFrom(all).Draw(rt, "token")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"new": func(rt *rapid.T) {
				size := rapid.IntRange(1, 3).Draw(rt, "size")
				all = append(all, &cluster{path: s.new(size), size: size, made: s.opts.Now()})
			},
			"join": func(rt *rapid.T) {
				c, n := one(), rapid.IntRange(1, 5).Draw(rt, "host")
				there := slices.Contains(c.joined, n)
				want := http.StatusCreated
				switch {
				case gone(c):
					want = http.StatusNotFound
				case there:
					want = http.StatusPreconditionFailed
				case len(c.joined) == c.size:
					want = http.StatusBadRequest
				}
				w := s.join(c.path, n)
				if w.Code != want {
					rt.Fatalf("host %d of %+v: %d %s, want %d", n, c, w.Code, w.Body, want)
				}
				if want == http.StatusCreated {
					c.joined = append(c.joined, n)
				}
			},
			"restart": func(*rapid.T) { s.restart() },
			"pass":    func(rt *rapid.T) { s.pass(time.Duration(rapid.IntRange(1, 90).Draw(rt, "minutes")) * time.Minute) },
			"": func(rt *rapid.T) {
				for _, c := range all {
					w := s.ask("GET " + c.path)
					if gone(c) {
						if w.Code != http.StatusNotFound {
							rt.Fatalf("%+v is over: %d %s", c, w.Code, w.Body)
						}
						continue
					}
					var a discovery.Answer
					if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || len(a.Node.Nodes) != len(c.joined) || len(a.Node.Nodes) > c.size {
						rt.Fatalf("%+v: %s, %v", c, w.Body, err)
					}
					for i, n := range a.Node.Nodes {
						if n.Key != fmt.Sprintf("%s/%d", c.path, c.joined[i]) || n.CreatedIndex != uint64(i+2) || n.ModifiedIndex != n.CreatedIndex {
							rt.Fatalf("%+v: %s", c, w.Body)
						}
					}
				}
			},
		})
	})
}
