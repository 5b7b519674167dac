package machine

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Addresses are a host's own, by the variable that stands for each in configs,
// without its dollar: "private_ipv4". One that the host hasn't is absent.
//
// A public address is one that is globally routable; any other that hosts can
// reach each other at is private.
type Addresses map[string]string

// addressKind is a variable, and what it takes.
type addressKind struct {
	name   string
	family func(netip.Addr) bool
	public bool
}

var addressKinds = []addressKind{
	{"private_ipv4", netip.Addr.Is4, false},
	{"public_ipv4", netip.Addr.Is4, true},
	{"private_ipv6", netip.Addr.Is6, false},
	{"public_ipv6", netip.Addr.Is6, true},
}

// AddressVariable gives the variable of the environment, and of
// /etc/environment, that sets an address: COREOS_PRIVATE_IPV4.
func AddressVariable(name string) string { return "COREOS_" + strings.ToUpper(name) }

// FindAddresses finds each of the host's addresses in the first of these that
// has it: the environment (COREOS_PRIVATE_IPV4 and its like), /etc/environment,
// the interfaces: first those of the default routes, then others, never
// those that lead to containers on the host itself.
//
// /etc/environment may have been written when the host had other addresses: one
// there that no interface has doesn't count, but for a public one of a host whose
// interfaces have none, as behind NAT. A value that is no address of its family is
// an error.
func FindAddresses(root string, getenv func(string) string) (Addresses, error) {
	return findAddresses(root, getenv, hostInterfaces)
}

func findAddresses(root string, getenv func(string) string, interfaces func() ([]iface, error)) (Addresses, error) {
	path := func(name string) string { return filepath.Join(cmp.Or(root, "/"), name) }
	c, routes4, routes6, err := readChooser(path, interfaces)
	if err != nil {
		return nil, err
	}
	written, err := readEnvironment(path(environmentFile))
	if err != nil {
		return nil, err
	}
	found := c.addresses(routes4, routes6)
	for _, kind := range addressKinds {
		variable := AddressVariable(kind.name)
		given, err := kind.parse(written[variable], environmentFile)
		if err != nil {
			return nil, err
		}
		if given.IsValid() && (c.has(given) || kind.public && found[kind.name] == "") {
			found[kind.name] = given.String()
		}
		if given, err = kind.parse(getenv(variable), "the environment"); err != nil {
			return nil, err
		}
		if given.IsValid() {
			found[kind.name] = given.String()
		}
	}
	return found, nil
}

const environmentFile = "/etc/environment"

// parse reads an address that was given, if one was.
func (k addressKind) parse(value, where string) (netip.Addr, error) {
	if value = strings.TrimSpace(value); value == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(value)
	if err != nil || !k.family(addr) || addr.IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("%s=%s in %s is no IPv%s address", AddressVariable(k.name), value, where, k.name[len(k.name)-1:])
	}
	return addr, nil
}

// has says whether an interface has an address.
func (c chooser) has(addr netip.Addr) bool {
	return slices.ContainsFunc(c.ifaces, func(i iface) bool { return slices.Contains(i.addrs, addr) })
}

// With gives the addresses with others put over them; empty ones don't count.
func (a Addresses) With(over map[string]string) Addresses {
	all := make(Addresses, len(a))
	for _, from := range []map[string]string{a, over} {
		for name, addr := range from {
			if addr != "" {
				all[name] = addr
			}
		}
	}
	return all
}

// NoAddress says why a host has no address of the name, and what to do.
func NoAddress(name string) error {
	kind, version, _ := strings.Cut(name, "_ip")
	if kind == "public" {
		return fmt.Errorf("this host has no globally routable IP%s address: use $private_ip%s, or set %s in /etc/environment",
			version, version, AddressVariable(name))
	}
	return fmt.Errorf("this host has no private IP%s address: configure its network; if a globally routable one is meant, use $public_ip%s; or set %s in /etc/environment",
		version, version, AddressVariable(name))
}

// addresses finds one of each kind.
func (c chooser) addresses(routes4, routes6 []string) Addresses {
	found := make(Addresses)
	for _, kind := range addressKinds {
		fits := func(a netip.Addr) bool { return kind.family(a) && isGlobal(a) == kind.public }
		routes := routes4
		if kind.family(netip.IPv6Unspecified()) {
			routes = routes6
		}
		for _, name := range routes {
			if a, ok := c.first(fits, func(i iface) bool { return i.name == name }); ok {
				found[kind.name] = a.String()
				break
			}
		}
		if found[kind.name] != "" {
			continue
		}
		if a, ok := c.first(fits, func(i iface) bool { return !isInner(i.name) }); ok {
			found[kind.name] = a.String()
		}
	}
	return found
}

// notGlobal are the networks that no router of the internet knows, of IANA's
// registries of special addresses.
var notGlobal = func() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/8", "100::/64", "2001:2::/48", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()

func isGlobal(a netip.Addr) bool {
	for _, p := range notGlobal {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// readEnvironment reads a file of KEY=VALUE, as systemd's EnvironmentFile=
// takes it as far as addresses need. That there is none says nothing.
func readEnvironment(path string) (map[string]string, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer f.Close()
	values := make(map[string]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export ")
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(key, "#") {
			values[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}
