package platform

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Every platform has one of 256 subnets, 10.213.N.0/24, and everything it adds
// to this machine's network is named by that N.
const (
	subnets     = 256
	firstHost   = 11 // hosts are .11, .12, …; the bridge is .1
	maxHosts    = 240
	linkPattern = "fleetbr%d"
)

// network is a platform's bridge and subnet.
type network struct {
	N   int
	MAC string // the bridge's: whose it is, should its name be taken anew
}

func (n network) bridge() string { return fmt.Sprintf(linkPattern, n.N) }
func (n network) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte(n.N), 0}), 24)
}
func (n network) gateway() netip.Addr { return netip.AddrFrom4([4]byte{10, 213, byte(n.N), 1}) }
func (n network) host(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 213, byte(n.N), byte(firstHost + number)})
}
func (n network) links() string          { return fmt.Sprintf("fleet%dh", n.N) }
func (n network) link(number int) string { return n.links() + strconv.Itoa(number) }

func randomMAC() string {
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("02:f1:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// mac is a host's hardware address: the same at each boot, so that no
// neighbour remembers a wrong one.
func mac(ip netip.Addr) string {
	b := ip.As4()
	return fmt.Sprintf("02:f2:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// claimNetwork makes the bridge of the first subnet that nothing here uses. The
// kernel refuses a bridge's name twice: that alone keeps platforms apart.
func claimNetwork(ctx context.Context) (network, error) {
	routes, err := run(ctx, "ip", "-4", "-o", "route", "show", "table", "all")
	if err != nil {
		return network{}, err
	}
	used := routedPrefixes(routes)
	for i := range subnets {
		n := network{N: i, MAC: randomMAC()}
		if overlapsAny(n.prefix(), used) {
			continue
		}
		_, err := run(ctx, "ip", "link", "add", n.bridge(), "address", n.MAC, "type", "bridge", "mcast_snooping", "0")
		var failed *CommandError
		if errors.As(err, &failed) && strings.Contains(failed.Stderr, "File exists") {
			continue
		}
		if err != nil {
			return network{}, err
		}
		return n, nil
	}
	return network{}, errors.New("no free subnet in 10.213.0.0/16 for another platform")
}

// routedPrefixes are the destinations in `ip route`'s output, default excepted.
func routedPrefixes(routes string) []netip.Prefix {
	var found []netip.Prefix
	for line := range strings.Lines(routes) {
		for _, field := range strings.Fields(line) {
			// The destination comes first, after a type such as "local".
			if prefix, err := netip.ParsePrefix(field); err == nil {
				found = append(found, prefix)
				break
			}
			if addr, err := netip.ParseAddr(field); err == nil {
				found = append(found, netip.PrefixFrom(addr, addr.BitLen()))
				break
			}
			if field == "default" {
				break
			}
		}
	}
	return found
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Overlaps(p) {
			return true
		}
	}
	return false
}

// setUp configures the bridge that claimNetwork made.
func (n network) setUp(ctx context.Context) error {
	bridge := n.bridge()
	for _, argv := range [][]string{
		{"ip", "address", "add", n.gateway().String() + "/24", "dev", bridge},
		{"ip", "link", "set", bridge, "up"},
	} {
		if _, err := run(ctx, argv...); err != nil {
			return err
		}
	}
	if err := nft(ctx, n.refusal()); err != nil {
		return err
	}
	// A docker daemon on this machine lets the bridge's own traffic go through
	// iptables (bridge-nf-call-iptables) and sets FORWARD's policy to DROP. It
	// may do so later than now, so the rule is added wherever there is iptables.
	if path, err := lookTool("iptables"); err == nil {
		argv := append([]string{path, "-w", "-I", "FORWARD"}, n.forwardRule()...)
		if _, err := run(ctx, argv...); err != nil && bridgeFiltered() {
			return fmt.Errorf("hosts can't reach each other past this machine's packet filter: %w", err)
		}
	} else if bridgeFiltered() {
		return errors.New("this machine filters bridged packets (bridge-nf-call-iptables=1), and has no iptables command to let hosts through: apt-get install iptables")
	}
	return nil
}

// refusal is a rule set. Hosts have a default route, as hosts do, but never
// reach anything beyond their network, not even where this machine forwards
// packets. A reset refuses at once; for other packets the kernel limits the
// rate of refusals, and what uses TCP would wait seconds for one.
func (n network) refusal() string {
	return fmt.Sprintf(`add table ip %[1]s
add chain ip %[1]s refuse { type filter hook prerouting priority -400; }
add rule ip %[1]s refuse iifname != %[1]s accept
add rule ip %[1]s refuse ip daddr %[2]s accept
add rule ip %[1]s refuse meta l4proto tcp reject with tcp reset
add rule ip %[1]s refuse reject
`, n.bridge(), n.prefix())
}

func nft(ctx context.Context, rules string) error {
	argv := []string{"nft", "-f", "-"}
	_, err := output(command(ctx, argv...), "", argv, strings.NewReader(rules))
	return err
}

func (n network) forwardRule() []string {
	return []string{"-i", n.bridge(), "-o", n.bridge(), "-j", "ACCEPT"}
}

func bridgeFiltered() bool {
	data, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// plug gives the network namespace of process pid its interface, host0.
func (n network) plug(ctx context.Context, number, pid int) error {
	link := n.link(number)
	// A namespace dies some time after its last process; its link may linger.
	n.unplug(ctx, number)
	_, err := run(ctx, "ip", "link", "add", link, "type", "veth",
		"peer", "name", "host0", "address", mac(n.host(number)), "netns", strconv.Itoa(pid))
	if err != nil {
		return err
	}
	_, err = run(ctx, "ip", "link", "set", link, "master", n.bridge(), "up")
	return err
}

// unplug removes a host's interface, if it is there.
func (n network) unplug(ctx context.Context, number int) {
	link := n.link(number)
	if linkExists(link) {
		_, _ = run(ctx, "ip", "link", "delete", link)
	}
}

// Bridge port states, from linux/if_bridge.h.
const (
	portDisabled   = "0"
	portForwarding = "3"
)

// setPort lets a host's packets through the bridge or not. The link stays up:
// the host sees a network that is silent, not a cable pulled out.
func (n network) setPort(ctx context.Context, number int, state string) error {
	_, err := run(ctx, "bridge", "link", "set", "dev", n.link(number), "state", state)
	return err
}

func (n network) portState(number int) string {
	data, err := os.ReadFile(filepath.Join("/sys/class/net", n.link(number), "brport/state"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func linkExists(name string) bool {
	_, err := os.Lstat(filepath.Join("/sys/class/net", name))
	return err == nil
}
