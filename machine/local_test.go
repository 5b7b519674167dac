package machine

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testID   = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	testBoot = "9c5f4a2a-3b1e-4c63-9a5e-0f3a3c0a7a10"
)

// healthy is the files of a host on which all is well; an empty text takes one
// of them away.
func healthy(with map[string]string) map[string]string {
	files := map[string]string{
		"/etc/machine-id":                   testID + "\n",
		"/proc/sys/kernel/random/boot_id":   testBoot + "\n",
		"/proc/sys/kernel/hostname":         "host-1\n",
		"/proc/meminfo":                     "MemTotal:       24684084 kB\nMemFree:        24132016 kB\n",
		"/proc/net/route":                   route4("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"),
		"/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
	}
	for name, text := range with {
		files[name] = text
	}
	return files
}

func route4(lines ...string) string {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT   \n"
	return head + strings.Join(lines, "  \n") + "  \n"
}

// fakeRoot writes a host's files below a directory of its own.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		if text == "" {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func fixed(ifaces ...iface) func() ([]iface, error) {
	return func() ([]iface, error) { return ifaces, nil }
}

func up(name string, addrs ...string) iface {
	i := iface{name: name, up: true}
	for _, a := range addrs {
		i.addrs = append(i.addrs, netip.MustParseAddr(a))
	}
	return i
}

