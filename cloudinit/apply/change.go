package apply

import (
	"fmt"
	"unicode/utf8"
)

// Change is one thing that is different from what the config says.
type Change struct {
	Verb    string // create, change, replace, remove; set, reload...
	Subject string // a path, a unit...
	Detail  string
	// Diff is a unified diff, of a text file that everybody may read.
	Diff string
}

// String tells the change on a line, without the diff.
func (c Change) String() string {
	out := c.Verb + " " + c.Subject
	if c.Detail != "" {
		out += " (" + c.Detail + ")"
	}
	return out
}

// describe tells a node's change.
func (t *tree) describe(p string, n *node) (Change, error) {
	c := Change{Verb: "create", Subject: p}
	was, want := n.was, n.want
	if t.root.noOwners {
		was.uid, was.gid = want.uid, want.gid
	}
	switch {
	case want.kind == missing:
		c.Verb, c.Detail = "remove", was.String()
		if n.deep {
			c.Detail = "a directory and all that is in it"
		}
		return c, nil
	case was.kind == missing:
	case was.kind == want.kind:
		c.Verb = "change"
	default:
		c.Verb, c.Detail = "replace", was.String()+" by "
	}
	switch {
	case n.hardTo != "":
		c.Detail += "another name of " + n.hardTo
		return c, nil
	case want.kind == symlink:
		c.Detail += "a symbolic link to " + want.target
		if was.kind == symlink && was.target != want.target {
			c.Detail += ", not " + was.target
		}
		return c, nil
	case want.kind == directory:
		c.Detail += "a directory, "
	case was.kind != missing && was.kind != regular:
		c.Detail += "a file, "
	}
	c.Detail += rights(was, want)
	if want.kind != regular {
		return c, nil
	}
	old := []byte{}
	if was.kind == regular {
		var err error
		if old, err = t.root.read(p, maxResource); err != nil {
			return c, err
		}
	}
	switch {
	case string(old) == string(n.content):
	case n.secret || want.mode&0o004 == 0 || was.kind == regular && was.mode&0o004 == 0:
		c.Detail += ", content differs"
	case !isText(old) || !isText(n.content):
		c.Detail += fmt.Sprintf(", %d bytes", len(n.content))
	default:
		c.Diff = unified(p, was.kind == regular, string(old), string(n.content))
	}
	return c, nil
}

func rights(was, want entry) string {
	now := fmt.Sprintf("%04o %d:%d", want.mode, want.uid, want.gid)
	if was.kind != want.kind {
		return now
	}
	if before := fmt.Sprintf("%04o %d:%d", was.mode, was.uid, was.gid); before != now {
		return now + ", not " + before
	}
	return now
}

// isText tells what a terminal can show.
func isText(data []byte) bool {
	if len(data) > 1<<20 || !utf8.Valid(data) {
		return false
	}
	for _, b := range data {
		if b < ' ' && b != '\n' && b != '\t' && b != '\r' {
			return false
		}
	}
	return true
}
