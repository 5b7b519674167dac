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

// What is between these lines of an authorized_keys is the config's.
const (
	keysBegin = "# Keys of this host's config follow: fleetd cloudinit replaces them."
	keysEnd   = "# The host's config ends here; keys below are yours."
)

// fragment is where Ignition puts keys. Only some hosts' sshd looks there.
const fragment = ".ssh/authorized_keys.d/ignition"

// authorize puts a user's keys where this root's sshd reads them.
func (p *planner) authorize(c types.PasswdUser) error {
	if util.IsFalse(c.ShouldExist) || len(c.SSHAuthorizedKeys) == 0 {
		return nil
	}
	var lines []string
	for _, k := range c.SSHAuthorizedKeys {
		key := strings.TrimSpace(string(k))
		if strings.ContainsAny(key, "\n\r\x00") {
			return fmt.Errorf("a key of it has a line break in it: write one key an entry")
		}
		if key != "" && !slices.Contains(lines, key) {
			lines = append(lines, key)
		}
	}
	u, ok := p.accounts.user(c.Name)
	if !ok {
		return nil // told when it was to be made
	}
	file, whole, err := p.keysFile(u)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(file, u.home+"/") {
		return p.putKeys(file, lines, whole, entry{kind: regular, mode: 0o644}, entry{kind: directory, mode: 0o755})
	}
	home, err := p.follow(u.home)
	if err != nil {
		return err
	}
	if e, err := p.lstat(home); err != nil {
		return err
	} else if e.kind == missing {
		if err := p.put(home, node{want: entry{kind: directory, mode: p.homeMode(), uid: u.uid, gid: u.gid}}); err != nil {
			return err
		}
	}
	want, dir := entry{kind: regular, mode: 0o600, uid: u.uid, gid: u.gid}, entry{kind: directory, mode: 0o700, uid: u.uid, gid: u.gid}
	if !whole && p.hasUpdateSSHKeys() {
		// It makes authorized_keys anew of the files in authorized_keys.d, whenever
		// somebody calls it.
		if err := p.putKeys(path.Join(u.home, fragment), lines, true, want, dir); err != nil {
			return err
		}
		if p.hasKeys(file, lines) {
			return nil
		}
	}
	return p.putKeys(file, lines, whole, want, dir)
}

// hasUpdateSSHKeys knows Flatcar.
func (p *planner) hasUpdateSSHKeys() bool {
	at, err := p.follow("/usr/bin/update-ssh-keys")
	if err != nil {
		return false
	}
	e, err := p.lstat(at)
	return err == nil && e.kind == regular
}

// hasKeys says whether a file has all of these lines, and no part of ours that
// could have others.
func (p *planner) hasKeys(file string, lines []string) bool {
	at, err := p.resolve(file)
	if err != nil {
		return false
	}
	text, _, ok, err := p.read(at)
	have := strings.Split(string(text), "\n")
	return err == nil && ok && !slices.Contains(have, keysBegin) &&
		!slices.ContainsFunc(lines, func(l string) bool { return !slices.Contains(have, l) })
}

func (p *planner) putKeys(file string, lines []string, whole bool, want, dir entry) error {
	at, err := p.place(file)
	if err != nil {
		return err
	}
	text, old, ok, err := p.read(at)
	if err != nil {
		return err
	}
	if ok && !whole && old.uid != want.uid && old.names > 1 {
		return fmt.Errorf("%s is another name of a file of the user with id %d, whose text the keys' file would show: remove it", file, old.uid)
	}
	if whole {
		text = []byte(strings.Join(lines, "\n") + "\n")
	} else {
		text = keysBlock(text, lines)
	}
	if ok && old.uid == want.uid && old.mode&0o077 == 0 {
		want.mode, want.gid = old.mode, old.gid
	}
	// The directories that aren't there, outermost first.
	var make []string
	for up := path.Dir(at); ; up = path.Dir(up) {
		e, err := p.lstat(up)
		if err != nil {
			return err
		}
		if e.kind != missing {
			break
		}
		make = append(make, up)
	}
	slices.Reverse(make)
	for _, d := range make {
		if err := p.put(d, node{want: dir}); err != nil {
			return err
		}
	}
	return p.put(at, node{want: want, content: text})
}

