package machine

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const zero6 = "00000000000000000000000000000000"

func route6(metric, flags, iface string) string {
	return zero6 + " 00 " + zero6 + " 00 fd000000000000000000000000000001 " + metric + " 00000002 00000000 " + flags + "     " + iface + "\n"
}

func TestReadAddress(t *testing.T) {
	const via = "\t00000000\t010200C0\t0003\t0\t0\t" // a default route up to its metric
	const local6 = "fd000000000000000000000000000000 40 " + zero6 + " 00 " + zero6 + " 00000100 00000001 00000000 00000001     eth0\n"
	unreachable6 := zero6 + " 00 " + zero6 + " 00 " + zero6 + " ffffffff 00000001 00000000 00200200       lo\n"
	for _, c := range []struct {
		name   string
		ifaces []iface
		files  map[string]string
		want   string // "" for ErrNoAddress
	}{
		{"the default route's interface", []iface{up("eth0", "192.0.2.7"), up("eth1", "198.51.100.7")},
			map[string]string{"/proc/net/route": route4("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0", "eth1"+via+"0\t00000000\t0\t0\t0")}, "198.51.100.7"},
		{"the lowest metric", []iface{up("wlan0", "192.0.2.7"), up("eth1", "198.51.100.7")},
			map[string]string{"/proc/net/route": route4("wlan0"+via+"600\t00000000\t0\t0\t0", "eth1"+via+"100\t00000000\t0\t0\t0")}, "198.51.100.7"},
		{"the interface's first address", []iface{up("eth0", "169.254.3.4", "192.0.2.7", "192.0.2.8")},
			map[string]string{"/proc/net/route": route4("eth0" + via + "0\t00000000\t0\t0\t0")}, "192.0.2.7"},
		{"a default route to containers, if one says so", []iface{up("eth0", "192.0.2.7"), up("docker0", "172.17.0.1")},
			map[string]string{"/proc/net/route": route4("docker0" + via + "0\t00000000\t0\t0\t0")}, "172.17.0.1"},
		{"IPv4 before IPv6", []iface{up("eth0", "2001:db8::7", "192.0.2.7")},
			map[string]string{"/proc/net/route": route4("eth0" + via + "0\t00000000\t0\t0\t0"), "/proc/net/ipv6_route": route6("00000400", "00000003", "eth0")}, "192.0.2.7"},
		{"IPv6 only", []iface{up("eth0", "fe80::1", "2001:db8::7"), up("eth1", "2001:db8:1::7")},
			map[string]string{"/proc/net/route": route4(), "/proc/net/ipv6_route": unreachable6 + local6 + route6("00000400", "00000003", "eth1")}, "2001:db8:1::7"},
		{"IPv6 by metric", []iface{up("eth0", "2001:db8::7"), up("eth1", "2001:db8:1::7")},
			map[string]string{"/proc/net/ipv6_route": route6("00000400", "00000003", "eth0") + route6("00000064", "00000003", "eth1")}, "2001:db8:1::7"},
		{"not a privacy address", []iface{up("eth0", "2001:db8::aaaa", "2001:db8::7")},
			map[string]string{"/proc/net/ipv6_route": route6("00000400", "00000003", "eth0"),
				"/proc/net/if_inet6": "20010db800000000000000000000aaaa 02 40 00 01     eth0\n20010db8000000000000000000000007 02 40 00 80     eth0\n"}, "2001:db8::7"},
		{"a privacy address rather than none", []iface{up("eth0", "2001:db8::aaaa")},
			map[string]string{"/proc/net/if_inet6": "20010db800000000000000000000aaaa 02 40 00 21     eth0\n"}, "2001:db8::aaaa"},
		{"no default route", []iface{up("lo", "127.0.0.1"), up("host0", "10.1.0.7")}, map[string]string{"/proc/net/route": route4()}, "10.1.0.7"},
		{"no routes at all", []iface{up("lo", "127.0.0.1"), up("host0", "10.1.0.7")}, nil, "10.1.0.7"},
		{"past bridges to containers", []iface{up("docker0", "172.17.0.1"), up("br-0a1b2c3d4e5f", "172.18.0.1"), up("veth12ab", "172.19.0.1"), up("host0", "10.1.0.7")}, nil, "10.1.0.7"},
		{"past bridges even to IPv6", []iface{up("docker0", "172.17.0.1"), up("host0", "2001:db8::7")}, nil, "2001:db8::7"},
		{"a bridge rather than nothing", []iface{up("lo", "127.0.0.1"), up("docker0", "172.17.0.1")}, nil, "172.17.0.1"},
		{"a bridge that people made", []iface{up("docker0", "172.17.0.1"), up("br-lan", "10.1.0.7")}, nil, "10.1.0.7"},
		{"not one that is down", []iface{{name: "eth0", addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}, up("eth1", "10.1.0.7")},
			map[string]string{"/proc/net/route": route4("eth0" + via + "0\t00000000\t0\t0\t0")}, "10.1.0.7"},
		{"a route that is down or refuses", []iface{up("eth0", "192.0.2.7"), up("eth1", "10.1.0.7")},
			map[string]string{"/proc/net/route": route4("eth1\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0", "eth1\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0")}, "192.0.2.7"},
		{"half of the internet is no default", []iface{up("eth0", "192.0.2.7"), up("tun0", "10.1.0.7")},
			map[string]string{"/proc/net/route": route4("tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0")}, "192.0.2.7"},
		{"lines nobody can read", []iface{up("eth0", "192.0.2.7")},
			map[string]string{"/proc/net/route": "\nx\neth1\t00000000\t0\tzz\t0\t0\t0\t00000000\n", "/proc/net/ipv6_route": "x\n" + route6("zz", "zz", "eth1"), "/proc/net/if_inet6": "zz\n"}, "192.0.2.7"},
		{"link-local only", []iface{up("eth0", "fe80::1", "169.254.3.4")}, nil, ""},
		{"nothing", nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fakeRoot(t, c.files)
			got, err := readAddress(func(name string) string { return filepath.Join(root, name) }, fixed(c.ifaces...))
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestPassing6(t *testing.T) {
	got := passing6("20010db8000000000000000000000001 02 40 00 01 eth0\n" + // temporary
		"20010db8000000000000000000000002 02 40 00 20 eth0\n" + // deprecated
		"20010db8000000000000000000000003 02 40 00 40 eth0\n" + // tentative
		"20010db8000000000000000000000004 02 40 00 08 eth0\n" + // a duplicate
		"20010db8000000000000000000000005 02 40 00 80 eth0\n" +
		"fd000000000000000000000000000002 04 40 00 82 eth0\n" +
		"zz010db8000000000000000000000006 02 40 00 01 eth0\n\nshort\n")
	want := make(map[netip.Addr]bool)
	for _, a := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"} {
		want[netip.MustParseAddr(a)] = true
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIsInner(t *testing.T) {
	for name, want := range map[string]bool{
		"docker0": true, "docker_gwbridge": true, "veth3f2a": true, "br-0a1b2c3d4e5f": true, "virbr0": true, "cni0": true,
		"eth0": false, "br0": false, "br-lan": false, "br-0A1B2C3D4E5F": false, "host0": false, "bond0": false, "wlan0": false,
	} {
		if isInner(name) != want {
			t.Errorf("%s: want %v", name, want)
		}
	}
}

func TestHostInterfaces(t *testing.T) {
	ifaces, err := hostInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifaces {
		for _, a := range i.addrs {
			if !a.IsValid() || a.Is4In6() {
				t.Errorf("%s: %v", i.name, a)
			}
		}
	}
}
