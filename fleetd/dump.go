package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

// dumpTime bounds asking for what a dump holds: it is wanted most when
// something does not answer.
const dumpTime = 5 * time.Second

// dumpName is the file beside the units directory that holds the latest dump.
const dumpName = "state-dump.json"

// heapName is the file beside it that says what the memory is used for, for
// `go tool pprof`: it holds no contents.
const heapName = "state-dump.pprof"

// stateDump is all that a fleetd knows of itself, without secrets.
type stateDump struct {
	Time    time.Time        `json:"time"`
	Fleetd  process          `json:"fleetd"`
	Status  string           `json:"status"`
	Config  []config.Value   `json:"config"`
	Machine machine.Machine  `json:"machine"`
	Cluster record.ClusterID `json:"cluster"` // by which the host knows its cluster
	Leader  machine.ID       `json:"leader"`  // whose engine leads
	Lease   *lease           `json:"lease"`   // null before the host has joined
	Etcd    etcdHealth       `json:"etcd"`
	Agent   *agent.Report    `json:"agent"`
	Engine  *engine.Report   `json:"engine"` // null: disabled
	API     server.Report    `json:"api"`
	// Errors say what could not be found out.
	Errors []string `json:"errors,omitempty"`
}

// process is the fleetd itself.
type process struct {
	Version    string    `json:"version"`
	Commit     string    `json:"commit"`
	Go         string    `json:"go"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Goroutines int       `json:"goroutines"`
	// What is in use, without garbage.
	HeapBytes   uint64   `json:"heapBytes"`
	HeapObjects uint64   `json:"heapObjects"`
	Listening   []string `json:"listening"`
}

// lease is what the host's keys in etcd live on.
type lease struct {
	ID      string    `json:"id"` // as etcdctl lease timetolive takes it
	TTL     string    `json:"ttl"`
	Renewed time.Time `json:"renewed"`
	Resumed bool      `json:"resumed"` // taken over from an earlier fleetd
}

type etcdHealth struct {
	Error     string              `json:"error,omitempty"` // why it does not answer; empty: it does
	Endpoints []registry.Endpoint `json:"endpoints"`
}

// dump writes all that is known into a file: the journal cuts long lines.
func (n *node) dump(ctx context.Context) {
	dir := filepath.Dir(filepath.Clean(n.cfg.UnitsDirectory))
	path := filepath.Join(dir, dumpName)
	var heap bytes.Buffer
	text, err := json.MarshalIndent(n.state(ctx), "", "  ")
	if err == nil {
		err = pprof.WriteHeapProfile(&heap)
	}
	if err == nil {
		err = replaceFile(filepath.Join(dir, heapName), heap.Bytes())
	}
	if err == nil {
		err = replaceFile(path, append(text, '\n'))
	}
	if err != nil {
		n.log.WithError(err).Error("the state could not be dumped")
		return
	}
	n.log.Infof("the state is in %s", path)
}

// state collects what there is, and whatever it can of what must be asked for.
func (n *node) state(ctx context.Context) stateDump {
	ctx, cancel := context.WithTimeout(ctx, dumpTime)
	defer cancel()
	// Twice: what a pool holds outlives one. That takes milliseconds.
	runtime.GC()
	runtime.GC()
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	d := stateDump{
		Time: time.Now(), Status: n.status(), Cluster: n.known(), API: n.server.Report(),
		Fleetd: process{
			Version: version, Commit: commit, Go: runtime.Version(), PID: os.Getpid(), Started: n.began,
			Goroutines: runtime.NumGoroutine(), HeapBytes: heap.HeapAlloc, HeapObjects: heap.HeapObjects,
		},
		Etcd: etcdHealth{Endpoints: n.registry.Endpoints(ctx)},
	}
	failed := func(err error) {
		if err != nil {
			d.Errors = append(d.Errors, err.Error())
		}
	}
	for _, l := range n.listeners {
		d.Fleetd.Listening = append(d.Fleetd.Listening, fmt.Sprintf("%s %s", l.Addr().Network(), l.Addr()))
	}
	n.mu.Lock()
	cfg, presence, ag := *n.cfg, n.presence, n.agent
	d.Config = cfg.Values()
	n.mu.Unlock()
	var err error
	if presence != nil {
		d.Machine = presence.Machine()
		d.Lease = &lease{ID: presence.LeaseID(), TTL: cfg.AgentTTL.String(), Renewed: presence.RenewedAt(), Resumed: presence.Resumed()}
	} else {
		d.Machine, err = n.identify(&cfg)
		failed(err)
	}
	d.Leader, err = n.registry.Leader(ctx)
	failed(err)
	if err := n.registry.Health(); err != nil {
		d.Etcd.Error = err.Error()
	}
	if ag != nil {
		report, err := ag.Report(ctx)
		failed(err)
		d.Agent = &report
	}
	if n.engine != nil {
		report := n.engine.Report()
		d.Engine = &report
	}
	return d
}

// replaceFile writes a file that is whole whenever somebody reads it, for root's
// eyes only.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // without effect once it is renamed
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
