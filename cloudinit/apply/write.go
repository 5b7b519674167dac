package apply

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names under which things are made before they are
// renamed to their place. systemd, sshd, sudo and cron skip such names.
const tempPrefix = ".fleetd-cloudinit-"

// chunk is how much is written at once.
const chunk = 1 << 20

// do carries out a step of the plan.
func (r *root) do(s step) error {
	now, err := r.lstat(s.path)
	if err != nil {
		return err
	}
	if now.kind != s.was.kind || now.ino != s.was.ino || now.dev != s.was.dev {
		return fmt.Errorf("%s changed since it was looked at", s.path)
	}
	if s.leftover {
		if err := r.remove(s.path, now); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		return nil // somebody's who took the name: no reason to end here
	}
	switch s.want.kind {
	case missing:
		return r.removeAll(s.path, now)
	case directory:
		return r.makeDir(s, now)
	}
	return r.place(s.path, func(dir int, temp string) error {
		switch {
		case s.hardTo != "":
			return r.hardLink(s.hardTo, dir, temp)
		case s.want.kind == symlink:
			return r.makeLink(dir, temp, s.want)
		}
		return r.writeFile(dir, temp, path.Base(s.path), s)
	})
}

func (r *root) before(op string) {
	if r.hook != nil {
		r.hook(op)
	}
}

// place has something made under another name and renames it to its place.
func (r *root) place(p string, create func(dir int, temp string) error) error {
	dir, name, err := r.parent(p)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	random := make([]byte, 6)
	_, _ = rand.Read(random) // it never fails
	temp := tempPrefix + hex.EncodeToString(random)
	err = create(dir, temp)
	if err == nil {
		r.before("rename")
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		if unix.Unlinkat(dir, temp, 0) != nil {
			_ = unix.Unlinkat(dir, temp, unix.AT_REMOVEDIR)
		}
		return &fs.PathError{Op: "write", Path: p, Err: err}
	}
	r.before("fsync directory")
	return unix.Fsync(dir)
}

// chown gives what is open to its owner: never by its name, which whoever owns
// the directory could give to another file meanwhile. chmod goes by the
// descriptor for the same reason.
func (r *root) chown(fd int, want entry) error {
	if r.noOwners {
		return nil
	}
	r.before("chown")
	return unix.Fchownat(fd, "", want.uid, want.gid, unix.AT_EMPTY_PATH)
}

func (r *root) makeLink(dir int, temp string, want entry) error {
	r.before("symlink")
	if err := unix.Symlinkat(want.target, dir, temp); err != nil {
		return err
	}
	fd, err := unix.Openat(dir, temp, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return errors.New("somebody put another thing in its place")
	}
	return r.chown(fd, want)
}

func (r *root) writeFile(dir int, temp, name string, s step) error {
	r.before("create")
	fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for data := s.content; len(data) > 0; {
		r.before("write")
		n, err := unix.Write(fd, data[:min(chunk, len(data))])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		data = data[max(n, 0):]
	}
	if err := r.chown(fd, s.want); err != nil {
		return err
	}
	r.before("chmod") // after the owner: chown takes setuid away
	if err := unix.Fchmod(fd, s.want.mode); err != nil {
		return err
	}
	if s.was.kind == regular {
		keepLabel(dir, name, fd)
	}
	r.before("fsync")
	return unix.Fsync(fd)
}

// keepLabel gives a file's replacement its SELinux label: /etc/shadow's isn't
// what a new file in /etc gets. Where there are no labels, there is nothing to
// keep.
func keepLabel(dir int, name string, to int) {
	const label = "security.selinux"
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	value := make([]byte, 256)
	if n, err := unix.Fgetxattr(fd, label, value); err == nil {
		_ = unix.Fsetxattr(to, label, value[:n], 0)
	}
}

func (r *root) hardLink(to string, dir int, temp string) error {
	from, name, err := r.parent(to)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	r.before("link")
	return unix.Linkat(from, name, dir, temp, 0)
}

// makeDir makes a directory, or sets an existing one's owner and mode.
func (r *root) makeDir(s step, now entry) error {
	if now.kind == directory {
		fd, err := r.open(s.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := r.setRights(fd, s.want); err != nil {
			return &fs.PathError{Op: "change", Path: s.path, Err: err}
		}
		return nil
	}
	if now.kind != missing {
		if err := r.remove(s.path, now); err != nil {
			return err
		}
	}
	return r.place(s.path, func(dir int, temp string) error {
		r.before("mkdir")
		if err := unix.Mkdirat(dir, temp, 0o700); err != nil {
			return err
		}
		fd, err := unix.Openat(dir, temp, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return r.setRights(fd, s.want)
	})
}

func (r *root) setRights(fd int, want entry) error {
	if err := r.chown(fd, want); err != nil {
		return err
	}
	r.before("chmod")
	return unix.Fchmod(fd, want.mode)
}

// remove removes one thing; a directory only if it is empty.
func (r *root) remove(p string, now entry) error {
	dir, name, err := r.parent(p)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	flags := 0
	if now.kind == directory {
		flags = unix.AT_REMOVEDIR
	}
	r.before("unlink")
	if err := unix.Unlinkat(dir, name, flags); err != nil {
		return &fs.PathError{Op: "remove", Path: p, Err: err}
	}
	return unix.Fsync(dir)
}

// removeAll removes what is below a path as well.
func (r *root) removeAll(p string, now entry) error {
	if err := r.mountedBelow(p); err != nil {
		return err
	}
	return r.removeTree(p, now)
}

func (r *root) removeTree(p string, now entry) error {
	if now.kind == directory {
		names, err := r.list(p)
		if err != nil {
			return err
		}
		for _, name := range names {
			below := path.Join(p, name)
			e, err := r.lstat(below)
			if err == nil {
				err = r.removeTree(below, e)
			}
			if err != nil {
				return err
			}
		}
	}
	return r.remove(p, now)
}

// mountedBelow says what is mounted at a path or below: that isn't ours to empty,
// even if it is of the same filesystem.
func (r *root) mountedBelow(p string) error {
	mount, err := r.mount(path.Dir(p))
	if err != nil {
		return err
	}
	var walk func(p string) error
	walk = func(p string) error {
		e, err := r.lstat(p)
		if err != nil || e.kind != directory && e.kind != regular {
			return err
		}
		switch on, err := r.mount(p); {
		case err != nil:
			return err
		case on != mount:
			return fmt.Errorf("%s is mounted: unmount it first", p)
		case e.kind != directory:
			return nil
		}
		names, err := r.list(p)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := walk(path.Join(p, name)); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(p)
}

// mount tells mounts apart: by their id, where the kernel (5.8 and later) says it,
// else by the device.
func (r *root) mount(p string) (uint64, error) {
	fd, err := r.open(p, unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &st); err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		return st.Mnt_id, nil
	}
	e, err := r.lstat(p)
	return e.dev, err
}

// lock waits for nobody: it is an error if another run is under way in this
// root. With accounts, no tool that changes accounts may run meanwhile either.
func (r *root) lock(ctx context.Context, accounts bool) (unlock func(), err error) {
	if err := unix.Flock(int(r.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("another run of fleetd cloudinit is under way on this root: wait until it has ended")
		}
		return nil, fmt.Errorf("locking the root: %w", err)
	}
	release := func() { _ = unix.Flock(int(r.file.Fd()), unix.LOCK_UN) }
	if !accounts {
		return release, nil
	}
	fd, err := r.lockAccounts(ctx)
	if err != nil {
		release()
		return nil, err
	}
	return func() { _ = unix.Close(fd); release() }, nil
}

// isTemp tells what an earlier run left.
func isTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }
