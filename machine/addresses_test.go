package machine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindAddresses(t *testing.T) {
	const via = "\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0"
	for _, c := range []struct {
		name   string
		ifaces []iface
		files  map[string]string
		env    map[string]string
		want   Addresses
		err    string
	}{
		{name: "nothing", ifaces: []iface{up("lo", "127.0.0.1", "::1")}, want: Addresses{}},
		{name: "private ones only", ifaces: []iface{up("lo", "127.0.0.1"), up("host0", "169.254.3.4", "fe80::1", "10.1.0.7", "fd00::7")},
			want: Addresses{"private_ipv4": "10.1.0.7", "private_ipv6": "fd00::7"}},
		{name: "public and private on one interface", ifaces: []iface{up("eth0", "93.184.216.34", "10.1.0.7", "2606:2800::7", "fd00::7")},
			want: Addresses{"private_ipv4": "10.1.0.7", "public_ipv4": "93.184.216.34", "private_ipv6": "fd00::7", "public_ipv6": "2606:2800::7"}},
		{name: "public by the default route, private beside it", ifaces: []iface{up("eth1", "10.1.0.7"), up("eth0", "93.184.216.34")},
			files: map[string]string{"/proc/net/route": route4("eth0" + via)},
			want:  Addresses{"private_ipv4": "10.1.0.7", "public_ipv4": "93.184.216.34"}},
		{name: "the default route's before another's", ifaces: []iface{up("eth0", "10.1.0.7"), up("eth1", "10.2.0.7")},
			files: map[string]string{"/proc/net/route": route4("eth1" + via)},
			want:  Addresses{"private_ipv4": "10.2.0.7"}},
		{name: "IPv6 by its own default route", ifaces: []iface{up("eth0", "fd00::7"), up("eth1", "fd01::7")},
			files: map[string]string{"/proc/net/ipv6_route": route6("00000400", "00000003", "eth1")},
			want:  Addresses{"private_ipv6": "fd01::7"}},
		{name: "never a bridge to containers", ifaces: []iface{up("docker0", "172.17.0.1"), up("veth12ab", "10.5.0.1"), up("br-0a1b2c3d4e5f", "172.18.0.1")},
			want: Addresses{}},
		{name: "shared and documentation addresses aren't public", ifaces: []iface{up("eth0", "100.64.0.9"), up("eth1", "2001:db8::7")},
			want: Addresses{"private_ipv4": "100.64.0.9", "private_ipv6": "2001:db8::7"}},
		{name: "not an interface that is down", ifaces: []iface{{name: "eth0", addrs: up("", "10.1.0.7").addrs}}, want: Addresses{}},
		{name: "/etc/environment chooses among the interfaces'", ifaces: []iface{up("eth0", "10.1.0.7"), up("eth1", "10.9.0.1")},
			files: map[string]string{"/etc/environment": "# COREOS_PUBLIC_IPV4=1.1.1.1\nPATH=/bin\nexport COREOS_PRIVATE_IPV4=\"10.9.0.1\"\nCOREOS_PUBLIC_IPV4=\nCOREOS_PUBLIC_IPV6='2606:2800::8'\n"},
			want:  Addresses{"private_ipv4": "10.9.0.1", "public_ipv6": "2606:2800::8"}},
		{name: "/etc/environment from before the host moved", ifaces: []iface{up("eth0", "10.1.0.7")},
			files: map[string]string{"/etc/environment": "COREOS_PRIVATE_IPV4=10.9.0.1\n"}, want: Addresses{"private_ipv4": "10.1.0.7"}},
		{name: "/etc/environment from before, and no network yet",
			files: map[string]string{"/etc/environment": "COREOS_PRIVATE_IPV4=10.9.0.1\n"}, want: Addresses{}},
		{name: "/etc/environment behind NAT", ifaces: []iface{up("eth0", "10.1.0.7")},
			files: map[string]string{"/etc/environment": "COREOS_PUBLIC_IPV4=93.184.216.34\n"},
			want:  Addresses{"private_ipv4": "10.1.0.7", "public_ipv4": "93.184.216.34"}},
		{name: "the environment, whatever the interfaces", ifaces: []iface{up("eth0", "10.1.0.7")},
			env: map[string]string{"COREOS_PRIVATE_IPV4": "10.8.0.1"}, want: Addresses{"private_ipv4": "10.8.0.1"}},
		{name: "the environment over /etc/environment",
			files: map[string]string{"/etc/environment": "COREOS_PRIVATE_IPV4=10.9.0.1\nCOREOS_PUBLIC_IPV4=192.0.2.2\n"}, ifaces: []iface{up("eth0", "10.9.0.1")},
			env:  map[string]string{"COREOS_PRIVATE_IPV4": "10.8.0.1"},
			want: Addresses{"private_ipv4": "10.8.0.1", "public_ipv4": "192.0.2.2"}},
		{name: "not an address", env: map[string]string{"COREOS_PRIVATE_IPV4": "eth0"}, err: "COREOS_PRIVATE_IPV4=eth0 in the environment is no IPv4 address"},
		{name: "the other family", files: map[string]string{"/etc/environment": "COREOS_PUBLIC_IPV6=10.0.0.1\n"}, err: "COREOS_PUBLIC_IPV6=10.0.0.1 in /etc/environment is no IPv6 address"},
		{name: "any address is none", env: map[string]string{"COREOS_PRIVATE_IPV4": "0.0.0.0"}, err: "is no IPv4 address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := findAddresses(fakeRoot(t, c.files), func(name string) string { return c.env[name] }, fixed(c.ifaces...))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v; want %q", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestFindAddressesOfThisHost(t *testing.T) {
	found, err := FindAddresses("", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if addr, ok := found["private_ipv4"]; ok && addr == "" {
		t.Error("an address that the host hasn't is there, empty")
	}
}

func TestAddressesWith(t *testing.T) {
	host := Addresses{"private_ipv4": "10.1.0.7", "public_ipv4": "93.184.216.34"}
	got := host.With(map[string]string{"private_ipv4": "10.2.0.7", "public_ipv4": "", "public_ipv6": ""})
	if diff := cmp.Diff(Addresses{"private_ipv4": "10.2.0.7", "public_ipv4": "93.184.216.34"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if host["private_ipv4"] != "10.1.0.7" {
		t.Error("the host's own were changed")
	}
}

func TestNoAddress(t *testing.T) {
	for name, want := range map[string][]string{
		"public_ipv4":  {"globally routable IPv4", "$private_ipv4", "COREOS_PUBLIC_IPV4"},
		"private_ipv6": {"private IPv6", "$public_ipv6", "COREOS_PRIVATE_IPV6"},
	} {
		for _, w := range want {
			if got := NoAddress(name).Error(); !strings.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", name, got, w)
			}
		}
	}
}
