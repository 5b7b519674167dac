package apply

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	maxLinks    = 40       // on the way to one file, as the kernel has it
	maxTextFile = 16 << 20 // of files that are read to be edited
)

// tree is the picture of the root as the config would have it. What is put into
// it is seen by all that is put later.
type tree struct {
	root  *root
	nodes map[string]*node // by canonical path
	order []string         // of the nodes, as they were first put
}

type node struct {
	was, want entry
	content   []byte
	hardTo    string // want is another name of this file
	secret    bool   // what is in it is not to be shown
	deep      bool   // a directory that goes with all that is in it
}

func newTree(r *root) *tree { return &tree{root: r, nodes: map[string]*node{}} }

// lstat tells what lies at a canonical path, in the picture.
func (t *tree) lstat(p string) (entry, error) {
	if n := t.nodes[p]; n != nil {
		return n.want, nil
	}
	for up := p; up != "/"; {
		up = path.Dir(up)
		if n := t.nodes[up]; n != nil && n.want.kind != directory {
			return entry{}, nil // what was below went with it
		}
	}
	return t.root.lstat(p)
}

// resolve finds a path's canonical one: the links on the way are followed, as
// inside the root; one at its end is not.
func (t *tree) resolve(p string) (string, error) { return t.walk(p, false) }

// follow resolves a link at the end, too.
func (t *tree) follow(p string) (string, error) { return t.walk(p, true) }

func (t *tree) walk(p string, last bool) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("%q has a NUL byte", p)
	}
	todo, at, links := parts(p), "/", 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch {
		case part == ".":
			continue
		case part == "..":
			at = path.Dir(at)
			continue
		case len(part) > 255:
			return "", fmt.Errorf("%s: a name in it is longer than 255 bytes", p)
		}
		next := path.Join(at, part)
		e, err := t.lstat(next)
		if err != nil {
			return "", err
		}
		switch {
		case e.kind == symlink && (last || len(todo) > 0):
			if links++; links > maxLinks {
				return "", fmt.Errorf("%s: its links go in a circle (%s)", p, next)
			}
			if e.uid != 0 && e.uid != os.Geteuid() {
				return "", fmt.Errorf("%s: %s is a link made by the user with id %d, who could send it anywhere: it isn't followed", p, next, e.uid)
			}
			if path.IsAbs(e.target) {
				at = "/"
			}
			todo = append(parts(e.target), todo...)
			continue
		case e.kind != directory && e.kind != missing && len(todo) > 0:
			return "", fmt.Errorf("%s: %s is %s, so that nothing can be below it", p, next, e)
		}
		at = next
	}
	return at, nil
}

// place is resolve for what is to be there: never where the kernel listens.
func (t *tree) place(p string) (string, error) {
	at, err := t.resolve(p)
	if err != nil {
		return "", err
	}
	for _, kernels := range []string{"/proc", "/sys", "/dev"} {
		if at == kernels || strings.HasPrefix(at, kernels+"/") {
			return "", fmt.Errorf("%s is below %s, which holds no files", named(p, at), kernels)
		}
	}
	if at == "/" {
		return "", fmt.Errorf("%s is the root itself", p)
	}
	return at, nil
}

// named tells a path and, if links lead elsewhere, where to.
func named(p, at string) string {
	if p == at {
		return p
	}
	return p + " (which is " + at + ")"
}

// read gives a file's text, in the picture; ok says whether there is one.
func (t *tree) read(p string) (data []byte, e entry, ok bool, err error) {
	e, err = t.lstat(p)
	if err != nil || e.kind == missing {
		return nil, e, false, err
	}
	if e.kind != regular {
		return nil, e, false, fmt.Errorf("%s is %s, not a file", p, e)
	}
	if n := t.nodes[p]; n != nil {
		if n.hardTo != "" {
			return t.read(n.hardTo)
		}
		return n.content, e, true, nil
	}
	data, err = t.root.read(p, maxTextFile)
	return data, e, err == nil, err
}

// list gives the names in a directory, in the picture.
func (t *tree) list(p string) ([]string, error) {
	names, err := t.root.list(p)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, name := range names {
		if e, err := t.lstat(path.Join(p, name)); err == nil && e.kind != missing && !isTemp(name) {
			all[name] = true
		}
	}
	for at, n := range t.nodes {
		if path.Dir(at) == p && n.want.kind != missing {
			all[path.Base(at)] = true
		}
	}
	return keys(all), nil
}

