package server_test

import (
	"bufio"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/registry"
)

// followed counts how often a server follows a cluster, and how many now.
type followed struct {
	*servertest.Cluster
	server     *server.Server
	begun, now atomic.Int64
}

// Follow is server.Registry's.
func (f *followed) Follow(ctx context.Context, fn func(registry.Update) error) error {
	f.begun.Add(1)
	f.now.Add(1)
	defer f.now.Add(-1)
	return f.Cluster.Follow(ctx, fn)
}

// A server that nobody asks about the cluster doesn't follow it, nor does it hold
// it in memory: every host has a server.
func TestNobodyAsksNobodyFollows(t *testing.T) {
	cluster := servertest.New(t)
	c, f := attentive(t, cluster)
	f.want(404, "GET", "metrics", "", "")
	if n := c.begun.Load(); n > 0 {
		t.Errorf("it follows though nobody has asked about the cluster")
	}
	f.want(201, "PUT", "units/a.service", body(m{"text": "[Service]\nExecStart=/bin/true\n", "desiredState": "launched"}), "")
	for range 3 {
		c.awaitRest()
		if r := c.server.Report(); r.Units+r.Files+r.Machines+r.Placements+r.States > 0 {
			t.Errorf("it rests with a cluster in its memory: %+v", r)
		}
		before := c.begun.Load()
		f.want(200, "GET", "units/a.service", "", "a.service")
		if n := c.begun.Load() - before; n != 1 {
			t.Errorf("one request after a rest had it follow %d times", n)
		}
	}
	resp, err := f.client.Get("http://f/fleet/v1/units?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	began := c.begun.Load()
	// While others of the same patience go to rest, one that is watched doesn't.
	other, asker := attentive(t, cluster)
	asker.want(204, "DELETE", "units/a.service", "", "")
	other.awaitRest()
	for lines := bufio.NewScanner(resp.Body); lines.Scan() && !strings.Contains(lines.Text(), `"DELETED"`); {
	}
	if n := c.begun.Load(); c.now.Load() != 1 || n != began {
		t.Errorf("with a watch open it rested: it has begun to follow %d times, %d before", n, began)
	}
}

// attentive serves a cluster with little patience.
func attentive(t *testing.T, c *servertest.Cluster) (*followed, *fixture) {
	t.Helper()
	f := &followed{Cluster: c}
	f.server = server.New(server.Options{Registry: f, RestAfter: 50 * time.Millisecond})
	l := listening(t)
	serveOn(t, f.server, l)
	return f, &fixture{t: t, cluster: c, client: clientOf(t, l.Addr().String())}
}

func (f *followed) awaitRest() {
	for f.now.Load() > 0 || f.server.Report().Loaded {
		time.Sleep(time.Millisecond)
	}
}
