package apply

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// kind is what lies at a path.
type kind byte

const (
	missing kind = iota
	regular
	directory
	symlink
	special // FIFO, device, socket
)

// entry is what a path is, but for a file's content.
type entry struct {
	kind     kind
	mode     uint32 // permissions and the special bits, 07777
	uid, gid int
	target   string // a symlink's
	what     string // a special's name
	ino, dev uint64 // of what is on disk
	size     int64
	names    uint64 // hard links
}

func (e entry) String() string {
	switch e.kind {
	case regular:
		return "a file"
	case directory:
		return "a directory"
	case symlink:
		return "a symbolic link to " + e.target
	case special:
		return e.what
	}
	return "missing"
}

// root is the root directory that all paths are below. Its methods take
// canonical paths: absolute, clean, and without links on the way. A link where
// none may be is an error, so that nothing that changes meanwhile leads
// elsewhere.
type root struct {
	file     *os.File
	hook     func(op string)
	noOwners bool
}

func openRoot(dir string) (*root, error) {
	f, err := os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("the root: %w", err)
	}
	return &root{file: f}, nil
}

func (r *root) close() error { return r.file.Close() }

// parts splits a canonical path.
func parts(p string) []string {
	return strings.FieldsFunc(p, func(c rune) bool { return c == '/' })
}

// open opens a path, with a descriptor that the caller closes.
func (r *root) open(p string, flags int) (int, error) {
	all := parts(p)
	at := int(r.file.Fd())
	if len(all) == 0 {
		all = []string{"."}
	}
	for i, part := range all {
		how := unix.O_PATH | unix.O_DIRECTORY
		if i == len(all)-1 {
			how = flags
		}
		fd, err := unix.Openat(at, part, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if i > 0 {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: "/" + path.Join(all[:i+1]...), Err: err}
		}
		at = fd
	}
	return at, nil
}

// parent opens the directory that a path is in, for changes there.
func (r *root) parent(p string) (fd int, name string, err error) {
	fd, err = r.open(path.Dir(p), unix.O_RDONLY|unix.O_DIRECTORY)
	return fd, path.Base(p), err
}

// lstat tells what lies at a path.
func (r *root) lstat(p string) (entry, error) {
	fd, err := r.open(p, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return entry{}, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	e := entry{mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), ino: st.Ino, dev: st.Dev, size: st.Size}
	e.names = uint64(st.Nlink) //nolint:unconvert // it is a uint32 on arm64
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.kind = regular
	case unix.S_IFDIR:
		e.kind = directory
	case unix.S_IFLNK:
		e.kind = symlink
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return entry{}, &fs.PathError{Op: "readlink", Path: p, Err: err}
		}
		e.target = string(buf[:n])
	case unix.S_IFIFO:
		e.kind, e.what = special, "a FIFO"
	case unix.S_IFSOCK:
		e.kind, e.what = special, "a socket"
	default:
		e.kind, e.what = special, "a device"
	}
	return e, nil
}

// read reads a regular file of at most max bytes.
func (r *root) read(p string, max int64) ([]byte, error) {
	fd, err := r.open(p, unix.O_RDONLY|unix.O_NONBLOCK) // a FIFO put there meanwhile must not hang us
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", p)
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		return nil, fmt.Errorf("%s is larger than %d MiB", p, max>>20)
	}
	return data, err
}

// list gives the names in a directory, sorted; none if there is none.
func (r *root) list(p string) ([]string, error) {
	fd, err := r.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return sorted(names), nil
}

// kernelFilesystems hold no files of anybody's: what is written there is an
// order to the kernel.
var kernelFilesystems = map[int64]string{
	unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs", unix.CGROUP_SUPER_MAGIC: "cgroup",
	unix.CGROUP2_SUPER_MAGIC: "cgroup2", unix.DEBUGFS_MAGIC: "debugfs", unix.TRACEFS_MAGIC: "tracefs",
	unix.SECURITYFS_MAGIC: "securityfs", unix.EFIVARFS_MAGIC: "efivarfs", unix.BPF_FS_MAGIC: "bpf",
	unix.DEVPTS_SUPER_MAGIC: "devpts", unix.SELINUX_MAGIC: "selinuxfs",
}

// writable says why nothing can be written into a directory; nil if it can.
func (r *root) writable(dir string) error {
	fd, err := r.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if name, ok := kernelFilesystems[st.Type]; ok {
		return fmt.Errorf("%s is the kernel's (%s)", dir, name)
	}
	if err := unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		if errors.Is(err, unix.EROFS) {
			return fmt.Errorf("%s is read-only", dir)
		}
		return &fs.PathError{Op: "write into", Path: dir, Err: err}
	}
	return nil
}
