package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fleet-project/fleet/unit"
	jsonv2 "github.com/go-json-experiment/json"
)

// Backup is what a cluster was told and can't find out by itself, at one moment:
// the units that are wanted, and the operator's words on machines. Where units
// are placed and how they are is not in it: that follows.
type Backup struct {
	// Cluster is the cluster's id; empty while it has none.
	Cluster string `json:"cluster"`
	Schema  string `json:"schema"`  // version of what the cluster stores
	Version string `json:"version"` // of the fleetd that answers
	// Revision is etcd's, at which all of it was true together.
	Revision int64        `json:"revision"`
	Units    []BackupUnit `json:"units"`
	// Files are the units' texts, each once.
	Files []BackupFile `json:"files"`
	// Machines are those of which something was said, present or not.
	Machines []MachineOverrides `json:"machines"`
}

// BackupUnit is a unit as it is wanted.
type BackupUnit struct {
	Name         unit.Name   `json:"name"`
	DesiredState unit.Target `json:"desiredState"`
	Hash         unit.Hash   `json:"hash"` // of its file
}

// BackupFile is a unit file's exact text.
type BackupFile struct {
	Hash unit.Hash `json:"hash"`
	Text string    `json:"text,omitempty"`
	// Base64 has the text instead if JSON can't carry it: it isn't UTF-8, and was
	// not stored by fleet.
	Base64 string `json:"base64,omitempty"`
}

// MachineOverrides are the operator's words on one machine, over its own.
type MachineOverrides struct {
	ID       string            `json:"id"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Removed  []string          `json:"removed,omitempty"` // keys of its own that are hidden
	Cordoned bool              `json:"cordoned,omitempty"`
}

// Backup asks for everything at once. However long the answer is, it may take its
// time, as long as something comes.
func (c *Client) Backup(ctx context.Context) (*Backup, error) {
	resp, err := c.openWatch(ctx, "/backup", false)
	switch {
	case IsNotFound(err) && c.isFleet1():
		return nil, &Fleet1Error{
			Endpoint: c.opts.Endpoint, Lacks: "give a backup",
			Remedy: "docs/migrating-from-coreos-fleet.md says how its units are taken over.",
		}
	case IsNotFound(err):
		return nil, fmt.Errorf("the fleetd at %s is of a version that gives no backup yet: upgrade it, or ask another host's", c.opts.Endpoint)
	case err != nil:
		return nil, err
	}
	body := newLively(resp.Body)
	defer body.Close()
	var b Backup
	if err := jsonv2.UnmarshalDecode(newDecoder(body), &b); err != nil {
		return nil, fmt.Errorf("reading the backup from %s: %w", c.opts.Endpoint, c.explain(ctx, err))
	}
	return &b, nil
}

// ReplaceOverrides has all that was said of each machine be this from now on; of
// all of them or of none. One request takes 128 machines.
func (c *Client) ReplaceOverrides(ctx context.Context, machines []MachineOverrides) error {
	type operation struct {
		Op    string           `json:"op"`
		Path  string           `json:"path"`
		Value MachineOverrides `json:"value"`
	}
	var patch []operation
	for _, m := range machines {
		patch = append(patch, operation{Op: "replace", Path: "/" + m.ID + "/overrides", Value: m})
	}
	_, err := c.do(ctx, http.MethodPatch, "/machines", patch, nil)
	return err
}

// lively is a body that is closed when nothing comes for as long as a watch may
// be silent.
type lively struct {
	io.ReadCloser
	timer *time.Timer
}

func newLively(body io.ReadCloser) lively {
	return lively{body, time.AfterFunc(silence, func() { body.Close() })}
}

func (l lively) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	l.timer.Reset(silence)
	return n, err
}

func (l lively) Close() error {
	l.timer.Stop()
	return l.ReadCloser.Close()
}
