package member

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// legacy are the flags that etcd 2 had and etcd 3.7 has no more, with why one does
// nothing here; "" if it does something.
var legacy = map[string]string{
	"discovery":          "",
	"discovery-fallback": "",
	"discovery-proxy":    "",
	"proxy":              "",
	"ca-file":            "",
	"peer-ca-file":       "",
	"debug":              "",

	"log-package-levels":     "etcd has one level for all of its packages now: use ETCD_LOG_LEVEL",
	"proxy-dial-timeout":     proxyTimes,
	"proxy-failure-wait":     proxyTimes,
	"proxy-read-timeout":     proxyTimes,
	"proxy-refresh-interval": proxyTimes,
	"proxy-write-timeout":    proxyTimes,
	"addr":                   "use ETCD_ADVERTISE_CLIENT_URLS",
	"bind-addr":              "use ETCD_LISTEN_CLIENT_URLS",
	"peer-addr":              "use ETCD_INITIAL_ADVERTISE_PEER_URLS",
	"peer-bind-addr":         "use ETCD_LISTEN_PEER_URLS",
}

const proxyTimes = "the proxy speaks gRPC now, which finds out by itself which members answer"

// modernize turns what etcd 2 had into what etcd 3.7 has. The warnings say what
// does nothing any more, and why.
func (v *values) modernize() (d Discovery, mode ProxyMode, warnings []string, err error) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	d.URL, _ = v.get("discovery")
	d.Proxy, _ = v.get("discovery-proxy")
	fallback, from := v.get("discovery-fallback")
	switch d.Fallback = Fallback(fallback); d.Fallback {
	case "":
		d.Fallback = FallbackProxy
	case FallbackProxy, FallbackExit:
	default:
		return d, "", nil, fmt.Errorf("%s is %q: it must be %s or %s", from, fallback, FallbackProxy, FallbackExit)
	}
	text, from := v.get("proxy")
	switch mode = ProxyMode(text); mode {
	case "", ProxyOff, ProxyOn, ProxyReadonly:
	default:
		return d, "", nil, fmt.Errorf("%s is %q: it must be on, off or readonly", from, text)
	}
	v.clientCA("ca-file", "trusted-ca-file", "client-cert-auth", warn)
	v.clientCA("peer-ca-file", "peer-trusted-ca-file", "peer-client-cert-auth", warn)
	if text, from := v.get("trusted-ca-file"); text != "" && !v.true("client-cert-auth") {
		warn("%s is set and %s is not: etcd 3 asks clients for certificates all the same; etcd 2 did not", from, variable("client-cert-auth"))
	}
	v.origins(warn)
	if _, from := v.get("force-new-cluster"); v.true("force-new-cluster") {
		warn("%s takes all other members out of the cluster, at each start: take it away once etcd runs", from)
	}
	if text, from := v.get("debug"); from != "" {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return d, "", nil, fmt.Errorf("%s is %q: it must be true or false", from, text)
		}
		if on && !v.onCommandLine("log-level") {
			v.set("log-level", "debug")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(legacy)) {
		if _, from := v.get(name); from != "" && legacy[name] != "" {
			warn("%s does nothing: %s", from, legacy[name])
		}
		v.drop(name)
	}
	return d, mode, warnings, nil
}

// clientCA does what etcd 2's ca-file and peer-ca-file did: certificates are asked
// for, and must be of that CA.
func (v *values) clientCA(old, file, auth string, warn func(string, ...any)) {
	text, from := v.get(old)
	if text == "" {
		return
	}
	if other, by := v.get(file); by != "" && other != text {
		warn("%s does nothing, since %s is set", from, by)
		return
	}
	v.set(file, text)
	v.set(auth, "true")
}

// origins gives etcd the origins that it takes: with a port. A browser says none
// if it is the usual one, so such an origin, which etcd 2 allowed, can't be said
// any more; it must not become "all" either, which is etcd 3's default.
func (v *values) origins(warn func(string, ...any)) {
	text, from := v.get("cors")
	if text == "" {
		return
	}
	var all []string
	for o := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(o)
		if err == nil && u.Host != "" && u.Port() == "" {
			warn("%s: %s is not allowed any more, for etcd 3 knows only origins with a port", from, o)
			o = u.Scheme + "://" + u.Host + ":" + map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		all = append(all, o)
	}
	if changed := strings.Join(all, ","); changed != text {
		v.set("cors", changed)
	}
}

// true reports whether a flag is given and true.
func (v *values) true(name string) bool {
	text, _ := v.get(name)
	on, err := strconv.ParseBool(text)
	return err == nil && on
}