func TestLocal(t *testing.T) {
	metadata := map[string]string{"region": "eu"}
	s := Settings{
		Root: fakeRoot(t, healthy(nil)), Metadata: metadata, Version: "1.2.3", Manager: Manager{Scope: "user"},
		interfaces: fixed(up("lo", "127.0.0.1", "::1"), up("eth0", "192.0.2.7")),
	}
	got, err := Local(s)
	if err != nil {
		t.Fatal(err)
	}
	want := Machine{
		ID: testID, BootID: testBoot, Hostname: "host-1", IP: "192.0.2.7", Metadata: map[string]string{"region": "eu"},
		Capacity: Capacity{CPUs: runtime.NumCPU(), MemoryBytes: 24684084 * 1024}, Version: "1.2.3", Manager: Manager{Scope: "user"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	metadata["region"] = "us"
	if got.Metadata["region"] != "eu" {
		t.Error("the machine shares its metadata with the settings")
	}
}

func TestLocalSettings(t *testing.T) {
	other := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(other, []byte(strings.Repeat("1", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Local(Settings{
		Root: fakeRoot(t, healthy(map[string]string{"/etc/machine-id": ""})), MachineIDFile: other, PublicIP: " 2001:DB8::1 ",
		interfaces: func() ([]iface, error) { return nil, errors.New("not asked") },
	})
	if err != nil || m.ID != ID(strings.Repeat("1", 32)) || m.IP != "2001:db8::1" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestLocalFails(t *testing.T) {
	for _, c := range []struct {
		name     string
		files    map[string]string
		publicIP string
		want     string // in the error
	}{
		{"no machine-id", map[string]string{"/etc/machine-id": ""}, "", "/etc/machine-id is missing): run systemd-machine-id-setup"},
		{"empty machine-id", map[string]string{"/etc/machine-id": "\n"}, "", "/etc/machine-id is empty): run systemd-machine-id-setup"},
		{"before the first boot", map[string]string{"/etc/machine-id": "uninitialized\n"}, "", "is uninitialized): run systemd-machine-id-setup"},
		{"malformed machine-id", map[string]string{"/etc/machine-id": "host-1\n"}, "", "remove the file and run systemd-machine-id-setup"},
		{"machine-id in capitals", map[string]string{"/etc/machine-id": strings.ToUpper(testID)}, "", "lower-case hexadecimal digits only: remove the file"},
		{"zero machine-id", map[string]string{"/etc/machine-id": strings.Repeat("0", 32)}, "", "all zero, which is no id"},
		{"two machine-ids", map[string]string{"/etc/machine-id": testID + "\n" + testID}, "", "has 65 characters instead of 32"},
		{"no boot-id", map[string]string{"/proc/sys/kernel/random/boot_id": ""}, "", "boot id: open "},
		{"malformed boot-id", map[string]string{"/proc/sys/kernel/random/boot_id": "1"}, "", `has "1" instead of a UUID`},
		{"no hostname", map[string]string{"/proc/sys/kernel/hostname": ""}, "", "this host's name: open "},
		{"no meminfo", map[string]string{"/proc/meminfo": ""}, "", "this host's memory: open "},
		{"odd meminfo", map[string]string{"/proc/meminfo": "MemTotal: lots\n"}, "", `can't read "MemTotal: lots"`},
		{"a name for public_ip", nil, "host-1", `public_ip "host-1": not an address that others could reach: give an IPv4 or IPv6 address`},
		{"any address for public_ip", nil, "0.0.0.0", `public_ip "0.0.0.0": not an address`},
		{"multicast for public_ip", nil, "224.0.0.1", `public_ip "224.0.0.1": not an address`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Local(Settings{Root: fakeRoot(t, healthy(c.files)), PublicIP: c.publicIP, interfaces: fixed(up("eth0", "192.0.2.7"))})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got:  %v\nwant: …%s…", err, c.want)
			}
		})
	}
}

// TestLocalWithoutAddress: fleetd dev can still make something of the host.
func TestLocalWithoutAddress(t *testing.T) {
	m, err := Local(Settings{Root: fakeRoot(t, healthy(nil)), interfaces: fixed(up("lo", "127.0.0.1"))})
	if !errors.Is(err, ErrNoAddress) || m.ID != testID || m.IP != "" || m.Capacity.MemoryBytes == 0 {
		t.Errorf("%+v, %v", m, err)
	}
	failed := errors.New("netlink is shut")
	_, err = Local(Settings{Root: fakeRoot(t, healthy(nil)), interfaces: func() ([]iface, error) { return nil, failed }})
	if !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
}

// TestLocalHere reads the host that the test runs on.
func TestLocalHere(t *testing.T) {
	if _, err := os.Stat("/proc/meminfo"); err != nil {
		t.Skip("needs Linux's /proc")
	}
	id := filepath.Join(t.TempDir(), "id") // the host may have none, as build containers do
	if err := os.WriteFile(id, []byte(testID), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Local(Settings{MachineIDFile: id})
	if err != nil && !errors.Is(err, ErrNoAddress) {
		t.Fatal(err)
	}
	name, _ := os.Hostname()
	if m.Hostname != name || m.Capacity.CPUs < 1 || m.Capacity.MemoryBytes < 1<<20 {
		t.Errorf("%+v", m)
	}
	t.Logf("%+v", m)
}

func TestParseID(t *testing.T) {
	if id, err := ParseID(testID); err != nil || id != testID || id.Short() != "3d1219c7" {
		t.Errorf("%s, %s, %v", id, id.Short(), err)
	}
	for _, s := range []string{"", "3d1219c7", testID + "\n", strings.ToUpper(testID), "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4", strings.Repeat("0", 32), strings.Repeat("g", 32)} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) takes it", s)
		}
	}
	if got := ID("short").Short(); got != "short" {
		t.Errorf("Short gives %q", got)
	}
}

func TestCapacity(t *testing.T) {
	const mib = 1 << 20
	const v2, v1 = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no limit", nil, 2048 * mib},
		{"a container's limit", map[string]string{v2: "536870912\n"}, 512 * mib},
		{"none in cgroup v2's words", map[string]string{v2: "max\n"}, 2048 * mib},
		{"more than there is", map[string]string{v2: "8589934592\n"}, 2048 * mib},
		{"cgroup v1", map[string]string{v1: "536870912\n"}, 512 * mib},
		{"none in cgroup v1's words", map[string]string{v1: "9223372036854771712\n"}, 2048 * mib},
		{"zero", map[string]string{v2: "0\n"}, 2048 * mib},
		{"nonsense", map[string]string{v2: "?\n"}, 2048 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fakeRoot(t, map[string]string{"/proc/meminfo": "MemFree: 1 kB\nMemTotal:        2097152 kB\n"})
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := readCapacity(func(name string) string { return filepath.Join(root, name) })
			if err != nil || got.MemoryBytes != c.want {
				t.Errorf("%d bytes, %v; want %d", got.MemoryBytes, err, c.want)
			}
		})
	}
	for _, text := range []string{"", "MemFree: 1 kB\n", "MemTotal: 5 MB\n", "MemTotal: -5 kB\n", "MemTotal: 99999999999999999999 kB\n"} {
		if n, err := memTotal(text); err == nil {
			t.Errorf("memTotal(%q) = %d", text, n)
		}
	}
}
