package apply

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// storage puts the config's directories, files and links, parents before what is
// in them; hard links come last, whatever they are of.
func (p *planner) storage() {
	type item struct {
		depth int
		path  string
		put   func(at string) error
	}
	var items, hard []item
	for _, d := range p.cfg.Storage.Directories {
		items = append(items, item{strings.Count(d.Path, "/"), d.Path, func(at string) error { return p.directory(d, at) }})
	}
	for _, f := range p.cfg.Storage.Files {
		items = append(items, item{strings.Count(f.Path, "/"), f.Path, func(at string) error { return p.file(f, at) }})
	}
	for _, l := range p.cfg.Storage.Links {
		i := item{strings.Count(l.Path, "/"), l.Path, func(at string) error { return p.link(l, at) }}
		if util.IsTrue(l.Hard) {
			hard = append(hard, i)
		} else {
			items = append(items, i)
		}
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(a.depth, b.depth) })
	from := map[string]string{} // which path of the config a canonical one is
	for _, i := range append(items, hard...) {
		at, err := p.target(i.path)
		if err == nil && from[at] != "" {
			err = fmt.Errorf("%s and %s are one place, %s: name it once", from[at], i.path, at)
		}
		if err == nil {
			from[at] = i.path
			err = i.put(at)
		}
		p.note(err)
	}
}

func (p *planner) directory(d types.Directory, at string) error {
	old, err := p.lstat(at)
	if err != nil {
		return err
	}
	n := node{want: entry{kind: directory, mode: 0o755}}
	switch {
	case old.kind == directory && util.IsTrue(d.Overwrite):
		if err := p.onlyOurs(d.Path, at); err != nil {
			return err
		}
	case old.kind == directory:
		n.want = old // but for what the config says
	case old.kind != missing && !util.IsTrue(d.Overwrite):
		return fmt.Errorf("%s is %s, and overwrite is false: it can't become a directory", d.Path, old)
	}
	if d.Mode != nil {
		n.want.mode = permissions(*d.Mode)
	}
	if err := p.owner(d.Node, &n.want); err != nil {
		return err
	}
	return p.put(at, n)
}

// onlyOurs refuses to empty a directory. If what is in it is the config's, there
// is nothing to empty: a second run must not undo the first.
func (p *planner) onlyOurs(dir, at string) error {
	names, err := p.list(at)
	if err != nil {
		return err
	}
	var all []string
	for _, d := range p.cfg.Storage.Directories {
		all = append(all, d.Path)
	}
	for _, f := range p.cfg.Storage.Files {
		all = append(all, f.Path)
	}
	for _, l := range p.cfg.Storage.Links {
		all = append(all, l.Path)
	}
	for _, name := range names {
		below := path.Join(dir, name)
		if !slices.ContainsFunc(all, func(s string) bool { return s == below || strings.HasPrefix(s, below+"/") }) {
			return fmt.Errorf("%s: overwrite: true would delete %s, which isn't in the config: delete it yourself, or leave overwrite out", dir, below)
		}
	}
	return nil
}

func (p *planner) file(f types.File, at string) error {
	old, err := p.lstat(at)
	if err != nil {
		return err
	}
	overwrite := util.IsTrue(f.Overwrite)
	switch old.kind {
	case directory, special:
		return fmt.Errorf("%s is %s: a file can't be written there", f.Path, old)
	case symlink:
		if !overwrite {
			return fmt.Errorf("%s is %s, and overwrite is false: name the file itself, or say overwrite: true to replace the link", f.Path, old)
		}
	}
	n := node{want: entry{kind: regular, mode: 0o644}}
	if f.Mode != nil {
		n.want.mode = permissions(*f.Mode)
	}
	if old.kind == regular && f.Contents.Source == nil {
		n.want.uid, n.want.gid = old.uid, old.gid
		if f.Mode == nil {
			n.want.mode = old.mode
		}
	}
	if err := p.owner(f.Node, &n.want); err != nil {
		return err
	}
	if n.content, err = p.contents(f, at, old); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if old.kind == regular && f.Contents.Source != nil && !overwrite {
		have, _, _, err := p.read(at)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, n.content) {
			return fmt.Errorf("%s is there with another content, and overwrite is false: say overwrite: true to replace it", f.Path)
		}
	}
	return p.put(at, n)
}