// keysBlock replaces the config's part of an authorized_keys, or adds it.
func keysBlock(text []byte, lines []string) []byte {
	var out []string
	ours, done := false, false
	block := slices.Concat([]string{keysBegin}, lines, []string{keysEnd})
	if len(text) > 0 {
		for _, l := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			switch {
			case l == keysBegin:
				if !done {
					out, done = append(out, block...), true
				}
				ours = true
			case l == keysEnd && ours:
				ours = false
			case !ours:
				out = append(out, l)
			}
		}
	}
	if !done {
		out = append(block, out...)
	}
	return []byte(strings.Join(out, "\n") + "\n")
}

// keysFile finds the file that the root's sshd reads a user's keys from. whole
// says that it is ours alone.
func (p *planner) keysFile(u user) (file string, whole bool, err error) {
	said, err := p.sshd()
	if err != nil {
		return "", false, err
	}
	files := strings.Fields(said["authorizedkeysfile"])
	if len(files) == 0 {
		files = []string{".ssh/authorized_keys"}
	}
	inHome := path.Join(u.home, fragment)
	var all []string
	for _, f := range files {
		if f == "none" {
			continue
		}
		f = strings.NewReplacer("%%", "%", "%h", u.home, "%u", u.name, "%U", strconv.Itoa(u.uid)).Replace(f)
		if !path.IsAbs(f) {
			if u.home == "" || u.home == "/" || u.home == "/nonexistent" {
				return "", false, fmt.Errorf("it has no home (%q) for its keys", u.home)
			}
			f = path.Join(u.home, f)
		}
		if path.Clean(f) == inHome {
			return inHome, true, nil
		}
		all = append(all, path.Clean(f))
	}
	if strings.Contains(said["authorizedkeyscommand"], "ssh-key-dir") {
		return inHome, true, nil
	}
	for _, f := range all {
		if strings.HasPrefix(f, u.home+"/") {
			return f, false, nil
		}
	}
	if len(all) > 0 {
		if !strings.Contains(all[0], u.name) && !strings.Contains(all[0], strconv.Itoa(u.uid)) {
			return "", false, fmt.Errorf("its keys would be everybody's: sshd reads all users' keys from %s", all[0])
		}
		return all[0], false, nil
	}
	return "", false, fmt.Errorf("sshd of this root reads keys from no file (AuthorizedKeysFile none): its keys would have no effect")
}

// maxIncluded bounds the files that an sshd_config is made of.
const maxIncluded = 128

// sshd reads what counts for everybody in the root's sshd_config, by lower-case
// keyword: the first of several settings holds.
func (p *planner) sshd() (map[string]string, error) {
	said, budget := map[string]string{}, maxIncluded
	for _, file := range []string{"/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config", "/usr/share/ssh/sshd_config"} {
		found, err := p.readSSHD(file, said, &budget)
		if found || err != nil {
			return said, err
		}
	}
	return said, nil
}

func (p *planner) readSSHD(file string, said map[string]string, budget *int) (found bool, err error) {
	if *budget--; *budget < 0 {
		return false, fmt.Errorf("sshd's configuration includes more than %d files: they go in a circle", maxIncluded)
	}
	at, err := p.follow(file)
	if err != nil {
		return false, err
	}
	text, _, ok, err := p.read(at)
	if err != nil || !ok {
		return false, err
	}
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		i := strings.IndexAny(l, " \t=")
		if i < 0 || l[0] == '#' {
			continue
		}
		key, value := strings.ToLower(l[:i]), strings.Trim(strings.TrimLeft(l[i:], " \t="), `"`)
		switch {
		case key == "match":
			return true, nil // what follows holds for some only
		case key == "include":
			for _, pattern := range strings.Fields(value) {
				if !path.IsAbs(pattern) {
					pattern = path.Join("/etc/ssh", pattern)
				}
				if err := p.includeSSHD(pattern, said, budget); err != nil {
					return true, err
				}
			}
		case said[key] == "":
			said[key] = value
		}
	}
	return true, nil
}

// includeSSHD reads the files that a pattern names; the pattern is in the last
// part, as it is everywhere.
func (p *planner) includeSSHD(pattern string, said map[string]string, budget *int) error {
	dir, err := p.follow(path.Dir(pattern))
	if err != nil {
		return err
	}
	names, err := p.list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ok, _ := path.Match(path.Base(pattern), name); ok {
			if _, err := p.readSSHD(path.Join(dir, name), said, budget); err != nil {
				return err
			}
		}
	}
	return nil
}