// put says what a canonical path shall be. Directories on the way are made.
func (t *tree) put(p string, n node) error {
	if up := path.Dir(p); up != "/" {
		e, err := t.lstat(up)
		if err != nil {
			return err
		}
		switch {
		case e.kind == missing && n.want.kind == missing:
			return nil
		case e.kind == missing:
			err = t.put(up, node{want: entry{kind: directory, mode: 0o755}})
		case e.kind != directory:
			err = fmt.Errorf("%s: %s is %s, so that nothing can be below it", p, up, e)
		}
		if err != nil {
			return err
		}
	}
	old := t.nodes[p]
	if old == nil {
		was, err := t.root.lstat(p)
		if err != nil {
			return err
		}
		n.was = was
		t.order = append(t.order, p)
	} else {
		n.was = old.was
	}
	if n.want.kind == regular && n.hardTo == "" {
		n.want.size = int64(len(n.content))
	}
	t.nodes[p] = &n
	return nil
}

// same says whether a node is what it shall be already.
func (t *tree) same(p string, n *node) (bool, error) {
	was, want := n.was, n.want
	if was.kind != want.kind {
		return false, nil
	}
	owned := t.root.noOwners || was.uid == want.uid && was.gid == want.gid
	switch want.kind {
	case missing:
		return true, nil
	case symlink:
		return owned && was.target == want.target, nil
	case directory:
		return owned && was.mode == want.mode, nil
	}
	if n.hardTo != "" {
		to, err := t.root.lstat(n.hardTo)
		return err == nil && to.ino == was.ino && to.dev == was.dev && !t.changes(n.hardTo), err
	}
	if !owned || was.mode != want.mode || was.size != int64(len(n.content)) {
		return false, nil
	}
	old, err := t.root.read(p, maxResource)
	return bytes.Equal(old, n.content), err
}

// changes says whether a file will be another one than now.
func (t *tree) changes(p string) bool {
	n := t.nodes[p]
	if n == nil {
		return false
	}
	same, err := t.same(p, n)
	return err != nil || !same
}

// step is one change on disk.
type step struct {
	path     string
	was      entry
	want     entry
	content  []byte
	hardTo   string
	leftover bool
	change   Change
}

// steps are the changes that make the root like the picture, in order.
func (t *tree) steps() ([]step, error) {
	steps, err := t.leftovers()
	if err != nil {
		return nil, err
	}
	var refused []error
	for _, p := range t.order {
		n := t.nodes[p]
		same, err := t.same(p, n)
		if err != nil {
			return nil, err
		}
		if same {
			continue
		}
		if err := t.takes(p); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", p, err))
			continue
		}
		s := step{path: p, was: n.was, want: n.want, content: n.content, hardTo: n.hardTo}
		if s.change, err = t.describe(p, n); err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, errors.Join(refused...)
}

// takes says why a path can't be written: of a directory on the way that is there.
func (t *tree) takes(p string) error {
	for up := path.Dir(p); ; up = path.Dir(up) {
		e, err := t.root.lstat(up)
		if err != nil {
			return err
		}
		if e.kind == directory {
			return t.root.writable(up)
		}
	}
}

// leftovers finds what a run that was cut off left in the directories that this
// one is about.
func (t *tree) leftovers() ([]step, error) {
	dirs := map[string]bool{}
	for p := range t.nodes {
		dirs[path.Dir(p)] = true
	}
	var steps []step
	for _, dir := range keys(dirs) {
		if n := t.nodes[dir]; n != nil && n.was.kind != directory {
			continue
		}
		names, err := t.root.list(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if !isTemp(name) {
				continue
			}
			p := path.Join(dir, name)
			e, err := t.root.lstat(p)
			if err != nil {
				return nil, err
			}
			if below, err := t.root.list(p); err != nil {
				return nil, err
			} else if len(below) > 0 {
				continue // not of ours, which are renamed before anything is put into them
			}
			steps = append(steps, step{path: p, was: e, leftover: true, change: Change{Verb: "remove", Subject: p, Detail: "left by a run that was cut off"}})
		}
	}
	return steps, nil
}

func sorted(in []string) []string {
	slices.Sort(in)
	return in
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return sorted(out)
}