// contents gives what a file shall hold. What is appended to a file that isn't
// written as a whole is lines: those that it has already aren't added again.
func (p *planner) contents(f types.File, at string, old entry) ([]byte, error) {
	var text []byte
	var err error
	switch {
	case f.Contents.Source != nil && p.verified(f.Contents, at, old):
		text, _, _, err = p.read(at)
	case f.Contents.Source != nil:
		text, err = p.resource(f.Contents)
	case old.kind == regular:
		text, _, _, err = p.read(at)
	}
	if err != nil {
		return nil, err
	}
	for _, r := range f.Append {
		more, err := p.resource(r)
		if err != nil {
			return nil, err
		}
		if f.Contents.Source == nil {
			text = appendLines(text, more)
		} else {
			text = append(text[:len(text):len(text)], more...)
		}
	}
	return text, nil
}

// verified says that a file has the content already that the config wants by its
// hash: a later boot need not fetch it again.
func (p *planner) verified(r types.Resource, at string, old entry) bool {
	if r.Verification.Hash == nil || old.kind != regular {
		return false
	}
	have, _, ok, err := p.read(at)
	return err == nil && ok && hashOf(r.Verification, have) == *r.Verification.Hash
}

// appendLines adds lines to a text that may have them already.
func appendLines(text, lines []byte) []byte {
	if len(lines) == 0 {
		return text
	}
	for from := 0; ; {
		i := bytes.Index(text[from:], lines)
		if i < 0 {
			break
		}
		i += from
		end := i + len(lines)
		if (i == 0 || text[i-1] == '\n') && (lines[len(lines)-1] == '\n' || end == len(text) || text[end] == '\n') {
			return text
		}
		from = i + 1
	}
	out := slices.Clone(text)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(out, lines...)
}

func (p *planner) link(l types.Link, at string) error {
	target, overwrite := *l.Target, util.IsTrue(l.Overwrite)
	old, err := p.lstat(at)
	if err != nil {
		return err
	}
	if old.kind == directory || old.kind == special {
		return fmt.Errorf("%s is %s: a link can't replace it", l.Path, old)
	}
	if util.IsTrue(l.Hard) {
		return p.hardLink(l.Path, target, at, old, overwrite)
	}
	if old.kind == regular && !overwrite {
		return fmt.Errorf("%s is a file, and overwrite is false: say overwrite: true to replace it by a link", l.Path)
	}
	if old.kind == symlink && path.Clean(old.target) != path.Clean(target) && !overwrite {
		return fmt.Errorf("%s links to %s, and overwrite is false: say overwrite: true to link it to %s", l.Path, old.target, target)
	}
	n := node{want: entry{kind: symlink, target: target}}
	if old.kind == symlink && path.Clean(old.target) == path.Clean(target) {
		n.want = old
	}
	if err := p.owner(l.Node, &n.want); err != nil {
		return err
	}
	return p.put(at, n)
}

func (p *planner) hardLink(name, target, at string, old entry, overwrite bool) error {
	to, err := p.place(target)
	if err != nil {
		return fmt.Errorf("%s: its target: %w", name, err)
	}
	of, err := p.lstat(to)
	if err != nil {
		return err
	}
	if of.kind != regular {
		return fmt.Errorf("%s: its target %s is %s, and a hard link is of a file", name, target, of)
	}
	one, err := p.root.lstat(at)
	if err != nil {
		return err
	}
	two, err := p.root.lstat(to)
	if err != nil {
		return err
	}
	same := one.kind == regular && one.ino == two.ino && one.dev == two.dev
	if old.kind != missing && !overwrite && !same {
		return fmt.Errorf("%s is %s, and overwrite is false: it can't become another name of %s", name, old, target)
	}
	return p.put(at, node{want: of, hardTo: to})
}

// owner sets who owns a thing, if the config says so.
func (p *planner) owner(n types.Node, want *entry) error {
	if n.User.ID != nil {
		want.uid = *n.User.ID
	}
	if n.Group.ID != nil {
		want.gid = *n.Group.ID
	}
	if n.User.ID == nil && util.NotEmpty(n.User.Name) {
		u, ok := p.accounts.user(*n.User.Name)
		if !ok {
			return fmt.Errorf("%s: there is no user %s: name it under passwd.users, or give its id", n.Path, *n.User.Name)
		}
		want.uid = u.uid
	}
	if n.Group.ID == nil && util.NotEmpty(n.Group.Name) {
		g, ok := p.accounts.group(*n.Group.Name)
		if !ok {
			return fmt.Errorf("%s: there is no group %s: name it under passwd.groups, or give its id", n.Path, *n.Group.Name)
		}
		want.gid = g.gid
	}
	return nil
}

// permissions keeps what chmod takes.
func permissions(mode int) uint32 { return uint32(mode) & 0o7777 }
