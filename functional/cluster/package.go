package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleet-project/fleet/functional/platform"
)

// install installs the package $1 in an image, as its builder would.
const install = `cp "$1" "$ROOT/tmp/fleet.deb"
chroot "$ROOT" dpkg --force-unsafe-io --install /tmp/fleet.deb
rm "$ROOT/tmp/fleet.deb"`

// Installed is the platform's layer with fleet's package installed, for hosts
// that are to be configured by other means than Form.
func Installed(ctx context.Context, p *platform.Platform) (string, error) {
	deb, err := Package()
	if err != nil {
		return "", err
	}
	return installed(ctx, p, deb)
}

func installed(ctx context.Context, p *platform.Platform, deb string) (string, error) {
	return p.Layer(ctx, "fleet", nil, "sh", "-ec", install, "sh", deb)
}

// Package is the .deb that make packages has made of what make build has built.
func Package() (string, error) {
	found, err := filepath.Glob(filepath.Join(Root(), "dist/out/fleet_*.deb"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", errors.New("dist/out has no .deb of fleet (run: make packages)")
	}
	made, err := os.Stat(found[0])
	if err != nil {
		return "", err
	}
	for _, name := range []string{"fleetd", "fleetctl"} {
		built, err := os.Stat(filepath.Join(Root(), "bin", name))
		if err != nil {
			return "", fmt.Errorf("%w (run: make packages)", err)
		}
		if made.ModTime().Before(built.ModTime()) {
			return "", fmt.Errorf("dist/out/%s is older than bin/%s (run: make packages)", filepath.Base(found[0]), name)
		}
	}
	return found[0], nil
}
