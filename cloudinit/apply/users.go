package apply

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// passwd puts the config's groups and users, and the users' keys.
func (p *planner) passwd() {
	var err error
	if p.accounts, err = readAccounts(p.tree); err != nil {
		p.note(err)
		return
	}
	for _, g := range p.cfg.Passwd.Groups {
		if err := p.group(g); err != nil {
			p.refuse("group %s: %w", g.Name, err)
		}
	}
	for _, u := range p.cfg.Passwd.Users {
		if err := p.user(u); err != nil {
			p.refuse("user %s: %w", u.Name, err)
		}
	}
	p.note(p.accounts.flush())
	for _, u := range p.cfg.Passwd.Users {
		if err := p.authorize(u); err != nil {
			p.refuse("user %s: %w", u.Name, err)
		}
	}
}

// checkName refuses what would break the files, or read as a number or a flag.
func checkName(name string) error {
	switch _, err := strconv.Atoi(name); {
	case name == "" || len(name) > 32:
		return fmt.Errorf("a name has 1 to 32 characters")
	case err == nil, strings.HasPrefix(name, "-"), name == ".", name == "..",
		strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`:,/\"'#`, c) }):
		return fmt.Errorf("%q can't be a name: use letters, digits, - and _", name)
	}
	return nil
}

func (p *planner) group(g types.PasswdGroup) error {
	a := p.accounts
	old, exists := a.group(g.Name)
	if util.IsFalse(g.ShouldExist) {
		if !exists {
			return nil
		}
		for _, r := range a.passwd.rows {
			if field(r, 3) == strconv.Itoa(old.gid) {
				return fmt.Errorf("it is %s's primary group and can't be removed", r[0])
			}
		}
		a.groups.remove(g.Name)
		a.gshadow.remove(g.Name)
		return nil
	}
	if err := checkName(g.Name); err != nil {
		return err
	}
	if strings.ContainsAny(orEmpty(g.PasswordHash), ":\n") {
		return fmt.Errorf("its password's hash has a colon or a line break in it")
	}
	now, used := old, a.groups.used()
	switch {
	case exists && g.Gid != nil && *g.Gid != old.gid:
		return fmt.Errorf("it exists with the gid %d, not %d, and its files would stay with %d: change it with groupmod --gid", old.gid, *g.Gid, old.gid)
	case exists:
	case g.Gid != nil && used[*g.Gid] != "":
		return fmt.Errorf("its gid %d is %s's", *g.Gid, used[*g.Gid])
	case g.Gid != nil:
		now = group{name: g.Name, gid: *g.Gid}
	default:
		gid, err := a.free("GID", util.IsTrue(g.System), used)
		if err != nil {
			return err
		}
		now = group{name: g.Name, gid: gid}
	}
	a.setGroup(now)
	a.setGroupPassword(g.Name, orEmpty(g.PasswordHash))
	return nil
}

func (p *planner) user(u types.PasswdUser) error {
	a := p.accounts
	old, exists := a.user(u.Name)
	if util.IsFalse(u.ShouldExist) {
		if !exists {
			return nil
		}
		return p.removeUser(old)
	}
	if exists && p.onlyPasswordAndKeys(u.Name) {
		if u.PasswordHash != nil {
			a.setPassword(u.Name, hashOrLocked(u.PasswordHash), util.IsTrue(u.System), p.opts.now())
		}
		return nil
	}
	if err := p.checkUser(u, old, exists); err != nil {
		return err
	}
	now := old
	if !exists {
		now = user{name: u.Name, password: "x", shell: a.defaultShell, home: path.Join(a.homesBelow, u.Name)}
		if err := p.ids(u, &now); err != nil {
			return err
		}
	} else if g := orEmpty(u.PrimaryGroup); g != "" {
		gid, err := p.gid(g)
		if err != nil {
			return err
		}
		now.gid = gid
	}
	for _, set := range []struct {
		to   *string
		from *string
	}{{&now.gecos, u.Gecos}, {&now.shell, u.Shell}, {&now.home, u.HomeDir}} {
		if util.NotEmpty(set.from) {
			*set.to = *set.from
		}
	}
	if u.Groups != nil {
		if err := p.supplementary(u); err != nil {
			return err
		}
	}
	if !exists || u.PasswordHash != nil {
		a.setPassword(u.Name, hashOrLocked(u.PasswordHash), util.IsTrue(u.System), p.opts.now())
	}
	if !exists {
		if !util.IsTrue(u.System) {
			a.subordinate(u.Name)
		}
		if !util.IsTrue(u.NoCreateHome) {
			if err := p.makeHome(now); err != nil {
				return err
			}
		}
	}
	a.setUser(now)
	return nil
}

