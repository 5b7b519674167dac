// Package platform boots real hosts: systemd as PID 1, its own D-Bus, journal,
// sshd, network address and (if asked for) docker, a few per machine, in a
// second or less each. The functional tests and `make demo` run fleet on them.
//
// A host is a systemd-nspawn container over an overlay of one shared, cached
// Debian root filesystem. Everything that a host owns outside of its directory
// hangs on its processes: its mounts live in a private mount namespace and its
// interface in its own network namespace, so that killing its cgroup removes
// the host without a trace.
//
//	p, err := platform.New(ctx, platform.Options{Name: "demo", Out: os.Stdout})
//	defer p.Close()
//	h, err := p.Boot(ctx, platform.HostSpec{Name: "n1", Layers: []string{dir}})
//	out, err := h.Run(ctx, "systemctl", "is-system-running")
//
// The process that made a platform owns it: when it dies, however it dies, a
// reaper process removes the platform. Detach ends that, for a demo that
// stays; Open finds such a platform again.
//
// Environment: FLEET_CACHE (the root filesystem and the SSH key; default: fleet
// in the user's cache), FLEET_DEBIAN_MIRROR (default http://deb.debian.org),
// FLEET_PLATFORM_DIR (platforms' descriptions and disks; default
// /var/lib/fleet-platform), FLEET_FAILED_DIR (journals of failed tests).
//
// The package knows nothing about fleet. It needs root on Debian (or the tools
// in place); Check tells whether this machine can do it, and why not.
package platform
