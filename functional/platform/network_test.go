package platform

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// reaches says whether a TCP connection from one host to the other's sshd works.
func reaches(t *testing.T, from, to *Host) bool {
	t.Helper()
	out, err := from.Run(t.Context(), "sh", "-c", fmt.Sprintf("timeout 1 bash -c '</dev/tcp/%s/22' 2>/dev/null && echo yes || echo no", to.IP()))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out) == "yes"
}

func TestPartition(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"}, HostSpec{Name: "n2"}, HostSpec{Name: "n3"})
	n1, n2, n3 := p.Host("n1"), p.Host("n2"), p.Host("n3")
	ctx := t.Context()
	check := func(when string, from, to *Host, want bool) {
		t.Helper()
		if got := reaches(t, from, to); got != want {
			t.Errorf("%s: %s reaches %s: %v, want %v", when, from.Name(), to.Name(), got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("at first", n1, n2, true)
	if got := mustRun(t, n1, "getent hosts n3"); !strings.HasPrefix(got, n3.IP()) {
		t.Errorf("n1 knows n3 as %q", got)
	}

	must(n1.CutOff(ctx))
	if n1.State() != CutOff {
		t.Errorf("state %s", n1.State())
	}
	check("cut off", n1, n2, false)
	check("cut off", n3, n1, false)
	check("cut off", n3, n2, true)
	if _, err := net.DialTimeout("tcp", n1.IP()+":22", 300*time.Millisecond); err == nil {
		t.Error("a host cut off answers this machine")
	}
	if got := mustRun(t, n1, "cat /sys/class/net/host0/operstate"); got != "up" {
		t.Errorf("a host cut off sees its link %s", got)
	}
	must(n1.Rejoin(ctx))
	check("rejoined", n1, n2, true)
	check("rejoined", n3, n1, true)

	must(n1.CutFrom(ctx, n2))
	check("cut from n2", n1, n2, false)
	check("cut from n2", n2, n1, false)
	check("cut from n2", n1, n3, true)
	must(n1.Rejoin(ctx))
	must(n1.CutPorts(ctx, 22))
	check("port cut", n1, n3, false)
	check("port cut", n3, n1, false)
	check("port cut", n2, n3, true)
	if got := mustRun(t, n1, "timeout 1 bash -c '</dev/tcp/127.0.0.1/22' && echo yes"); got != "yes" {
		t.Errorf("the host's own port from itself: %q", got)
	}
	must(n1.Rejoin(ctx))
	check("rejoined", n3, n1, true)
	must(n1.Rejoin(ctx)) // nothing to end: fine
}

// TestKillIsSilent: the connections of a host that is lost must not be closed.
func TestKillIsSilent(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"})
	conn, err := net.Dial("tcp", p.Host("n1").IP()+":22")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	banner := make([]byte, 256)
	if _, err := conn.Read(banner); err != nil {
		t.Fatal(err)
	}
	if err := p.Host("n1").Kill(); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err = conn.Read(banner)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		t.Errorf("reading from a killed host: %v, want silence", err)
	}
}

func TestTwoPlatforms(t *testing.T) {
	t.Parallel()
	a, b := ForTest(t, HostSpec{Name: "n1"}), ForTest(t, HostSpec{Name: "n1"})
	if a.Subnet() == b.Subnet() || a.Bridge() == b.Bridge() {
		t.Fatalf("both have %s on %s", a.Subnet(), a.Bridge())
	}
	if reaches(t, a.Host("n1"), b.Host("n1")) {
		t.Error("hosts of two platforms reach each other")
	}
}

func TestRoutedPrefixes(t *testing.T) {
	t.Parallel()
	const routes = `default via 192.168.0.1 dev eth0 
10.213.0.0/16 dev vpn0 proto kernel scope link src 10.213.0.1 
broadcast 192.168.0.255 dev eth0 table local proto kernel scope link src 192.168.0.2 
local 10.1.2.3 dev lo table local proto kernel scope host src 10.1.2.3 
unreachable 10.9.0.0/24 metric 4278198272 
`
	var got []string
	for _, p := range routedPrefixes(routes) {
		got = append(got, p.String())
	}
	if want := "10.213.0.0/16 192.168.0.255/32 10.1.2.3/32 10.9.0.0/24"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestNetworkNames(t *testing.T) {
	t.Parallel()
	last := network{N: subnets - 1}
	for _, name := range []string{last.bridge(), last.link(maxHosts - 1)} {
		if len(name) > 15 {
			t.Errorf("interface name %s is too long for the kernel", name)
		}
	}
	if !last.prefix().Contains(last.host(maxHosts-1)) || last.host(maxHosts - 1).As4()[3] == 255 {
		t.Errorf("the last host has address %s", last.host(maxHosts-1))
	}
	if got := mac(netip.MustParseAddr("10.213.3.12")); got != "02:f2:0a:d5:03:0c" {
		t.Errorf("mac: %s", got)
	}
	if !overlapsAny(network{N: 7}.prefix(), routedPrefixes("10.213.0.0/16 dev x")) {
		t.Error("a subnet within a routed one counts as free")
	}
}