func hashOrLocked(hash *string) string {
	if util.NotEmpty(hash) {
		return *hash
	}
	return "*" // no password fits; keys do
}

func (p *planner) checkUser(u types.PasswdUser, old user, exists bool) error {
	if err := checkName(u.Name); err != nil {
		return err
	}
	for what, v := range map[string]*string{"gecos": u.Gecos, "homeDir": u.HomeDir, "shell": u.Shell, "passwordHash": u.PasswordHash} {
		if strings.ContainsAny(orEmpty(v), ":\n\x00") {
			return fmt.Errorf("its %s has a colon or a line break in it", what)
		}
	}
	home := orEmpty(u.HomeDir)
	switch {
	case home != "" && (!path.IsAbs(home) || path.Clean(home) != home):
		return fmt.Errorf("its home %q is no plain absolute path", home)
	case exists && u.UID != nil && *u.UID != old.uid:
		return fmt.Errorf("it exists with the uid %d, not %d, and its files would stay with %d: change it with usermod --uid", old.uid, *u.UID, old.uid)
	case exists && home != "" && home != old.home:
		return fmt.Errorf("it exists with the home %s: move it with usermod --home %s --move-home", old.home, home)
	case u.UID != nil && !exists && p.accounts.passwd.used()[*u.UID] != "":
		return fmt.Errorf("its uid %d is %s's", *u.UID, p.accounts.passwd.used()[*u.UID])
	case u.UID != nil && (*u.UID < 0 || int64(*u.UID) >= 1<<32-1):
		return fmt.Errorf("its uid %d is no user's", *u.UID)
	}
	return nil
}

// ids finds a new user's numbers, and makes the group of its own that it gets.
func (p *planner) ids(u types.PasswdUser, now *user) error {
	a := p.accounts
	own := !util.IsTrue(u.NoUserGroup) && util.NilOrEmpty(u.PrimaryGroup)
	namesake, has := a.group(u.Name)
	users, groups := a.passwd.used(), a.groups.used()
	var err error
	switch {
	case u.UID != nil:
		now.uid = *u.UID
	case own && has && users[namesake.gid] == "":
		now.uid = namesake.gid
	case own && !has:
		now.uid, err = a.free("UID", util.IsTrue(u.System), users, groups)
	default:
		now.uid, err = a.free("UID", util.IsTrue(u.System), users)
	}
	if err != nil {
		return err
	}
	switch {
	case util.NotEmpty(u.PrimaryGroup):
		now.gid, err = p.gid(*u.PrimaryGroup)
	case !own:
		now.gid = 100 // users, as useradd has it
	case has:
		now.gid = namesake.gid
	default:
		now.gid = now.uid
		if groups[now.gid] != "" {
			now.gid, err = a.free("GID", util.IsTrue(u.System), groups)
		}
		a.setGroup(group{name: u.Name, gid: now.gid})
	}
	return err
}

// gid finds a group by its name or number.
func (p *planner) gid(s string) (int, error) {
	if g, ok := p.accounts.group(s); ok {
		return g.gid, nil
	}
	if id, err := strconv.Atoi(s); err == nil && p.accounts.groups.used()[id] != "" {
		return id, nil
	}
	return 0, fmt.Errorf("there is no group %s: name it under passwd.groups", s)
}

