package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// maxKeys bounds the answer with a user's keys.
const maxKeys = 1 << 20

// importKeys fetches the keys that a cloud-config has only named, and gives them
// to their users.
func (p *planner) importKeys() error {
	if len(p.in.KeyImports) == 0 {
		return nil
	}
	p.cfg.Passwd.Users = slices.Clone(p.cfg.Passwd.Users) // the config is its owner's
	for _, from := range p.in.KeyImports {
		i := slices.IndexFunc(p.cfg.Passwd.Users, func(u types.PasswdUser) bool { return u.Name == from.User })
		if i < 0 {
			continue // a config that replaces this one has no such user
		}
		text, err := p.fetch.get(p.ctx, types.Resource{Source: &from.URL}, maxKeys)
		if err != nil {
			return fmt.Errorf("nothing was changed:\nline %d: the keys of %s: %w", from.Line, from.User, err)
		}
		keys, err := importedKeys(text)
		if err != nil {
			return fmt.Errorf("nothing was changed:\nline %d: the keys of %s at %s: %w", from.Line, from.User, from.URL, err)
		}
		u := &p.cfg.Passwd.Users[i]
		u.SSHAuthorizedKeys = append(slices.Clone(u.SSHAuthorizedKeys), keys...)
	}
	return nil
}

// importedKeys reads keys as GitHub's API lists them, or a line each.
func importedKeys(text []byte) (keys []types.SSHAuthorizedKey, err error) {
	var lines []string
	if strings.HasPrefix(strings.TrimSpace(string(text)), "[") {
		var list []struct{ Key string }
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("it is no list of keys: %w", err)
		}
		for _, k := range list {
			lines = append(lines, k.Key)
		}
	} else {
		lines = strings.Split(string(text), "\n")
	}
	for _, l := range lines {
		l = strings.TrimSpace(l)
		switch kind, key, _ := strings.Cut(l, " "); {
		case l == "", l[0] == '#':
		case !slices.Contains(keyTypes, kind) || key == "" || strings.ContainsAny(l, "\n\r\x00"):
			return nil, fmt.Errorf("%.40q is no SSH key: is the URL right?", l)
		default:
			keys = append(keys, types.SSHAuthorizedKey(l))
		}
	}
	return keys, nil
}

// keyTypes are OpenSSH's. What is fetched may be nothing but a key: options
// before it (command=, environment=) are for whoever writes the config.
var keyTypes = []string{
	"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
}
