package cloudinit

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

type user struct {
	name, passwd, gecos, homedir, primaryGroup, shell string
	keys, groups, sudo                                []string
	imports                                           []KeyImport
	noCreateHome, noUserGroup, system, noLogInit      bool
	locked                                            bool
	uid                                               *int
}

// The forms of what goes into lines of /etc/passwd and its like.
var (
	accountName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	passwordHash = regexp.MustCompile(`^(\$[^\s:]+|[!*][^\s:]*|[./0-9A-Za-z]{13})$`) // crypt(5), or none that any password has
	passwdField  = regexp.MustCompile(`^[^:\n\r\x00]*$`)
	plainPath    = regexp.MustCompile(`^/[^:\s\x00]*$`)
	oneLine      = regexp.MustCompile(`^[^\n\r\x00]+$`)
)

func (r *reader) user(c *cloudConfig, n *yaml.Node, path string) {
	if at, ok := r.resolve(n); ok && at.Kind == yaml.ScalarNode {
		r.userNames(c, at, path)
		return
	}
	var u user
	keys := map[string]take{
		"name":   r.matching(&u.name, accountName, "a user's name"),
		"passwd": r.passwordHash(&u.passwd),
		"gecos":  r.matching(&u.gecos, passwdField, "one line without colons"), "homedir": r.matching(&u.homedir, plainPath, "a path"),
		"primary_group": r.matching(&u.primaryGroup, accountName, "a group's name"), "shell": r.matching(&u.shell, plainPath, "a path"),
		"ssh_authorized_keys": r.sshKeys(&u.keys), "groups": r.groupNames(&u.groups),
		"no_create_home": r.flag(&u.noCreateHome), "no_user_group": r.flag(&u.noUserGroup),
		"system": r.flag(&u.system), "no_log_init": r.flag(&u.noLogInit),
		"coreos_ssh_import_github": r.githubKeys(&u.imports), "coreos_ssh_import_github_users": r.list(r.githubKeys(&u.imports)),
		"coreos_ssh_import_url": r.keysURL(&u.imports),
	}
	r.cloudInitUser(&u, keys)
	r.mapping(n, path, keys)
	if u.name == "" {
		r.problems.Add(n.Line, Error, "%s has no name", path)
	}
	if u.locked && u.passwd != "" {
		u.passwd = "!" + u.passwd
	}
	c.users = append(c.users, u)
}

// passwordHash tells nobody what it was if it is none: it may be the password.
func (r *reader) passwordHash(dst *string) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		if v != "" && !passwordHash.MatchString(v) {
			r.problems.Add(n.Line, Error, "%s must be a hash: write what openssl passwd -6 prints", path)
		}
		*dst = v
	})
}

// userNames reads an entry that is only text, as cloud-init has them: names.
// default is the user that an image has.
func (r *reader) userNames(c *cloudConfig, n *yaml.Node, path string) {
	for _, name := range strings.Split(n.Value, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "default":
			r.problems.Add(n.Line, Warning, "%s: default, the image's own user, is left as it is; ssh_authorized_keys are those of core", path)
		case !accountName.MatchString(name):
			r.problems.Add(n.Line, Error, "%s must be a user's name, and is %.80q", path, name)
		default:
			c.users = append(c.users, user{name: name})
		}
	}
}

// sshKeys reads authorized keys, each a line of the file that sshd reads.
func (r *reader) sshKeys(dst *[]string) take {
	return r.list(r.text(func(v string, n *yaml.Node, path string) {
		v = strings.TrimSpace(v)
		switch {
		case strings.ContainsAny(v, "\n\r\x00"):
			r.problems.Add(n.Line, Error, "%s: a key is one line", path)
		case len(strings.Fields(v)) < 2:
			r.problems.Add(n.Line, Error, "%s: %.40q is no SSH key: write one as it is in an id_ed25519.pub", path, v)
		default:
			*dst = append(*dst, v)
		}
	}))
}

// githubName is a user's name there.
var githubName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,38})$`)

// githubKeys reads the name of a GitHub user, whose keys are to be fetched.
func (r *reader) githubKeys(dst *[]KeyImport) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		if !githubName.MatchString(v) {
			r.problems.Add(n.Line, Error, "%s must be a GitHub user's name, and is %.80q", path, v)
			return
		}
		*dst = append(*dst, KeyImport{URL: "https://api.github.com/users/" + v + "/keys", GitHub: v, Line: n.Line})
	})
}

// keysURL reads the URL of a list of keys.
func (r *reader) keysURL(dst *[]KeyImport) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			r.problems.Add(n.Line, Error, "%s must be a URL that begins with https:// or http://", path)
			return
		}
		if u.Scheme == "http" {
			r.problems.Add(n.Line, Warning, "%s: over http anybody on the way can put in a key: use https", path)
		}
		*dst = append(*dst, KeyImport{URL: v, Line: n.Line})
	})
}

// groupNames reads a list, or text with commas.
func (r *reader) groupNames(dst *[]string) take {
	one := r.text(func(v string, n *yaml.Node, path string) {
		for _, name := range strings.Split(v, ",") {
			if name = strings.TrimSpace(name); !accountName.MatchString(name) {
				r.problems.Add(n.Line, Error, "%s must be a group's name, and is %.80q", path, name)
				continue
			}
			*dst = append(*dst, name)
		}
	})
	many := r.list(one)
	return func(n *yaml.Node, path string) {
		if at, ok := r.resolve(n); ok && at.Kind == yaml.ScalarNode {
			one(n, path)
			return
		}
		many(n, path)
	}
}

func (r *reader) number(dst **int) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		i, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			r.wrongType(n, path, "a whole number")
		}
		id := int(i)
		*dst = &id
	})
}
