package cloudinit

import (
	"regexp"
	"strings"

	"github.com/fleet-project/fleet/unit"
	"go.yaml.in/yaml/v3"
)

// cloudConfig is a cloud-config as it is written, checked.
type cloudConfig struct {
	hostname       string
	manageEtcHosts string
	keys           []string
	files          []writeFile
	users          []user
	units          []unitEntry
	etcd, etcd2    environment
	fleet, flannel environment
	locksmith      environment
	update         struct {
		rebootStrategy, group, server string
		line                          int
	}
	oem struct {
		given                                      bool
		id, name, versionID, homeURL, bugReportURL string
	}
}

type user struct {
	name, passwd, gecos, homedir, primaryGroup, shell string
	keys, groups                                      []string
	noCreateHome, noUserGroup, system, noLogInit      bool
}

type unitEntry struct {
	name, content, command string
	mask, enable, runtime  bool
	dropIns                []dropIn
	commandLine            int
}

type dropIn struct{ name, content string }

func (r *reader) cloudConfig(root *yaml.Node) *cloudConfig {
	c := &cloudConfig{}
	r.mapping(root, "", map[string]take{
		"hostname": r.text(func(v string, n *yaml.Node, path string) {
			if strings.ContainsAny(v, " \t\n/") {
				r.problems.add(n.Line, Error, "%s: %q is no host name", path, v)
			}
			c.hostname = v
		}),
		"manage_etc_hosts":    r.oneOf(&c.manageEtcHosts, "localhost"),
		"ssh_authorized_keys": r.texts(&c.keys),
		"write_files":         r.list(func(n *yaml.Node, path string) { r.writeFile(c, n, path) }),
		"users":               r.list(func(n *yaml.Node, path string) { r.user(c, n, path) }),
		"coreos":              func(n *yaml.Node, path string) { r.coreos(c, n, path) },
	})
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
		"update": func(n *yaml.Node, path string) {
			c.update.line = n.Line
			r.mapping(n, path, map[string]take{
				"reboot_strategy": r.oneOf(&c.update.rebootStrategy, "etcd-lock", "reboot", "off"),
				"group":           r.into(&c.update.group),
				"server":          r.into(&c.update.server),
			})
		},
		"oem": func(n *yaml.Node, path string) {
			c.oem.given = true
			r.mapping(n, path, map[string]take{
				"id": r.into(&c.oem.id), "name": r.into(&c.oem.name), "version_id": r.into(&c.oem.versionID),
				"home_url": r.into(&c.oem.homeURL), "bug_report_url": r.into(&c.oem.bugReportURL),
			})
		},
	})
}

func (r *reader) user(c *cloudConfig, n *yaml.Node, path string) {
	var u user
	fetched := func(n *yaml.Node, path string) {
		r.problems.add(n.Line, Error, "%s: keys are not fetched from elsewhere: write them into ssh_authorized_keys", path)
	}
	r.mapping(n, path, map[string]take{
		"name": r.into(&u.name), "passwd": r.into(&u.passwd), "gecos": r.into(&u.gecos), "homedir": r.into(&u.homedir),
		"primary_group": r.into(&u.primaryGroup), "shell": r.into(&u.shell),
		"ssh_authorized_keys": r.texts(&u.keys), "groups": r.texts(&u.groups),
		"no_create_home": r.flag(&u.noCreateHome), "no_user_group": r.flag(&u.noUserGroup),
		"system": r.flag(&u.system), "no_log_init": r.flag(&u.noLogInit),
		"coreos_ssh_import_github": fetched, "coreos_ssh_import_github_users": fetched, "coreos_ssh_import_url": fetched,
	})
	if u.name == "" {
		r.problems.add(n.Line, Error, "%s has no name", path)
	}
	c.users = append(c.users, u)
}

var (
	networkUnit = regexp.MustCompile(`^[A-Za-z0-9][\w.@:-]*\.(network|netdev|link)$`)
	dropInName  = regexp.MustCompile(`^[A-Za-z0-9_][\w.@:-]*\.conf$`)
)

func (r *reader) unit(c *cloudConfig, n *yaml.Node, path string) {
	var u unitEntry
	r.mapping(n, path, map[string]take{
		"name": r.text(func(v string, n *yaml.Node, path string) {
			if _, err := unit.ParseName(v); err != nil && !networkUnit.MatchString(v) {
				r.problems.add(n.Line, Error, "%s: %v", path, err)
			}
			u.name = v
		}),
		"mask": r.flag(&u.mask), "enable": r.flag(&u.enable), "runtime": r.flag(&u.runtime),
		"content": r.unitText(&u.content),
		"command": func(n *yaml.Node, path string) {
			u.commandLine = n.Line
			r.oneOf(&u.command, "start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart")(n, path)
		},
		"drop_ins": r.list(func(n *yaml.Node, path string) {
			var d dropIn
			r.mapping(n, path, map[string]take{"name": r.into(&d.name), "content": r.unitText(&d.content)})
			if !dropInName.MatchString(d.name) {
				r.problems.add(n.Line, Error, "%s: %q is no drop-in's name: it must end in .conf and have no slash", path, d.name)
			}
			u.dropIns = append(u.dropIns, d)
		}),
	})
	if u.name == "" {
		r.problems.add(n.Line, Error, "%s has no name", path)
	}
	if u.mask && u.content != "" {
		r.problems.add(n.Line, Warning, "%s: %s is masked: its content is not written", path, u.name)
	}
	c.units = append(c.units, u)
}

// unitText reads a unit file, and has our own parser check it. A problem's
// line is the config's where the text is a block (content: |), else the key's.
func (r *reader) unitText(dst *string) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		*dst = v
		r.unitFile(v, path, func(line int) int {
			if n.Style&yaml.LiteralStyle != 0 {
				return n.Line + line
			}
			return n.Line
		})
	})
}
