package machine

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The kernel's flags of a route, and of an IPv6 address, that matter here.
const (
	routeUp     = 0x1
	routeReject = 0x200

	addrTemporary  = 0x01
	addrDADFailed  = 0x08
	addrDeprecated = 0x20
	addrTentative  = 0x40
)

// defaultRoute is one way out of the host.
type defaultRoute struct {
	iface  string
	metric uint64
}

// defaultRoutes4 finds the default routes in the text of /proc/net/route, the
// preferred one first. Lines that it can't read don't count.
func defaultRoutes4(text string) []string {
	var routes []defaultRoute
	for line := range strings.Lines(text) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.ParseUint(f[6], 10, 32)
		if err == nil && err2 == nil && usable(flags) {
			routes = append(routes, defaultRoute{f[0], metric})
		}
	}
	return preferred(routes)
}

// defaultRoutes6 does the same for /proc/net/ipv6_route.
func defaultRoutes6(text string) []string {
	const zero = "00000000000000000000000000000000"
	var routes []defaultRoute
	for line := range strings.Lines(text) {
		// dest plen source plen gateway metric refcnt use flags iface, in hex
		f := strings.Fields(line)
		if len(f) != 10 || f[0] != zero || f[1] != "00" || f[3] != "00" || f[9] == "lo" {
			continue
		}
		metric, err := strconv.ParseUint(f[5], 16, 32)
		flags, err2 := strconv.ParseUint(f[8], 16, 32)
		if err == nil && err2 == nil && usable(flags) {
			routes = append(routes, defaultRoute{f[9], metric})
		}
	}
	return preferred(routes)
}

func usable(flags uint64) bool { return flags&routeUp != 0 && flags&routeReject == 0 }

// preferred names the routes' interfaces, the lowest metric first.
func preferred(routes []defaultRoute) []string {
	slices.SortStableFunc(routes, func(a, b defaultRoute) int { return cmp.Compare(a.metric, b.metric) })
	var ifaces []string
	for _, r := range routes {
		if !slices.Contains(ifaces, r.iface) {
			ifaces = append(ifaces, r.iface)
		}
	}
	return ifaces
}

// passing6 finds the IPv6 addresses in the text of /proc/net/if_inet6 that
// won't last (privacy addresses change daily) or aren't good yet.
func passing6(text string) map[netip.Addr]bool {
	passing := make(map[netip.Addr]bool)
	for line := range strings.Lines(text) {
		// address ifindex plen scope flags iface, in hex
		f := strings.Fields(line)
		if len(f) != 6 || len(f[0]) != 32 {
			continue
		}
		flags, err := strconv.ParseUint(f[4], 16, 32)
		if err != nil || flags&(addrTemporary|addrDADFailed|addrDeprecated|addrTentative) == 0 {
			continue
		}
		if raw, err := hex.DecodeString(f[0]); err == nil {
			passing[netip.AddrFrom16([16]byte(raw))] = true
		}
	}
	return passing
}
