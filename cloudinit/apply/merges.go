package apply

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fleet-project/fleet/cloudinit"
)

// merges sets variables in files that have others, too.
func (p *planner) merges() {
	for _, m := range p.in.Merges {
		p.note(p.merge(m))
	}
	if p.in.EtcHosts {
		p.note(p.etcHosts())
	}
}

func (p *planner) merge(m cloudinit.Merge) error {
	at, err := p.follow(m.Path)
	if err == nil {
		at, err = p.place(at)
	}
	if err != nil {
		return err
	}
	text, want, ok, err := p.read(at)
	if err != nil {
		return err
	}
	if !ok {
		want = entry{kind: regular, mode: 0o644}
		if m.Base != "" {
			base, err := p.follow(m.Base)
			if err != nil {
				return err
			}
			if text, _, _, err = p.read(base); err != nil {
				return err
			}
		}
	}
	return p.put(at, node{want: want, content: []byte(setVariables(string(text), m.Set))})
}

// setVariables replaces a variable's lines where they are and appends what is
// new.
func setVariables(text string, set []cloudinit.Setting) string {
	lines := split(text)
	for _, s := range set {
		now, found := s.Key+"="+s.Value+"\n", false
		for i, l := range lines {
			if strings.HasPrefix(l, s.Key+"=") {
				lines[i], found = now, true
			}
		}
		if n := len(lines); !found {
			if n > 0 && !strings.HasSuffix(lines[n-1], "\n") {
				lines[n-1] += "\n"
			}
			lines = append(lines, now)
		}
	}
	return strings.Join(lines, "")
}

// etcHosts writes /etc/hosts with the name that the host has.
func (p *planner) etcHosts() error {
	if p.opts.Manager == nil {
		return errors.New("manage_etc_hosts needs hostname in the same config: this root has no name yet")
	}
	name, err := p.opts.Manager.Hostname()
	if err != nil {
		return fmt.Errorf("asking for the host's name: %w", err)
	}
	at, err := p.place("/etc/hosts")
	if err != nil {
		return err
	}
	return p.put(at, node{want: entry{kind: regular, mode: 0o644}, content: []byte("127.0.0.1 " + name + "\n")})
}
