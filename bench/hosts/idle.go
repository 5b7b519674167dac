package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

const (
	idleUnits = 300
	idleFor   = time.Minute
)

// idleWrites are etcd's own counts of what would be no idleness: requests that
// may write, and what its store did. Keepalives are none of them.
var idleWrites = map[string]string{
	"put": `grpc_server_started_total{grpc_method="Put",grpc_service="etcdserverpb.KV"`,
	"txn": `grpc_server_started_total{grpc_method="Txn",grpc_service="etcdserverpb.KV"`,
	"del": `grpc_server_started_total{grpc_method="DeleteRange",grpc_service="etcdserverpb.KV"`,
	// What came in by other ways, such as the gateway.
	"stored": `etcd_mvcc_put_total`, "deleted": `etcd_mvcc_delete_total`,
}

// usage is what a host's fleetd has used, and holds.
type usage struct {
	cpu                  time.Duration // user and system time
	rss, pss, anon, text float64       // MB
}

// caseIdle leaves a cluster of 300 units alone for a minute.
func caseIdle(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	say("%d units on three hosts, and nothing to do for %s", idleUnits, idleFor)
	if err := b.startInstances(ctx, "idle", idleUnits); err != nil {
		return err
	}
	if err := b.settle(ctx, ttlLong/3); err != nil {
		return err
	}
	before, err := b.look(ctx)
	if err != nil {
		return err
	}
	minute := time.NewTimer(idleFor)
	defer minute.Stop()
	select {
	case <-minute.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := b.look(ctx)
	if err != nil {
		return err
	}
	written, cpu, most := 0.0, time.Duration(0), usage{}
	for i := range b.Hosts {
		for of := range idleWrites {
			if _, counted := before.written[i][of]; !counted {
				return fmt.Errorf("%s: etcd doesn't count %s under the name known here", b.Hosts[i].Name(), of)
			}
		}
		for of, n := range after.written[i] {
			if d := n - before.written[i][of]; d > 0 {
				say("%s: etcd counts %v of %s", b.Hosts[i].Name(), d, of)
				written += d
			}
		}
		cpu = max(cpu, after.used[i].cpu-before.used[i].cpu)
		if after.used[i].rss > most.rss {
			most = after.used[i]
		}
	}
	b.report.Add("idle, 300 units on three hosts, 60 s",
		figure.Figure{Name: "etcd's revisions", Value: float64(after.revision - before.revision), Want: figure.AtMost(0)},
		figure.Figure{
			Name: "puts, deletions and transactions, as etcd's members count them", Value: written, Want: figure.AtMost(0),
			Note: "keepalives of leases are none",
		},
		figure.Figure{
			Name: "fleetd's processor time, the busiest host's", Unit: "s", Value: cpu.Seconds(), Want: figure.AtMost(0.15),
			Note: "user and system time of /proc/PID/stat; etcd is a process of its own",
		},
		figure.Figure{
			Name: "fleetd's resident memory, the largest host's", Unit: "MB", Value: most.rss, Want: figure.AtMost(35),
			Note: fmt.Sprintf("VmRSS, etcd is a process of its own; of it %s MB are the program's own file, and %s MB written to. With what it shares divided by who shares it (Pss), it is %s MB",
				figure.Number(most.text), figure.Number(most.anon), figure.Number(most.pss)),
		},
	)
	return b.destroyAll(ctx)
}

// picture is the cluster at one moment.
type picture struct {
	revision int64
	written  []map[string]float64 // by host: of idleWrites
	used     []usage
}

func (b *bench) look(ctx context.Context) (picture, error) {
	p := picture{written: make([]map[string]float64, len(b.Hosts)), used: make([]usage, len(b.Hosts))}
	err := b.onAll(func(i int, h *platform.Host) (err error) {
		if p.used[i], err = fleetdUsage(ctx, h); err != nil {
			return err
		}
		p.written[i], err = member{h}.counters(ctx, idleWrites)
		return err
	})
	if err != nil {
		return p, err
	}
	_, p.revision, err = member{b.Hosts[0]}.list(ctx, "cluster")
	return p, err
}

// settle waits until the last change has been dealt with: etcd's revision stays
// for so long.
func (b *bench) settle(ctx context.Context, still time.Duration) error {
	last, since := int64(0), time.Now()
	return cluster.Await(ctx, "etcd's revision to stay", func() (bool, string) {
		_, revision, err := member{b.Hosts[0]}.list(ctx, "cluster")
		if err != nil {
			return false, err.Error()
		}
		if revision != last {
			last, since = revision, time.Now()
		}
		return time.Since(since) > still, strconv.FormatInt(revision, 10)
	})
}

// fleetdUsage asks a host's kernel.
func fleetdUsage(ctx context.Context, h *platform.Host) (usage, error) {
	out, err := h.Run(ctx, "sh", "-ec", `cd /proc/$(systemctl show -P MainPID fleet.service); getconf CLK_TCK; cat stat; cat status smaps_rollup`)
	if err != nil {
		return usage{}, err
	}
	lines := strings.SplitN(out, "\n", 3)
	if len(lines) < 3 {
		return usage{}, fmt.Errorf("fleetd on %s: %q", h.Name(), out)
	}
	perSecond, err := strconv.Atoi(lines[0])
	if err != nil {
		return usage{}, err
	}
	// The command's name may hold anything, and stands in parentheses.
	_, rest, _ := strings.Cut(lines[1], ") ")
	var u usage
	stat := strings.Fields(rest)
	for _, field := range []int{11, 12} { // utime and stime, counted from the state on
		ticks, err := strconv.Atoi(stat[field])
		if err != nil {
			return usage{}, err
		}
		u.cpu += time.Duration(ticks) * time.Second / time.Duration(perSecond)
	}
	for line := range strings.Lines(lines[2]) {
		for name, to := range map[string]*float64{"VmRSS:": &u.rss, "RssAnon:": &u.anon, "RssFile:": &u.text, "Pss:": &u.pss} {
			if f := strings.Fields(line); len(f) == 3 && f[0] == name {
				kb, err := strconv.ParseFloat(f[1], 64)
				if err != nil {
					return usage{}, err
				}
				*to = kb * 1024 / 1e6
			}
		}
	}
	return u, nil
}
