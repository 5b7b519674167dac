package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleet-project/fleet/fleetd/durable"
	"github.com/fleet-project/fleet/fleetd/peers"
)

// Cluster is what a proxy knows of its cluster.
type Cluster struct {
	// PeerURLs are all members'. etcd 2's proxies kept this much, in the same file.
	PeerURLs []string
	// ID tells this cluster from any other; "" before the first member answered.
	ID      string         `json:",omitempty"`
	Members []peers.Member `json:",omitempty"`
}

func file(dir string) string { return filepath.Join(dir, "cluster") }

// Load reads what a proxy remembers; nothing, if there was none.
func Load(dir string) (Cluster, error) {
	var c Cluster
	text, err := os.ReadFile(file(dir))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading whose proxy this host is: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil || len(c.PeerURLs) == 0 {
		return c, fmt.Errorf(`%s does not say whose proxy this host is (%w): write {"PeerURLs": ["http://IP:2380"]} with a member's address there; `+
			"or delete the file, to begin anew with ETCD_INITIAL_CLUSTER or ETCD_DISCOVERY", file(dir), cause(err))
	}
	return c, nil
}

func cause(err error) error {
	if err == nil {
		return errors.New("it names no peer URL")
	}
	return err
}

// save replaces the file. Nothing else is ever in its directory: that it isn't
// empty makes a host a proxy.
func (c Cluster) save(dir string) error {
	text, err := json.MarshalIndent(c, "", "\t")
	if err == nil {
		err = durable.WriteAlone(file(dir), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping whose proxy this host is: %w", err)
	}
	return nil
}
