package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/cloudinit/format"
)

// guestTools are the programs that read a virtual machine's guestinfo; which
// one is there depends on the distribution.
var guestTools = [][]string{{"vmware-rpctool"}, {"vmtoolsd", "--cmd"}}

const noTools = "neither vmware-rpctool nor vmtoolsd is there: install open-vm-tools"

// maxInterfaces bounds what is asked for: each question may be a program run.
const maxInterfaces = 32

// VMwareGuestinfo is a VMware virtual machine's guestinfo.*, as VMware's own
// tools read it: the hypervisor's back door itself needs privileged
// instructions. An OVF environment there comes before single variables.
func (h *Host) VMwareGuestinfo() Source {
	s := Source{Name: "VMware's guestinfo", local: true}
	tool := func() []string {
		for _, t := range guestTools {
			if _, err := exec.LookPath(t[0]); err == nil {
				return t
			}
		}
		return nil
	}
	get := func(ctx context.Context, key string) (string, error) {
		t := tool()
		if t == nil {
			return "", errors.New(noTools)
		}
		out, err := runCommand(ctx, append(slices.Clone(t), "info-get guestinfo."+key)...)
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && bytes.Contains(bytes.ToLower(append(out, exit.Stderr...)), []byte("no value found")):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("%s: guestinfo.%s: %w", t[0], key, err)
		}
		return strings.TrimSuffix(string(out), "\n"), nil
	}
	s.available = func(context.Context) error {
		product, _ := os.ReadFile(h.path("/sys/class/dmi/id/product_name")) // none is no VMware's
		switch {
		case !bytes.HasPrefix(product, []byte("VMware")):
			return never("this is no VMware virtual machine")
		case tool() == nil:
			return never("%s", noTools)
		}
		return nil
	}
	s.read = func(ctx context.Context) (Found, error) {
		env, err := get(ctx, "ovfEnv")
		if err != nil {
			return Found{}, err
		}
		if env != "" {
			properties, err := ovfProperties([]byte(env))
			if err != nil {
				return Found{}, err
			}
			return h.readGuest(ctx, properties.get)
		}
		return h.readGuest(ctx, get)
	}
	return s
}

// OVFEnvironment is the file that a VMware virtual machine's OVF environment is
// in, usually /media/ovfenv/ovf-env.xml.
func (h *Host) OVFEnvironment(path string) Source {
	return Source{
		Name: "the OVF environment " + path, local: true,
		available: func(context.Context) error { return exists(path) },
		read: func(ctx context.Context) (Found, error) {
			text, err := readFile(ctx, path)
			if err != nil {
				return Found{}, err
			}
			properties, err := ovfProperties(text)
			if err != nil {
				return Found{}, err
			}
			return h.readGuest(ctx, properties.get)
		},
	}
}

// properties are an OVF environment's.
type properties map[string]string

func (p properties) get(_ context.Context, key string) (string, error) {
	return p["guestinfo."+key], nil
}

func ovfProperties(text []byte) (properties, error) {
	var env struct {
		Section struct {
			Property []struct {
				Key   string `xml:"key,attr"`
				Value string `xml:"value,attr"`
			}
		} `xml:"PropertySection"`
	}
	if err := xml.Unmarshal(text, &env); err != nil {
		return nil, errors.New("the OVF environment is no XML") // the error could quote it
	}
	all := make(properties)
	for _, p := range env.Section.Property {
		all[p.Key] = p.Value
	}
	return all, nil
}

// readGuest reads what get gives: user-data as itself or at a URL, the host's
// name, and its interfaces' addresses by their role.
func (h *Host) readGuest(ctx context.Context, get func(context.Context, string) (string, error)) (found Found, err error) {
	found.Shared = true
	value := func(format string, args ...any) string {
		var text string
		if err == nil {
			text, err = get(ctx, fmt.Sprintf(format, args...))
		}
		return text
	}
	found.Metadata.Hostname = value("hostname")
	for i := 0; i < maxInterfaces && err == nil; i++ {
		role, some := value("interface.%d.role", i), false
		for a := 0; a < maxInterfaces && err == nil; a++ {
			addr := value("interface.%d.ip.%d.address", i, a)
			if addr == "" {
				break
			}
			some = true
			err = setGuestAddress(&found.Metadata, role, addr)
		}
		named := value("interface.%d.name", i) != "" || value("interface.%d.mac", i) != "" || value("interface.%d.dhcp", i) != ""
		if (some || named) && len(found.Notes) == 0 {
			found.Notes = append(found.Notes, "guestinfo.interface.* doesn't configure the network: write coreos.units named *.network instead")
		}
		if !some && !named && role == "" {
			break
		}
	}
	for _, prefix := range []string{"ignition", "coreos"} {
		if text := value("%s.config.data", prefix); text != "" {
			encoding := value("%s.config.data.encoding", prefix)
			if err == nil {
				found.UserData, err = decodeGuest(text, encoding)
			}
			return found, err
		}
	}
	for _, prefix := range []string{"ignition", "coreos"} {
		if at := value("%s.config.url", prefix); at != "" && err == nil {
			found.UserData, err = h.newClient(true, nil).get(ctx, at)
			return found, err
		}
	}
	return found, err
}

func setGuestAddress(m *Metadata, role, addr string) error {
	p, err := netip.ParsePrefix(addr)
	switch {
	case err != nil:
		return fmt.Errorf("guestinfo: %q is no address with its network's length", addr)
	case role == "":
		return nil
	case role != "public" && role != "private":
		return fmt.Errorf("guestinfo: an interface's role is %q: it must be public or private", role)
	case p.Addr().Is4():
		return m.setAddress(role+"_ipv4", p.Addr().String())
	}
	return m.setAddress(role+"_ipv6", p.Addr().String())
}

func decodeGuest(text, encoding string) ([]byte, error) {
	data := []byte(text)
	switch encoding {
	case "", "gz", "gzip":
	case "b64", "base64", "gz+b64", "gzip+b64", "gz+base64", "gzip+base64":
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return nil, fmt.Errorf("guestinfo: the config is not %s: %w", encoding, err)
		}
	default:
		return nil, fmt.Errorf("guestinfo: the config's encoding %q is not known: use base64 or gzip+base64", encoding)
	}
	if strings.HasPrefix(encoding, "gz") {
		if _, err := gzip.NewReader(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("guestinfo: the config is not %s: %w", encoding, err)
		}
	}
	if len(data) > format.MaxSize {
		return nil, fmt.Errorf("guestinfo: the config is larger than %d MiB", format.MaxSize>>20)
	}
	return data, nil
}

// runCommand runs a program, and gives up on it after a while.
func runCommand(ctx context.Context, command ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	return cmd.Output()
}
