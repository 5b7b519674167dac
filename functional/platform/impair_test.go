package platform

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestCutOneWay: what one side sends arrives, and no answer does.
func TestCutOneWay(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"}, HostSpec{Name: "n2"})
	n1, n2 := p.Host("n1"), p.Host("n2")
	for _, tt := range []struct {
		cut          Direction
		hears, heard bool // n1 hears n2, and is heard by it
	}{{Incoming, false, true}, {Outgoing, true, false}} {
		if err := n1.CutOneWay(t.Context(), tt.cut); err != nil {
			t.Fatal(err)
		}
		if got := hears(t, n1, n2); got != tt.hears {
			t.Errorf("%s cut: n1 hears n2: %v", tt.cut, got)
		}
		if got := hears(t, n2, n1); got != tt.heard {
			t.Errorf("%s cut: n2 hears n1: %v", tt.cut, got)
		}
		if err := n1.Rejoin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !reaches(t, n1, n2) || !reaches(t, n2, n1) {
			t.Errorf("%s cut, healed: they don't reach each other", tt.cut)
		}
	}
}

// hears says whether a datagram that one host sends arrives at the other, where it
// is counted behind all filters. That nobody listens there, the sender may be told.
func hears(t *testing.T, to, from *Host) bool {
	t.Helper()
	received := func() int {
		n, err := strconv.Atoi(mustRun(t, to, `awk '/^Udp: [0-9]/ {print $2+$3}' /proc/net/snmp`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := received()
	mustRun(t, from, fmt.Sprintf("bash -c 'for i in 1 2 3; do echo hi >/dev/udp/%s/9 || true; done' 2>/dev/null", to.IP()))
	return received() > before
}

func TestLosePackets(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"}, HostSpec{Name: "n2"})
	n1, n2 := p.Host("n1"), p.Host("n2")
	if err := n1.LosePackets(t.Context(), 30); err != nil {
		t.Fatal(err)
	}
	mustRun(t, n2, fmt.Sprintf("bash -c 'for i in $(seq 200); do echo hi >/dev/udp/%s/9 || true; done' 2>/dev/null", n1.IP()))
	dropped, err := strconv.Atoi(mustRun(t, n1, `iptables -t mangle -nvxL PREROUTING | awk '/statistic/ {print $1}'`))
	if err != nil || dropped < 25 || dropped > 110 { // of 200, ten deviations to either side
		t.Errorf("of 200 packets %d were lost (%v)", dropped, err)
	}
	if err := n1.Rejoin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, n1, "iptables -t mangle -S | grep statistic || true"); got != "" {
		t.Errorf("rejoined, and packets are still lost: %s", got)
	}
}

func TestSlow(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"})
	n1 := p.Host("n1")
	qdiscs := func() string {
		inside := mustRun(t, n1, "tc qdisc show dev host0")
		outside, err := run(t.Context(), "tc", "qdisc", "show", "dev", p.desc.Net.link(n1.desc.Number))
		if err != nil {
			t.Fatal(err)
		}
		return inside + "\n" + outside
	}
	before := qdiscs()
	if err := n1.Slow(t.Context(), 256); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(qdiscs(), "rate 256Kbit"); got != 2 {
		t.Errorf("%d ends of the link are slow: %s", got, qdiscs())
	}
	if err := n1.Rejoin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := qdiscs(); strings.Contains(after, "tbf") {
		t.Errorf("rejoined, and still slow: %s; at first %s", after, before)
	}
}

func TestLimitDir(t *testing.T) {
	t.Parallel()
	n1 := ForTest(t, HostSpec{Name: "n1"}).Host("n1")
	mustRun(t, n1, "install -d -m 0750 -o core /srv/data && echo kept >/srv/data/kept")
	if err := n1.LimitDir(t.Context(), "/srv/data", 1<<20); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"cat /srv/data/kept":        "kept",
		"stat -c '%a %U' /srv/data": "750 core",
		"head -c 2M /dev/zero 2>&1 >/srv/data/large | grep -o 'No space left'":                      "No space left",
		"systemd-run -q --wait -P sh -c 'df --output=size -B1 /srv/data | tail -n 1 | tr -d \" \"'": "1048576",
	} {
		if got := mustRun(t, n1, script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}
