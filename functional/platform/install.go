package platform

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tools are the commands used on this machine, each with its Debian package.
var tools = []struct{ file, pkg string }{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"ip", "iproute2"},
	{"bridge", "iproute2"},
	{"tc", "iproute2"},
	{"nft", "nftables"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"mount", "mount"},
	{"tar", "tar"},
	{"ssh-keygen", "openssh-client"},
	{"/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
}

// missingPackages are the Debian packages of the tools that aren't there.
func missingPackages() []string {
	var missing []string
	for _, t := range tools {
		var err error
		if filepath.IsAbs(t.file) {
			_, err = os.Stat(t.file)
		} else {
			_, err = lookTool(t.file)
		}
		if err != nil && !slices.Contains(missing, t.pkg) {
			missing = append(missing, t.pkg)
		}
	}
	// Only there is it needed: see network.setUp.
	if _, err := lookTool("iptables"); err != nil && bridgeFiltered() {
		missing = append(missing, "iptables")
	}
	return missing
}

// lookTool is exec.LookPath, also where a root shell's PATH lacks sbin (su).
func lookTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, errSbin := exec.LookPath(filepath.Join(dir, name)); errSbin == nil {
			return path, nil
		}
	}
	return "", err
}

// Prepare installs what is missing for booting hosts, and says why none can be booted
// even so.
func Prepare(ctx context.Context, out io.Writer) error {
	if err := Install(ctx, out); err != nil {
		return err
	}
	if err := Check(); err != nil {
		return fmt.Errorf("real hosts can't be booted here: %w", err)
	}
	return nil
}

// Install installs the Debian packages that booting hosts needs, those that are
// missing, and says so on out. Where nothing is missing it does nothing, nor without
// root: Check says so.
func Install(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 || len(missingPackages()) == 0 {
		return nil
	}
	cache, err := CacheDir()
	if err != nil {
		return err
	}
	// Test binaries of several packages may start together on a fresh machine.
	lock, err := lockFile(ctx, filepath.Join(cache, "install.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	logPath := filepath.Join(cache, "install.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()

	step := startStep(out, "installing "+strings.Join(missing, " "))
	err = aptInstall(ctx, log, missing)
	if err != nil {
		// The package lists may be old or absent, as in most container images.
		// Update's own failure counts only if the install then fails too: one
		// unreachable third-party source is enough to fail it.
		_ = apt(ctx, log, "update")
		err = aptInstall(ctx, log, missing)
	}
	if err != nil {
		err = fmt.Errorf("install %s: %w; everything apt-get said: %s", strings.Join(missing, " "), err, logPath)
	} else if still := missingPackages(); len(still) > 0 {
		err = fmt.Errorf("apt-get installed %s, but their commands aren't there; see %s", strings.Join(still, " "), logPath)
	}
	step.done(err)
	return err
}

func aptInstall(ctx context.Context, log io.Writer, packages []string) error {
	return apt(ctx, log, append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
}

func apt(ctx context.Context, log io.Writer, args ...string) error {
	args = append([]string{"-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"}, args...)
	fmt.Fprintf(log, "+ apt-get %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}
