package apply

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/cloudinit"
)

// today is the day of all tests.
func today() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// applier opens a root for a test. An ordinary user can't give files away: then
// owners are neither set nor compared.
func applier(t *testing.T, opts Options) *Applier {
	t.Helper()
	opts.now = today
	opts.noOwners = os.Geteuid() != 0
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// image makes a small root: a path that ends in / is a directory, a text that
// begins with -> a link.
func image(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, p := range keys(files) {
		text, at := files[p], filepath.Join(root, p)
		var err error
		if err = os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		switch target, link := strings.CutPrefix(text, "->"); {
		case strings.HasSuffix(p, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(target, at)
		default:
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// config reads a config of any format, as for an image.
func config(t *testing.T, text string) cloudinit.Result {
	t.Helper()
	out, ps := cloudinit.Translate([]byte(text), cloudinit.Options{Persistent: true})
	if ps.Failed() {
		t.Fatal(ps.InFile("config"))
	}
	return out
}

// treeOf writes down what is in a root.
func treeOf(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	names := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		rel := strings.TrimPrefix(p, root)
		owner := fmt.Sprintf("%d:%d", st.Uid, st.Gid)
		if os.Geteuid() != 0 {
			owner = "-"
		}
		fmt.Fprintf(&b, "%s %04o %s", rel, st.Mode&0o7777, owner)
		switch {
		case info.IsDir():
			b.WriteString(" directory\n")
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			fmt.Fprintf(&b, " -> %s\n", target)
			return err
		case !info.Mode().IsRegular():
			fmt.Fprintf(&b, " %s\n", info.Mode().Type())
		case names[st.Ino] != "":
			fmt.Fprintf(&b, " same as %s\n", names[st.Ino])
		default:
			names[st.Ino] = rel
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			b.WriteString(" file\n")
			for l := range strings.Lines(string(text)) {
				fmt.Fprintf(&b, "\t%s\n", strings.TrimSuffix(l, "\n"))
			}
			if len(text) > 0 && text[len(text)-1] != '\n' {
				b.WriteString("\t\\ no newline at the end\n")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFilesAndDirectories(t *testing.T) {
	root := image(t, map[string]string{"/etc/motd": "old\n", "/etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
	in := config(t, `{"ignition": {"version": "3.6.0"}, "storage": {
		"directories": [{"path": "/srv/a", "mode": 488}],
		"files": [
			{"path": "/etc/motd", "overwrite": true, "contents": {"source": "data:,new%0A"}},
			{"path": "/srv/a/b/c", "mode": 384, "contents": {"source": "data:,hello"}}],
		"links": [{"path": "/srv/l", "target": "/srv/a/b/c"}, {"path": "/a", "hard": true, "target": "/srv/a/b/c"}]}}`)
	a := applier(t, Options{Root: root})
	report, err := a.Apply(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Changes {
		t.Logf("%s\n%s", c, c.Diff)
	}
	t.Log(treeOf(t, root))
	if again, err := a.Apply(t.Context(), in); err != nil || again.Changed() {
		t.Errorf("a second time: %v, %v", again.Changes, err)
	}
}