// supplementary makes the user a member of the groups that are listed, and of no
// others.
func (p *planner) supplementary(u types.PasswdUser) error {
	a := p.accounts
	wanted := map[string]bool{}
	for _, g := range u.Groups {
		if _, ok := a.group(string(g)); !ok {
			return fmt.Errorf("there is no group %s: name it under passwd.groups", g)
		}
		wanted[string(g)] = true
	}
	names := map[string]bool{}
	for _, r := range slices.Concat(a.groups.rows, a.groups.more) {
		names[r[0]] = true
	}
	for _, name := range keys(names) {
		g, ok := a.group(name)
		if in := slices.Contains(g.members, u.Name); !ok || in == wanted[name] {
			continue
		}
		if wanted[name] {
			g.members = append(g.members, u.Name)
		} else {
			g.members = slices.DeleteFunc(g.members, func(m string) bool { return m == u.Name })
		}
		a.setGroup(g)
	}
	return nil
}

// subordinate gives a user ids for containers of its own, where users have them.
func (a *accounts) subordinate(name string) {
	for t, kind := range map[*table]string{a.subuid: "UID", a.subgid: "GID"} {
		count := a.number("SUB_"+kind+"_COUNT", 65536)
		if !t.there || count <= 0 || t.row(name) != nil {
			continue
		}
		next := a.number("SUB_"+kind+"_MIN", 100000)
		for _, r := range t.rows {
			from, err := strconv.Atoi(field(r, 1))
			n, err2 := strconv.Atoi(field(r, 2))
			if err == nil && err2 == nil {
				next = max(next, from+n)
			}
		}
		t.set([]string{name, strconv.Itoa(next), strconv.Itoa(count)})
	}
}

// makeHome makes a home, and puts what the skeleton has and it hasn't into it: a
// home of the user's that is there may be one that a run began which was cut off.
func (p *planner) makeHome(u user) error {
	at, err := p.place(u.home)
	if err != nil {
		return err
	}
	e, err := p.lstat(at)
	if err != nil {
		return err
	}
	switch e.kind {
	case directory:
		if e.uid != u.uid && !p.opts.noOwners {
			return nil // no home that was begun, but a directory that is more than that: as useradd has it
		}
	case missing:
		if err := p.put(at, node{want: entry{kind: directory, mode: p.homeMode(), uid: u.uid, gid: u.gid}}); err != nil {
			return err
		}
	default:
		return fmt.Errorf("its home %s is %s", u.home, e)
	}
	from, err := p.follow(p.accounts.skeleton)
	if err != nil {
		return err
	}
	return p.copySkeleton(from, at, u, 0)
}

func (p *planner) homeMode() uint32 {
	if s := p.accounts.definition("HOME_MODE", ""); s != "" {
		if mode, err := strconv.ParseUint(s, 8, 12); err == nil {
			return uint32(mode)
		}
	}
	umask, err := strconv.ParseUint(p.accounts.definition("UMASK", "022"), 8, 12)
	if err != nil {
		umask = 0o022
	}
	return 0o777 &^ uint32(umask)
}

func (p *planner) copySkeleton(from, to string, u user, depth int) error {
	names, err := p.list(from)
	if err != nil || depth > 16 {
		return err
	}
	for _, name := range names {
		src, dst := path.Join(from, name), path.Join(to, name)
		e, err := p.lstat(src)
		if err != nil {
			return err
		}
		there, err := p.lstat(dst)
		if err != nil {
			return err
		}
		n := node{want: e}
		n.want.uid, n.want.gid = u.uid, u.gid
		if e.kind == regular {
			if n.content, _, _, err = p.read(src); err != nil {
				return err
			}
		}
		if there.kind == missing && e.kind != special {
			if err := p.put(dst, n); err != nil {
				return err
			}
		}
		if e.kind == directory && (there.kind == missing || there.kind == directory) {
			if err := p.copySkeleton(src, dst, u, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyPasswordAndKeys says that the config means only these of a user who exists.
func (p *planner) onlyPasswordAndKeys(name string) bool { return slices.Contains(p.in.KeepUsers, name) }
