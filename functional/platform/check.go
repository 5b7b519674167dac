package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Check says in one line why real hosts can't be booted on this machine, or
// returns nil. It changes nothing: what it tries, it tries in namespaces of its
// own that vanish at once.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("real hosts need root (namespaces, overlay mounts and a bridge)")
	}
	if err := checkTools(); err != nil {
		return err
	}
	if err := checkCgroup(); err != nil {
		return err
	}
	if err := checkNamespaces(); err != nil {
		return err
	}
	return checkFilter()
}

// checkTools wants the tools, or a Debian that can install them.
func checkTools() error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	_, noRelease := os.Stat("/etc/debian_version")
	_, noApt := exec.LookPath("apt-get")
	if noRelease != nil || noApt != nil {
		return fmt.Errorf("real hosts need Debian with apt-get, or these tools in place: %s", strings.Join(missing, ", "))
	}
	return nil
}

// checkCgroup tries to make a cgroup of the kind that every host gets.
func checkCgroup() error {
	root, err := cgroupRoot()
	if err != nil {
		return fmt.Errorf("real hosts need cgroup v2: %w", err)
	}
	dir, err := os.MkdirTemp(root, "fleet-check-")
	if err != nil {
		return fmt.Errorf("real hosts need a cgroup v2 hierarchy that can be written: %w", err)
	}
	defer os.Remove(dir)
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		return errors.New("real hosts need Linux 5.14 or newer (cgroup.kill)")
	}
	return nil
}

// checkNamespaces tries what booting a host does: namespaces, an overlay mount
// and a bridge in them.
func checkNamespaces() error {
	result := make(chan error, 1)
	go func() {
		// The thread's namespaces differ from the process's from here on: the
		// thread is never unlocked, so that it ends with this goroutine, and
		// everything that was made in the namespaces goes with it.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread can't end, and /proc/self is its view: another one.
			go func() {
				runtime.LockOSThread()
				result <- probeNamespaces()
			}()
			probed := <-result
			result <- probed
			runtime.UnlockOSThread()
			return
		}
		result <- probeNamespaces()
	}()
	return <-result
}

func probeNamespaces() error {
	const need = "real hosts need privileges that are missing here (a container without --privileged?): "
	// Still in this machine's own network, where the platform's bridge has to
	// be: the name is refused, but only after the privilege has been looked at.
	if err := addBridge("no/name"); errors.Is(err, unix.EPERM) {
		return fmt.Errorf(need+"a bridge: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf(need+"new namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf(need+"private mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf(need+"tmpfs mount: %w", err)
	}
	defer func() { _ = unix.Unmount("/mnt", unix.MNT_DETACH) }() // the namespace goes anyway
	if err := unix.Mknod("/mnt/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf(need+"device nodes: %w", err)
	}
	for _, dir := range []string{"lower", "upper", "work", "root"} {
		if err := os.Mkdir("/mnt/"+dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/mnt/root", "overlay", 0, "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work"); err != nil {
		return fmt.Errorf("real hosts need overlayfs: %w", err)
	}
	defer func() { _ = unix.Unmount("/mnt/root", unix.MNT_DETACH) }()
	if err := addBridge("probe0"); err != nil {
		return fmt.Errorf("real hosts need a network bridge (kernel module bridge): %w", err)
	}
	return nil
}

// checkFilter tries the rules of a platform's network, once the tools are there.
func checkFilter() error {
	if _, err := lookTool("nft"); err != nil {
		return nil
	}
	argv := []string{"unshare", "--net", "nft", "-f", "-"}
	cmd := command(context.Background(), argv...)
	if _, err := output(cmd, "", argv, strings.NewReader(network{}.refusal())); err != nil {
		var failed *CommandError
		if errors.As(err, &failed) {
			err = errors.New(firstLine(failed.Stderr))
		}
		return fmt.Errorf("real hosts need nftables in the kernel: %w", err)
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// addBridge makes a bridge by the old ioctl, which needs no tool installed.
func addBridge(name string) error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	var ifname [unix.IFNAMSIZ]byte
	copy(ifname[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(sock), unix.SIOCBRADDBR, uintptr(unsafe.Pointer(&ifname))); errno != 0 {
		return errno
	}
	return nil
}
