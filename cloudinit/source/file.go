package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// File is a file or a pipe; "-" is standard input. It has no metadata.
func (h *Host) File(path string) Source {
	if path == "-" {
		return Source{
			Name: "standard input", local: true,
			available: func(context.Context) error { return nil },
			read: func(ctx context.Context) (Found, error) {
				data, err := readBounded(&patient{ctx, os.Stdin})
				return Found{UserData: data}, err
			},
		}
	}
	return Source{
		Name: path, local: true,
		available: func(context.Context) error { return exists(path) },
		read: func(ctx context.Context) (Found, error) {
			data, err := readFile(ctx, path)
			return Found{UserData: data}, err
		},
	}
}

// place is a file that may have been put in a well-known place. One that is
// empty counts as none.
func (h *Host) place(name string, shared bool) Source {
	path := h.path(name)
	return Source{
		Name: name, local: true,
		available: func(context.Context) error {
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return never("not there")
			case err != nil:
				return err
			case info.Mode().IsRegular() && info.Size() == 0:
				return never("empty")
			}
			return nil
		},
		read: func(ctx context.Context) (Found, error) {
			data, err := readFile(ctx, path)
			return Found{UserData: data, Shared: shared}, err
		},
	}
}

// Defaults are the places on this host where a config is looked for if nobody
// says where, in order.
func (h *Host) Defaults() []Source {
	return []Source{
		h.CommandLine(),
		h.place("/var/lib/coreos-install/user_data", false),
		h.ConfigDrive(AnyDrive),
		h.place("/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw", true),
		h.place("/sys/firmware/qemu_fw_cfg/by_name/opt/org.flatcar-linux/config/raw", true),
		h.place("/usr/share/oem/cloud-config.yml", false),
	}
}

// exists says why a file isn't there.
func exists(path string) error {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return never("there is no such file")
	}
	return unpathed(err)
}

// unpathed gives an error without the path, which the source's name has.
func unpathed(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// patient reads what may never come, such as what a person types, until its
// context ends.
type patient struct {
	ctx  context.Context
	from *os.File
}

func (p *patient) Read(b []byte) (int, error) {
	const look = 100 // milliseconds: how soon the context's end is seen
	for {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		ready := []unix.PollFd{{Fd: int32(p.from.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, look)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("poll", err)
		case n > 0:
			return p.from.Read(b)
		}
	}
}

// readFile reads a file that may be a pipe, and waits for no writer that isn't
// there, nor longer than it may.
func readFile(ctx context.Context, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, unpathed(err)
	}
	return readOpen(ctx, f)
}

func readOpen(ctx context.Context, f *os.File) ([]byte, error) {
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, unpathed(err)
	case info.IsDir():
		return nil, errors.New("it is a directory, not a file")
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeNamedPipe == 0:
		return nil, errors.New("it is neither a file nor a pipe")
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) }) // only pipes wait, and they can be told
	defer stop()
	data, err := readBounded(f)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return data, unpathed(err)
}

// tryFile reads a file below a directory, that need not be there. A link that
// leads out of the directory is none of whoever filled it.
func tryFile(ctx context.Context, dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var data []byte
	if err == nil {
		data, err = readOpen(ctx, f)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, unpathed(err))
	}
	return data, nil
}

// CommandLine is the URL that the kernel's command line gives:
// cloud-config-url=URL, in which any hyphen may be an underscore. The last one
// counts. It has no metadata.
func (h *Host) CommandLine() Source {
	s := Source{Name: "the kernel's command line (cloud-config-url=)", local: true}
	find := func() (string, error) {
		data, err := os.ReadFile(h.path("/proc/cmdline"))
		if err != nil {
			return "", never("%v", err)
		}
		found := ""
		for word := range strings.FieldsSeq(string(bytes.TrimSpace(data))) {
			key, value, _ := strings.Cut(word, "=")
			if strings.ReplaceAll(key, "_", "-") == "cloud-config-url" && value != "" {
				found = value
			}
		}
		if found == "" {
			return "", never("it has no such word")
		}
		return found, nil
	}
	s.available = func(context.Context) error { _, err := find(); return err }
	s.read = func(ctx context.Context) (Found, error) {
		at, err := find()
		if err != nil {
			return Found{}, err
		}
		plain, sum, err := splitChecksum(at)
		if err != nil {
			return Found{}, err
		}
		data, err := h.newClient(true, nil).get(ctx, plain)
		if err == nil {
			err = sum.Verify(data)
		}
		return Found{UserData: data}, err
	}
	return s
}
