package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// drive is a file system that can be mounted.
type drive struct {
	what    string   // a device, or a share's tag
	types   []string // of file systems, to be tried in order
	options string
}

// labels are those of config drives: OpenStack's before NoCloud's.
var labels = []string{"config-2", "CONFIG-2", "cidata", "CIDATA"}

// findDrive finds a drive by its label, or a hypervisor's share by its tag.
func (h *Host) findDrive() *drive {
	for _, label := range labels {
		if device := filepath.Join(h.path("/dev/disk/by-label"), label); exists(device) == nil {
			return &drive{what: device, types: []string{"iso9660", "vfat", "ext4", "udf"}}
		}
	}
	tags, _ := filepath.Glob(h.path("/sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag")) // the pattern is good
	for _, file := range tags {
		tag, err := os.ReadFile(file)
		if err == nil && strings.TrimRight(string(tag), "\x00\n") == labels[0] {
			return &drive{what: labels[0], types: []string{"9p"}, options: "trans=virtio,version=9p2000.L"}
		}
	}
	return nil
}

// mounter mounts a file system to be read, and says how to undo it.
type mounter func(what, dir, fstype, options string) (unmount func() error, err error)

// readUnmounted reads a drive that nobody has mounted.
func (h *Host) readUnmounted(ctx context.Context, d *drive) (found Found, err error) {
	mount := h.mount
	if mount == nil {
		mount = mountReadOnly
	}
	dir, err := os.MkdirTemp(h.path("/run"), "fleet-configdrive-")
	if err != nil {
		return Found{}, fmt.Errorf("a place to mount %s: %w", d.what, unpathed(err))
	}
	defer func() { err = errors.Join(err, unpathed(os.Remove(dir))) }()
	unmount, err := d.mount(mount, dir)
	if err != nil {
		return Found{}, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return readDrive(ctx, dir)
}

// mount tries the drive's file systems in turn.
func (d *drive) mount(mount mounter, dir string) (func() error, error) {
	var tried []error
	for _, fstype := range d.types {
		unmount, err := mount(d.what, dir, fstype, d.options)
		if err == nil {
			return unmount, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("%s isn't mounted, and mounting it needs root", d.what)
		}
		tried = append(tried, fmt.Errorf("as %s: %w", fstype, err))
	}
	return nil, fmt.Errorf("%s can't be mounted: %w", d.what, errors.Join(tried...))
}

func mountReadOnly(what, dir, fstype, options string) (func() error, error) {
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSUID
	if err := unix.Mount(what, dir, fstype, flags, options); err != nil {
		return nil, err
	}
	return func() error { return unix.Unmount(dir, unix.MNT_DETACH) }, nil
}
