package cloudinit

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// cloudConfig is a cloud-config as it is written, checked.
type cloudConfig struct {
	hostname, fqdn string
	manageEtcHosts string
	keys           []string
	files          []writeFile
	users          []user
	groups         []string
	units          []unitEntry
	etcd, etcd2    environment
	fleet, flannel environment
	locksmith      environment
	update         struct {
		rebootStrategy, group, server string
		line                          int
	}
	oem struct{ id, name, versionID, homeURL, bugReportURL string }
}

// The forms of values that go into lines of files as they are.
var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?$`)
	word     = regexp.MustCompile(`^[^\s"'\\$#` + "`" + `]+$`)
)

func (r *reader) cloudConfig(root *yaml.Node) *cloudConfig {
	c := &cloudConfig{}
	keys := map[string]take{
		"ssh_authorized_keys": r.sshKeys(&c.keys),
		"write_files":         r.list(func(n *yaml.Node, path string) { r.writeFile(c, n, path) }),
		"users":               r.list(func(n *yaml.Node, path string) { r.user(c, n, path) }),
		"coreos":              func(n *yaml.Node, path string) { r.coreos(c, n, path) },
	}
	r.cloudInit(c, keys)
	r.mapping(root, "", keys)
	switch {
	case c.hostname == "":
		c.hostname = c.fqdn
	case c.fqdn != "" && c.fqdn != c.hostname:
		r.problems.Add(root.Line, Error, "hostname and fqdn differ, and a host has one name here: write only one of them")
	}
	return c
}

func (r *reader) coreos(c *cloudConfig, n *yaml.Node, path string) {
	r.mapping(n, path, map[string]take{
		"etcd":      etcd.read(r, &c.etcd),
		"etcd2":     etcd2.read(r, &c.etcd2),
		"fleet":     fleet.read(r, &c.fleet),
		"flannel":   flannel.read(r, &c.flannel),
		"locksmith": locksmith.read(r, &c.locksmith),
		"units":     r.list(func(n *yaml.Node, path string) { r.unit(c, n, path) }),
		"update":    func(n *yaml.Node, path string) { r.update(c, n, path) },
		"oem":       func(n *yaml.Node, path string) { r.oem(c, n, path) },
	})
}

func (r *reader) update(c *cloudConfig, n *yaml.Node, path string) {
	c.update.line = n.Line
	strategy := r.oneOf(&c.update.rebootStrategy, "etcd-lock", "reboot", "off")
	r.mapping(n, path, map[string]take{
		"reboot_strategy": func(n *yaml.Node, path string) {
			if plain(n).Value == "best-effort" { // taken until coreos-cloudinit 1.12
				r.problems.Add(n.Line, Error, "%s: best-effort is no longer taken: write etcd-lock, or reboot for hosts without etcd", path)
				return
			}
			strategy(n, path)
		},
		"group":  r.matching(&c.update.group, word, "a word"),
		"server": r.matching(&c.update.server, word, "a URL"),
	})
}

func (r *reader) oem(c *cloudConfig, n *yaml.Node, path string) {
	o := &c.oem
	r.mapping(n, path, map[string]take{
		"id": r.matching(&o.id, word, "a word"), "version_id": r.matching(&o.versionID, word, "a word"),
		"name": r.into(&o.name), "home_url": r.into(&o.homeURL), "bug_report_url": r.into(&o.bugReportURL),
	})
	if o.id == "" && o.name+o.versionID+o.homeURL+o.bugReportURL != "" {
		r.problems.Add(n.Line, Error, "%s has no id: without one, /etc/oem-release is not written", path)
	}
}

// discovery checks the URL that a cluster forms by: one that is wrong is found
// out only when no host comes up.
func (r *reader) discovery(v string, n *yaml.Node, path string) {
	const remedy = "put in what curl 'http://DISCOVERY/new?size=3' prints"
	if v == "" {
		return
	}
	u, err := url.Parse(v)
	last := v[strings.LastIndexByte(v, '/')+1:]
	switch {
	case strings.ContainsAny(v, "<>{} "):
		r.problems.Add(n.Line, Error, "%s: %.80q is a placeholder: %s", path, v, remedy)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		r.problems.Add(n.Line, Error, "%s: %.80q is no http or https URL: %s", path, v, remedy)
	case strings.Trim(u.Path, "/") == "":
		r.problems.Add(n.Line, Error, "%s: %.80q has no token: %s", path, v, remedy)
	case strings.EqualFold(last, "token") || strings.HasPrefix(strings.ToLower(last), "your"):
		r.problems.Add(n.Line, Error, "%s: %.80q is a placeholder: %s", path, v, remedy)
	case strings.HasPrefix(last, "new"):
		r.problems.Add(n.Line, Error, "%s: %.80q makes a new cluster each time it is asked: %s", path, v, remedy)
	}
}

// specifier is one of systemd's, which stands for a text: %H, the host's name.
var specifier = regexp.MustCompile(`%[A-Za-z%]`)

// etcdURLs checks a list of URLs as etcd reads them: one that it refuses is found
// out only on hosts, where it doesn't start.
func (r *reader) etcdURLs(v string, n *yaml.Node, path string) {
	if v == "" {
		return
	}
	example := Addresses{}.examples()
	for text := range strings.SplitSeq(v, ",") {
		text = strings.TrimSpace(text)
		for _, name := range addressNames { // which fleetd etcd replaces
			text = strings.NewReplacer("${"+name+"}", example[name], "$"+name, example[name]).Replace(text)
		}
		text = specifier.ReplaceAllString(text, "h")
		if scheme, rest, _ := strings.Cut(text, "://"); (scheme == "http" || scheme == "https") && bareIPv6(rest) {
			r.problems.Add(n.Line, Error, "%s: in %.80q, the IPv6 address needs brackets: http://[ADDRESS]:PORT", path, text)
			continue
		}
		u, err := url.Parse(text)
		switch {
		case err == nil && (u.Scheme == "unix" || u.Scheme == "unixs"):
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" || !hasPort(u.Host):
			r.problems.Add(n.Line, Error, "%s: %.80q is none of etcd's URLs: http://ADDRESS:PORT or https://ADDRESS:PORT, nothing after it, and a comma between two", path, text)
		}
	}
}

func hasPort(host string) bool {
	_, port, err := net.SplitHostPort(host)
	return err == nil && port != ""
}

// bareIPv6 reports whether host is an IPv6 address without brackets, with a port
// or without.
func bareIPv6(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Is6()
	}
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return false
	}
	a, err := netip.ParseAddr(host[:i])
	return err == nil && a.Is6()
}
