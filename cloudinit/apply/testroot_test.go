package apply

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	v3 "github.com/coreos/ignition/v2/config/v3_6"

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
	addTo(t, root, files)
	return root
}

func addTo(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for _, p := range keys(files) {
		text, at := files[p], filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
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

// ignition reads the inside of an Ignition config. Only Ignition's own parser
// has looked at it: what package cloudinit refuses is to be refused here, too.
func ignition(t *testing.T, inside string) cloudinit.Result {
	t.Helper()
	out, err := parsed(inside)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func parsed(inside string) (cloudinit.Result, error) {
	cfg, said, err := v3.ParseCompatibleVersion([]byte(`{"ignition": {"version": "3.6.0"}, ` + inside + `}`))
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said.String())
	}
	return cloudinit.Result{Config: cfg}, err
}

// treeOf writes down what is in a root, by path.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	all, names := map[string]string{}, map[uint64]string{}
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
		owner := ""
		if os.Geteuid() == 0 {
			owner = fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
		}
		head := fmt.Sprintf("%04o%s", st.Mode&0o7777, owner)
		switch {
		case info.IsDir():
			all[rel] = head + " directory"
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			all[rel] = "link" + owner + " -> " + target
			return err
		case !info.Mode().IsRegular():
			all[rel] = head + " " + info.Mode().Type().String()
		case names[st.Ino] != "":
			all[rel] = head + " same file as " + names[st.Ino]
		default:
			names[st.Ino] = rel
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			all[rel] = strings.TrimSuffix(head+" file\n"+indented(string(text)), "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func indented(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		b.WriteString("\t" + strings.TrimRight(strings.TrimSuffix(l, "\n"), " ") + "\n")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		b.WriteString("\t\\ no newline at the end\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// changed writes what differs between two trees, in the order of the paths.
func changed(before, after map[string]string) string {
	all := map[string]bool{}
	for p := range before {
		all[p] = true
	}
	for p := range after {
		all[p] = true
	}
	var b strings.Builder
	for _, p := range keys(all) {
		switch was, is := before[p], after[p]; {
		case was == is:
		case is == "":
			fmt.Fprintf(&b, "%s gone\n", p)
		default:
			fmt.Fprintf(&b, "%s %s\n", p, is)
		}
	}
	return b.String()
}

// manager is a systemd that writes down what it is told.
type manager struct {
	told     []string
	name     string
	results  map[string]string // of a command, if it isn't done
	refusals map[string]bool
	onReload func()
}

func (m *manager) Reload(context.Context) error {
	m.told = append(m.told, "daemon-reload")
	if m.onReload != nil {
		m.onReload()
	}
	return nil
}

// unknownUnit is a refusal as systemd's, for a unit that it doesn't know.
type unknownUnit string

func (m unknownUnit) Error() string    { return "there is no " + string(m) }
func (m unknownUnit) NoSuchUnit() bool { return true }

func (m *manager) Do(_ context.Context, unit, verb string) (string, error) {
	c := verb + " " + unit
	m.told = append(m.told, c)
	if m.refusals[c] {
		return "", unknownUnit(unit)
	}
	if r := m.results[c]; r != "" {
		return r, nil
	}
	return "done", nil
}

func (m *manager) Run(_ context.Context, unit string, argv []string) (string, error) {
	m.told = append(m.told, "run "+unit+": "+strings.Join(argv, " "))
	if r := m.results["run"]; r != "" {
		return r, nil
	}
	return "done", nil
}

func (m *manager) Hostname() (string, error) { return m.name, nil }

func (m *manager) SetHostname(name string) error {
	m.told = append(m.told, "hostname "+name)
	m.name = name
	return nil
}

// withoutOwners leaves out of a tree what only root's tests see.
func withoutOwners(tree string) string {
	if os.Geteuid() == 0 {
		return tree
	}
	return owners.ReplaceAllString(tree, "$1")
}

var owners = regexp.MustCompile(`(?m)^(\S+ (?:[0-7]{4}|link)) \d+:\d+`)

// asUser runs a program of a user's until it is stopped.
func asUser(t *testing.T, uid uint32) (stop func()) {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
}
