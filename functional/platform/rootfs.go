package platform

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const suite = "bookworm"

// rootPackages are what a host has beyond Debian's essential packages.
var rootPackages = []string{
	"systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "libnss-systemd",
	"iproute2", "iptables", "procps", "openssh-server", "ca-certificates", "curl", "sudo",
	"docker.io",
}

// rootSetup finishes the root filesystem that mmdebstrap made.
//
//go:embed rootfs.sh
var rootSetup string

// CacheDir is where things are kept that are costly to make: $FLEET_CACHE, or
// fleet's own directory in the user's cache.
func CacheDir() (string, error) {
	dir := os.Getenv("FLEET_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			base = "/var/cache" // no $HOME: a service, or a bare CI job
		}
		dir = filepath.Join(base, "fleet")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

func mirror() string {
	if m := os.Getenv("FLEET_DEBIAN_MIRROR"); m != "" {
		return strings.TrimSuffix(m, "/")
	}
	return "http://deb.debian.org"
}

// rootSources is the hosts' sources.list.
func rootSources() string {
	m := mirror()
	return fmt.Sprintf("deb %[1]s/debian %[2]s main\ndeb %[1]s/debian %[2]s-updates main\ndeb %[1]s/debian-security %[2]s-security main\n", m, suite)
}

// rootName names the root filesystem by everything that goes into it.
func rootName() string {
	sum := sha256.New()
	for _, part := range append([]string{suite, rootSetup}, rootPackages...) {
		fmt.Fprintf(sum, "%d %s\n", len(part), part)
	}
	return "rootfs-" + hex.EncodeToString(sum.Sum(nil))[:12]
}

// RootFS is the directory of the hosts' shared root filesystem. The first call
// on a machine builds it, which takes about half a minute and 450 MB; it is never
// written to afterwards.
func RootFS(ctx context.Context, out io.Writer) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, rootName())
	if isDir(dir) {
		return dir, nil
	}
	if out == nil {
		out = io.Discard
	}
	lock, err := tryLockFile(filepath.Join(cache, "rootfs.lock"))
	if errors.Is(err, errLocked) {
		step := startStep(out, "waiting for another process that builds the hosts' root filesystem")
		lock, err = lockFile(ctx, filepath.Join(cache, "rootfs.lock"))
		step.done(err)
	}
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if isDir(dir) {
		return dir, nil
	}
	step := startStep(out, "building the hosts' root filesystem (once, about a minute)")
	err = buildRoot(ctx, lock, cache, dir)
	step.done(err)
	if err != nil {
		return "", err
	}
	return dir, nil
}

// buildRoot makes dir. Only a complete one ever gets that name.
func buildRoot(ctx context.Context, lock *os.File, cache, dir string) error {
	// The lock is held: what lies here is left from builds that were cut off.
	left, err := filepath.Glob(filepath.Join(cache, "building-*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)

	setup := filepath.Join(tmp, "setup.sh")
	if err := os.WriteFile(setup, []byte(rootSetup), 0o755); err != nil {
		return err
	}
	logPath := filepath.Join(cache, "rootfs.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	root := filepath.Join(tmp, "root")
	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		"--include=" + strings.Join(rootPackages, ","),
		`--aptopt=APT::Install-Recommends "false"`,
		`--aptopt=Acquire::Languages "none"`,
		`--aptopt=Acquire::Retries "3"`,
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--customize-hook=sh " + setup + ` "$1"`,
	}
	args = append(args, aptProxy(ctx)...)
	// In namespaces of its own, so that killing the first process ends all of
	// them and their mounts: /dev and /proc are mounted in the new root, which
	// is removed then.
	argv := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "mmdebstrap"}
	cmd := command(ctx, append(append(argv, args...), suite, root, "-")...)
	cmd.Env = append(cmd.Environ(), "TMPDIR="+tmp) // what it leaves when it is killed goes too
	cmd.Stdin = strings.NewReader(rootSources())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock} // locked until that has ended, even if this process ends before
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("build the hosts' root filesystem: mmdebstrap: %w; everything it said: %s", err, logPath)
	}
	return os.Rename(root, dir)
}

// aptProxy hands this machine's apt proxy on to mmdebstrap, which reads none of
// apt's configuration.
func aptProxy(ctx context.Context) []string {
	var opts []string
	for _, key := range []string{"Acquire::http::Proxy", "Acquire::https::Proxy"} {
		out, err := run(ctx, "apt-config", "shell", "v", key)
		if err != nil {
			continue
		}
		value := strings.Trim(strings.TrimPrefix(strings.TrimSpace(out), "v="), "'")
		if value != "" {
			opts = append(opts, fmt.Sprintf("--aptopt=%s %q", key, value))
		}
	}
	return opts
}

// sshKey makes the keypair that all hosts accept, once, and returns the private
// key's path and the public key's line.
func sshKey(ctx context.Context) (path, public string, err error) {
	cache, err := CacheDir()
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(cache, "ssh_key")
	lock, err := lockFile(ctx, filepath.Join(cache, "ssh_key.lock"))
	if err != nil {
		return "", "", err
	}
	defer lock.Close()
	data, err := os.ReadFile(path + ".pub")
	if errors.Is(err, fs.ErrNotExist) {
		// Without the public half, the private one is left from a run cut off.
		if err := os.RemoveAll(path); err != nil {
			return "", "", err
		}
		if _, err := run(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet-platform", "-f", path); err != nil {
			return "", "", err
		}
		data, err = os.ReadFile(path + ".pub")
	}
	return path, string(data), err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
