package apply

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// removeUser takes a user away with its home, as userdel --remove does.
func (p *planner) removeUser(u user) error {
	a := p.accounts
	switch {
	case u.uid == 0:
		return fmt.Errorf("it is root: it stays")
	case slices.ContainsFunc(a.passwd.more, func(r []string) bool { return r[0] == u.name }):
		return fmt.Errorf("it comes with the distribution, in its read-only /usr: it can't be removed")
	}
	if p.opts.Manager != nil {
		if pid := runsAs(u.uid); pid != 0 {
			return fmt.Errorf("it can't be removed while its process %d runs: `loginctl terminate-user %s` first", pid, u.name)
		}
	}
	a.passwd.remove(u.name)
	a.shadow.remove(u.name)
	a.subuid.remove(u.name)
	a.subgid.remove(u.name)
	if g, ok := a.group(u.name); ok && g.gid == u.gid && len(slices.DeleteFunc(slices.Clone(g.members), func(m string) bool { return m == u.name })) == 0 &&
		!slices.ContainsFunc(a.passwd.rows, func(r []string) bool { return field(r, 3) == strconv.Itoa(g.gid) }) {
		a.groups.remove(u.name)
		a.gshadow.remove(u.name)
	}
	if err := p.supplementary(types.PasswdUser{Name: u.name}); err != nil {
		return err
	}
	at, err := p.place(u.home)
	if err != nil {
		return nil // a home where none can be: nothing to remove
	}
	e, err := p.lstat(at)
	if err != nil || e.kind != directory || e.uid != u.uid || strings.Count(at, "/") < 2 {
		return err // not its own: userdel leaves it, too
	}
	for _, r := range a.passwd.rows {
		if other := field(r, 5); other == u.home || strings.HasPrefix(other+"/", u.home+"/") {
			return fmt.Errorf("%s's home is in its home %s, which therefore can't be removed", r[0], u.home)
		}
	}
	if err := p.root.mountedBelow(at); err != nil {
		return fmt.Errorf("its home %s can't be removed: %w", u.home, err)
	}
	return p.put(at, node{want: entry{kind: missing}, deep: true})
}

// runsAs finds a process of a user on this host; 0 if there is none.
func runsAs(uid int) int {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		for l := range strings.Lines(string(status)) {
			if ids, ok := strings.CutPrefix(l, "Uid:"); ok && strings.Fields(ids)[0] == strconv.Itoa(uid) {
				return pid
			}
		}
	}
	return 0
}
