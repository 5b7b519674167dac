package platform

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a file to be put on a host.
type File struct {
	Content string
	Mode    fs.FileMode // permissions; default 0644
	UID     int
	GID     int
	Link    string // not empty: the file is a symbolic link to this
}

const coreID = 1000 // the user core's uid and gid

// firstFiles is the archive of what a new host has of its own.
func (p *Platform) firstFiles(spec HostSpec) ([]byte, error) {
	a := newArchive()
	a.add("/etc/machine-id", File{Content: spec.MachineID + "\n", Mode: 0o444})
	a.add("/etc/hostname", File{Content: spec.Name + "\n"})
	for home, id := range map[string]int{"/root": 0, "/home/core": coreID} {
		a.dir(home+"/.ssh", 0o700, id)
		a.add(home+"/.ssh/authorized_keys", File{Content: p.sshPublic, Mode: 0o600, UID: id, GID: id})
	}
	const units = "/etc/systemd/system/"
	if spec.Docker {
		a.add(units+"sockets.target.wants/docker.socket", File{Link: "/lib/systemd/system/docker.socket"})
		a.add(units+"multi-user.target.wants/containerd.service", File{Link: "/lib/systemd/system/containerd.service"})
		a.add(units+"multi-user.target.wants/docker.service", File{Link: "/lib/systemd/system/docker.service"})
	}
	for _, unit := range spec.Enable {
		// systemd goes by the link's name; where it points need not exist there.
		a.add(units+"multi-user.target.wants/"+unit, File{Link: units + unit})
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Files)) {
		a.add(name, spec.Files[name])
	}
	return a.bytes()
}

// archive is a tar archive in the making; its first error is kept.
type archive struct {
	buf bytes.Buffer
	tar *tar.Writer
	err error
}

func newArchive() *archive {
	a := &archive{}
	a.tar = tar.NewWriter(&a.buf)
	return a
}

func (a *archive) bytes() ([]byte, error) {
	if a.err == nil {
		a.err = a.tar.Close()
	}
	return a.buf.Bytes(), a.err
}

func (a *archive) dir(name string, mode fs.FileMode, owner int) {
	a.put(&tar.Header{Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: int64(mode), Uid: owner, Gid: owner}, "")
}

func (a *archive) add(name string, f File) {
	if a.err != nil {
		return
	}
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
		a.err = fmt.Errorf("file %q: want a clean absolute path", name)
		return
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: 0o644, Uid: f.UID, Gid: f.GID}
	if f.Mode != 0 {
		header.Mode = int64(unixMode(f.Mode))
	}
	if f.Link != "" {
		header.Typeflag, header.Linkname, f.Content = tar.TypeSymlink, f.Link, ""
	}
	a.put(header, f.Content)
}

func (a *archive) put(header *tar.Header, content string) {
	if a.err != nil {
		return
	}
	header.Size, header.ModTime = int64(len(content)), time.Now()
	if a.err = a.tar.WriteHeader(header); a.err == nil {
		_, a.err = a.tar.Write([]byte(content))
	}
}

// unixMode is mode's permissions as the kernel numbers them.
func unixMode(mode fs.FileMode) uint32 {
	m := uint32(mode.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			m |= value
		}
	}
	return m
}

// disk is the directory with all that a host keeps when it is off.
type disk struct{ dir string }

func (d disk) upper() string   { return filepath.Join(d.dir, "upper") }
func (d disk) work() string    { return filepath.Join(d.dir, "work") }
func (d disk) root() string    { return filepath.Join(d.dir, "root") }
func (d disk) docker() string  { return filepath.Join(d.dir, "docker") }
func (d disk) console() string { return filepath.Join(d.dir, "console.log") }

// OnDisk is where a file lies on this machine that the host has written to its
// disk. It can be read whatever the host is doing; it must not be written.
func (h *Host) OnDisk(path string) string { return filepath.Join(h.disk().upper(), path) }

func (d disk) make() error {
	for _, dir := range []string{d.upper(), d.work(), d.root(), d.docker()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// discard removes the disk after an error, which it returns.
func (d disk) discard(err error) error { return errors.Join(err, os.RemoveAll(d.dir)) }

// overlay is the mount options that put the disk and the layers over rootfs.
func (d disk) overlay(rootfs string, layers []string) (string, error) {
	lower := slices.Concat(layers, []string{rootfs})
	slices.Reverse(lower[:len(layers)]) // the kernel wants the topmost first
	for _, dir := range append(lower, d.dir) {
		if strings.ContainsAny(dir, `,:\`) {
			return "", fmt.Errorf("%s: overlay mounts can't have , : or \\ in a path", dir)
		}
	}
	return fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lower, ":"), d.upper(), d.work()), nil
}
