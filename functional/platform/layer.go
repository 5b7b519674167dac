package platform

import (
	"context"
	"fmt"
	"path/filepath"
)

// makeLayer runs a command with a new overlay mounted at $ROOT. The mount is in
// the command's own mount namespace, and goes with it.
const makeLayer = `umask 022
mount -t overlay overlay -o "$1" "$2"
mount -t proc proc "$2/proc"
export ROOT=$2
shift 2
exec "$@"`

// Layer makes a layer, for HostSpec.Layers, of what a command changes in the
// root filesystem with the given layers over it. The command runs on this
// machine, as root, with the filesystem's path in $ROOT: an image that isn't
// running. The layer is removed with the platform.
//
//	p.Layer(ctx, "app", nil, "sh", "-ec", `cp "$1" $ROOT/srv/ && chroot $ROOT dpkg -i /srv/app.deb`, "sh", deb)
//
// A command's failure is a *CommandError, and leaves no layer.
func (p *Platform) Layer(ctx context.Context, name string, below []string, argv ...string) (string, error) {
	if err := checkName("layer", name); err != nil {
		return "", err
	}
	if err := p.beginBoot(); err != nil {
		return "", err
	}
	defer p.booting.Done()
	p.layers.Lock()
	defer p.layers.Unlock()
	disk := disk{filepath.Join(p.desc.Data, ".layers", name)} // no host has such a name
	if isDir(disk.dir) {
		return disk.upper(), nil
	}
	if err := disk.make(); err != nil {
		return "", err
	}
	options, err := disk.overlay(p.desc.RootFS, below)
	if err == nil {
		err = inNewRoot(ctx, p.desc.Name, options, disk.root(), argv)
	}
	if err != nil {
		return "", fmt.Errorf("layer %s: %w", name, disk.discard(err))
	}
	return disk.upper(), nil
}

func inNewRoot(ctx context.Context, platform, options, root string, argv []string) error {
	// Processes of its own too: none outlives the command and keeps the overlay.
	full := append([]string{"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
		"sh", "-e", "-c", makeLayer, "sh", options, root}, argv...)
	_, err := output(command(ctx, full...), platform, argv, nil)
	return err
}
