package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// unfinishedFile is there from when a boot's config begins to be applied until
// it has been. fleetd etcd looks at it: a host whose config names a discovery URL,
// but could not be applied, must not take itself for a cluster of its own, which
// it would be for good.
const unfinishedFile = "/run/fleet-cloudinit/unfinished"

func (r *run) bootBegins() error {
	file := filepath.Join(r.host.Root, unfinishedFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, nil, 0o644)
}

// bootDone is called by whatever run has applied the config in the end.
func (r *run) bootDone() error {
	err := os.Remove(filepath.Join(r.host.Root, unfinishedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Applied says why this host may lack its configuration; nil if it has it,
// or is given none.
func Applied(root string) error {
	switch _, err := os.Stat(filepath.Join(root, unfinishedFile)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("this host's config could not be applied at boot (journalctl -u fleet-cloudinit says why): once it can, run fleetd cloudinit, then systemctl restart etcd2.service")
}
