package machine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// ErrNoAddress means that the host has no address but its loopback's.
var ErrNoAddress = errors.New("this host has no address that others could reach: configure its network, or set public_ip")

// iface is a network interface with its addresses, in the kernel's order.
type iface struct {
	name  string
	up    bool
	addrs []netip.Addr
}

// hostInterfaces asks the kernel.
func hostInterfaces() ([]iface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var ifaces []iface
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile, as containers' interfaces do
		}
		up := iface{name: i.Name, up: i.Flags&net.FlagUp != 0}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				up.addrs = append(up.addrs, p.Addr().Unmap())
			}
		}
		ifaces = append(ifaces, up)
	}
	return ifaces, nil
}

// publicAddress checks the address that the configuration gives.
func publicAddress(s string) (string, error) {
	addr, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return "", fmt.Errorf("public_ip %q: not an address that others could reach: give an IPv4 or IPv6 address", s)
	}
	return addr.String(), nil
}

// readAddress finds the address at which others most likely reach the host:
// that of the interface of the default route (IPv4 before IPv6), else the
// first one that isn't local, on an interface that is up.
func readAddress(path func(string) string, interfaces func() ([]iface, error)) (string, error) {
	c, routes4, routes6, err := readChooser(path, interfaces)
	if err != nil {
		return "", err
	}
	addr, ok := c.choose(routes4, routes6)
	if !ok {
		return "", ErrNoAddress
	}
	return addr.String(), nil
}

// readChooser reads what there is to choose from, and the interfaces of the
// default routes, the preferred one first.
func readChooser(path func(string) string, interfaces func() ([]iface, error)) (c chooser, routes4, routes6 []string, err error) {
	ifaces, err := interfaces()
	if err != nil {
		return chooser{}, nil, nil, fmt.Errorf("this host's network interfaces: %w", err)
	}
	// Files that are missing (a kernel without IPv6, say) say the same as empty ones.
	text4, _ := os.ReadFile(path("/proc/net/route"))
	text6, _ := os.ReadFile(path("/proc/net/ipv6_route"))
	inet6, _ := os.ReadFile(path("/proc/net/if_inet6"))
	return chooser{ifaces: ifaces, passing: passing6(string(inet6))}, defaultRoutes4(string(text4)), defaultRoutes6(string(text6)), nil
}

// chooser chooses among a host's addresses.
type chooser struct {
	ifaces  []iface
	passing map[netip.Addr]bool
}

func (c chooser) choose(routes4, routes6 []string) (netip.Addr, bool) {
	for _, name := range routes4 {
		if a, ok := c.first(netip.Addr.Is4, func(i iface) bool { return i.name == name }); ok {
			return a, true
		}
	}
	for _, name := range routes6 {
		if a, ok := c.first(netip.Addr.Is6, func(i iface) bool { return i.name == name }); ok {
			return a, true
		}
	}
	// No default route: an address of a real network, or of a bridge that
	// containers are on rather than none.
	for _, inner := range []bool{false, true} {
		for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
			if a, ok := c.first(family, func(i iface) bool { return isInner(i.name) == inner }); ok {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// first finds the first address of a family on the interfaces that qualify. An
// address that won't last is better than none.
func (c chooser) first(family func(netip.Addr) bool, qualifies func(iface) bool) (netip.Addr, bool) {
	var passing netip.Addr
	for _, i := range c.ifaces {
		if !i.up || !qualifies(i) {
			continue
		}
		for _, a := range i.addrs {
			switch {
			case !family(a) || !a.IsGlobalUnicast():
			case !c.passing[a.WithZone("")]:
				return a.WithZone(""), true
			case !passing.IsValid():
				passing = a.WithZone("")
			}
		}
	}
	return passing, passing.IsValid()
}

// innerPrefixes begin the names of interfaces that lead to containers and
// virtual machines on the host itself.
var innerPrefixes = []string{"docker", "veth", "virbr", "cni", "cali", "flannel", "podman", "lxcbr", "lxdbr", "cilium", "weave", "kube-", "nerdctl", "vxlan.calico"}

func isInner(name string) bool {
	if id, ok := strings.CutPrefix(name, "br-"); ok {
		// Docker names the bridges of its networks br- and 12 digits of their
		// ids; one that a person named br-lan is a real network.
		return len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
	}
	return slices.ContainsFunc(innerPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
