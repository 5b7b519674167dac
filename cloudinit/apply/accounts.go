package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Accounts are edited as the texts that they are, not by running useradd: an
// image's tools may be of another architecture, and the host's would do the work
// in many steps, any of which could be the last.

type user struct {
	name               string
	uid, gid           int
	gecos, home, shell string
	password           string // passwd's field: x, for it is in shadow
}

type group struct {
	name    string
	gid     int
	members []string
}

// table is a file of lines with fields. Lines that nobody asks about stay as
// they are.
type table struct {
	path  string
	at    string // canonical
	rows  [][]string
	more  [][]string // what the distribution keeps outside of /etc
	entry entry
	there bool
	dirty bool
}

// accounts are who there is, in the picture.
type accounts struct {
	t                                  *tree
	passwd, groups, shadow, gshadow    *table
	subuid, subgid                     *table
	definitions                        map[string]string // of login.defs
	skeleton, defaultShell, homesBelow string
}

// elsewhere is where distributions whose /usr is read-only keep the accounts
// that they bring.
var elsewhere = []string{"/usr/lib", "/usr/share/baselayout"}

func readAccounts(t *tree) (*accounts, error) {
	a := &accounts{t: t, definitions: map[string]string{}, skeleton: "/etc/skel", homesBelow: "/home"}
	var errs []error
	read := func(name string) *table {
		tab, err := t.table("/etc/" + name)
		errs = append(errs, err)
		if err != nil || name != "passwd" && name != "group" {
			return tab
		}
		for _, dir := range elsewhere {
			other, err := t.table(path.Join(dir, name))
			errs = append(errs, err)
			if err == nil {
				tab.more = append(tab.more, other.rows...)
			}
		}
		return tab
	}
	a.passwd, a.groups, a.shadow, a.gshadow = read("passwd"), read("group"), read("shadow"), read("gshadow")
	a.subuid, a.subgid = read("subuid"), read("subgid")
	errs = append(errs, t.settings("/etc/login.defs", " \t", a.definitions))
	useradd := map[string]string{}
	errs = append(errs, t.settings("/etc/default/useradd", "=", useradd))
	a.defaultShell = useradd["SHELL"]
	if dir := useradd["HOME"]; path.IsAbs(dir) {
		a.homesBelow = dir
	}
	if dir := useradd["SKEL"]; path.IsAbs(dir) {
		a.skeleton = dir
	}
	if a.defaultShell == "" {
		a.defaultShell = "/bin/sh"
		if e, err := t.follow("/bin/bash"); err == nil {
			if found, err := t.lstat(e); err == nil && found.kind == regular {
				a.defaultShell = "/bin/bash"
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

func (t *tree) table(p string) (*table, error) {
	at, err := t.follow(p)
	if err != nil {
		return nil, err
	}
	data, e, ok, err := t.read(at)
	if err != nil {
		return nil, err
	}
	tab := &table{path: p, at: at, entry: e, there: ok}
	for l := range strings.Lines(string(data)) {
		tab.rows = append(tab.rows, strings.Split(strings.TrimSuffix(l, "\n"), ":"))
	}
	return tab, nil
}

// settings reads KEY and VALUE of a file's lines; no file is no settings.
func (t *tree) settings(p, separators string, into map[string]string) error {
	at, err := t.follow(p)
	if err != nil {
		return err
	}
	data, _, ok, err := t.read(at)
	if err != nil || !ok {
		return err
	}
	for l := range strings.Lines(string(data)) {
		l = strings.TrimSpace(l)
		if i := strings.IndexAny(l, separators); i > 0 && l[0] != '#' {
			into[l[:i]] = strings.Trim(strings.TrimSpace(l[i+1:]), `"`)
		}
	}
	return nil
}

// row finds a name's row, in /etc or where the distribution has it.
func (t *table) row(name string) []string {
	for _, rows := range [][][]string{t.rows, t.more} {
		for _, r := range rows {
			if r[0] == name {
				return r
			}
		}
	}
	return nil
}

// set replaces a name's row, or adds it.
func (t *table) set(row []string) {
	i := slices.IndexFunc(t.rows, func(r []string) bool { return r[0] == row[0] })
	switch {
	case i < 0:
		t.rows = append(t.rows, row)
	case slices.Equal(t.rows[i], row):
		return
	default:
		t.rows[i] = row
	}
	t.dirty = true
}

func (t *table) remove(name string) {
	n := len(t.rows)
	t.rows = slices.DeleteFunc(t.rows, func(r []string) bool { return r[0] == name })
	t.dirty = t.dirty || len(t.rows) != n
}

func (t *table) text() []byte {
	var b bytes.Buffer
	for _, r := range t.rows {
		b.WriteString(strings.Join(r, ":"))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// field gives a row's field, "" if it has none.
func field(row []string, i int) string {
	if i < len(row) {
		return row[i]
	}
	return ""
}

func (a *accounts) user(name string) (user, bool) {
	r := a.passwd.row(name)
	uid, err := strconv.Atoi(field(r, 2))
	if err != nil {
		return user{}, false
	}
	gid, _ := strconv.Atoi(field(r, 3))
	return user{name: name, uid: uid, gid: gid, gecos: field(r, 4), home: field(r, 5), shell: field(r, 6), password: field(r, 1)}, true
}

func (a *accounts) setUser(u user) {
	a.passwd.set([]string{u.name, u.password, strconv.Itoa(u.uid), strconv.Itoa(u.gid), u.gecos, u.home, u.shell})
}

func (a *accounts) group(name string) (group, bool) {
	r := a.groups.row(name)
	gid, err := strconv.Atoi(field(r, 2))
	if err != nil {
		return group{}, false
	}
	return group{name: name, gid: gid, members: members(field(r, 3))}, true
}

func members(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
}

func (a *accounts) setGroup(g group) {
	password := "x"
	if r := a.groups.row(g.name); r != nil {
		password = field(r, 1)
	}
	a.groups.set([]string{g.name, password, strconv.Itoa(g.gid), strings.Join(g.members, ",")})
	if !a.gshadow.there {
		return
	}
	row := slices.Clone(a.gshadow.row(g.name))
	if len(row) < 4 {
		row = []string{g.name, "!", "", ""}
	}
	row[3] = strings.Join(g.members, ",")
	a.gshadow.set(row)
}

// setGroupPassword is for newgrp; "" leaves what is there.
func (a *accounts) setGroupPassword(name, hash string) {
	if hash == "" {
		return
	}
	tab := a.groups
	if a.gshadow.there {
		tab = a.gshadow
	}
	row := slices.Clone(tab.row(name))
	row[1] = hash
	tab.set(row)
}

// setPassword sets a password's hash, and that it was changed today. A clock that
// was never set would say 1970, which to login means: expired.
func (a *accounts) setPassword(name, hash string, system bool, now time.Time) {
	row := slices.Clone(a.shadow.row(name))
	if row == nil {
		row = []string{name, "", "", "", "", "", "", "", ""}
		if !system { // whose passwords never expire
			row[3], row[4], row[5] = a.definition("PASS_MIN_DAYS", "0"), a.definition("PASS_MAX_DAYS", "99999"), a.definition("PASS_WARN_AGE", "7")
		}
	}
	for len(row) < 9 {
		row = append(row, "")
	}
	if row[1] == hash {
		a.shadow.set(row)
		return
	}
	row[1], row[2] = hash, ""
	if days := now.Unix() / 86400; now.Year() >= 2020 {
		row[2] = strconv.FormatInt(days, 10)
	}
	a.shadow.set(row)
}

func (a *accounts) definition(key, otherwise string) string {
	if v := a.definitions[key]; v != "" {
		return v
	}
	return otherwise
}

func (a *accounts) number(key string, otherwise int) int {
	n, err := strconv.ParseInt(a.definition(key, ""), 0, 32)
	if err != nil {
		return otherwise
	}
	return int(n)
}

// used gives the numbers that a table's names have.
func (t *table) used() map[int]string {
	used := map[int]string{}
	for _, rows := range [][][]string{t.more, t.rows} {
		for _, r := range rows {
			if id, err := strconv.Atoi(field(r, 2)); err == nil {
				used[id] = r[0]
			}
		}
	}
	return used
}

// free finds a number as useradd does: after the highest one that is taken, for
// the system the highest one that isn't. It is free in all that are given.
func (a *accounts) free(kind string, system bool, taken ...map[int]string) (int, error) {
	isFree := func(id int) bool {
		return !slices.ContainsFunc(taken, func(m map[int]string) bool { return m[id] != "" })
	}
	if system {
		from, to := a.number("SYS_"+kind+"_MIN", 100), a.number("SYS_"+kind+"_MAX", 999)
		for id := to; id >= from; id-- {
			if isFree(id) {
				return id, nil
			}
		}
		return 0, fmt.Errorf("no system %s is left between %d and %d", kind, from, to)
	}
	from, to := a.number(kind+"_MIN", 1000), a.number(kind+"_MAX", 60000)
	highest := from - 1
	for id := range taken[0] {
		if id <= to {
			highest = max(highest, id)
		}
	}
	for _, start := range []int{highest + 1, from} {
		for id := start; id <= to; id++ {
			if isFree(id) {
				return id, nil
			}
		}
	}
	return 0, fmt.Errorf("no %s is left between %d and %d", kind, from, to)
}

// flush puts the tables into the picture. What tells that somebody is there or
// gone comes after what goes with that, for a run that is cut off in between: of
// groups it is group, of users passwd.
func (a *accounts) flush() error {
	for _, t := range []*table{a.subuid, a.subgid, a.gshadow, a.groups, a.shadow, a.passwd} {
		if !t.dirty {
			continue
		}
		at, err := a.t.place(t.at)
		if err != nil {
			return err
		}
		want := t.entry
		if !t.there {
			want = entry{kind: regular, mode: 0o644}
			if t == a.shadow || t == a.gshadow {
				want.mode = 0o600
			}
		}
		if err := a.t.put(at, node{want: want, content: t.text(), secret: t == a.shadow || t == a.gshadow}); err != nil {
			return err
		}
		t.dirty, t.there, t.entry = false, true, want
	}
	return nil
}

// accountsLockTimeout is how long passwd(5)'s tools wait for each other.
const accountsLockTimeout = 15 * time.Second

// lockAccounts takes the lock that passwd, useradd and systemd-sysusers take.
func (r *root) lockAccounts(ctx context.Context) (fd int, err error) {
	const p = "/etc/.pwd.lock"
	dir, name, err := r.parent(p)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err = unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, accountsLockTimeout)
	defer cancel()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	for {
		err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock)
		switch {
		case err == nil:
			return fd, nil
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR):
			_ = unix.Close(fd)
			return -1, &os.PathError{Op: "lock", Path: p, Err: err}
		}
		select {
		case <-time.After(50 * time.Millisecond): // to wait in the kernel would be to wait whatever ctx says
		case <-ctx.Done():
			_ = unix.Close(fd)
			return -1, fmt.Errorf("%s is locked: another program is changing accounts (waited for at most %s): %w", p, accountsLockTimeout, ctx.Err())
		}
	}
}
