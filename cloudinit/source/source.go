package source

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Source is a place that may have a host's config.
type Source struct {
	// Name tells which it is, without secrets, as it appears in messages.
	Name string

	local bool // on this host: whether it is there can be seen at once
	// available is nil if the source is there, ErrNever if it never will be;
	// any other error says why it isn't there yet.
	available func(context.Context) error
	read      func(context.Context) (Found, error)
}

// ErrNever is part of the error of a source that isn't there, and for which it
// is in vain to wait.
var ErrNever = errors.New("there is none")

// never says why a source will not be there.
func never(format string, args ...any) error {
	return &neverError{fmt.Sprintf(format, args...)}
}

type neverError struct{ why string }

func (e *neverError) Error() string { return e.why }
func (e *neverError) Unwrap() error { return ErrNever }

// Found is what a source had.
type Found struct {
	From     string // the source's name
	UserData []byte // as it was found; it may be empty, or compressed
	Metadata Metadata
	Notes    []string // what the source has, and isn't used
	// Shared says that the system's own first-boot program reads the same
	// place, so that Ignition found there may have been applied already.
	Shared bool
}

// Metadata is what a platform says of a host apart from the user-data.
type Metadata struct {
	Hostname  string
	SSHKeys   []string
	Addresses map[string]string // by variable: "private_ipv4"
}

// Empty says whether the platform said nothing.
func (m Metadata) Empty() bool {
	return m.Hostname == "" && len(m.SSHKeys) == 0 && len(m.Addresses) == 0
}

// setAddress notes an address by its variable, unless there is one already. An
// empty one says nothing, and what is no address of the family is an error.
func (m *Metadata) setAddress(name, addr string) error {
	addr = strings.TrimSpace(addr)
	if addr == "" || m.Addresses[name] != "" {
		return nil
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Is4() != strings.HasSuffix(name, "4") {
		return fmt.Errorf("metadata: %q as $%s is no such address", addr, name)
	}
	if m.Addresses == nil {
		m.Addresses = make(map[string]string)
	}
	m.Addresses[name] = ip.String()
	return nil
}

// addKeys notes SSH keys, without empty ones and repetitions.
func (m *Metadata) addKeys(keys ...string) {
	for _, key := range keys {
		key = strings.TrimSpace(key)
		if key == "" {
			continue
		}
		known := false
		for _, k := range m.SSHKeys {
			known = known || k == key
		}
		if !known {
			m.SSHKeys = append(m.SSHKeys, key)
		}
	}
}

// Host is where sources are looked for; its zero value is this host.
type Host struct {
	Checksum Checksum     // what the user-data must have; the zero value takes any
	Log      func(string) // is told what is being waited for; nil for nobody
	Root     string       // where /proc, /media and the like are looked for; "" for /

	retry  retry            // zero for how coreos-cloudinit does it
	mount  mounter          // nil for the kernel's
	poll   [2]time.Duration // between looks for a source: at first, at most
	onWait func()           // for tests: before each such pause
}

func (h *Host) path(name string) string {
	if h.Root == "" {
		return name
	}
	return filepath.Join(h.Root, name)
}

func (h *Host) log(format string, args ...any) {
	if h.Log != nil {
		h.Log(fmt.Sprintf(format, args...))
	}
}
