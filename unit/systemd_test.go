package unit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// systemd is the real thing as an oracle: systemctl enable, offline and in a
// directory of its own, makes a link for every value of WantedBy that it reads
// and so tells how it read the file.
type systemd struct {
	root string
	dir  string
	n    int
}

func newSystemd(t *testing.T) *systemd {
	if testing.Short() {
		t.Skip("runs systemctl some hundred times: leave out -short")
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		t.Skip("needs systemctl, to compare with what the real systemd reads")
	}
	s := &systemd{root: t.TempDir()}
	s.dir = filepath.Join(s.root, "etc/systemd/system")
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// wantedBy gives the values that systemd reads from [Install] WantedBy, sorted
// and each once. Values must be valid unit names, or it stops at them.
func (s *systemd) wantedBy(text string) ([]string, error) {
	s.n++
	name := fmt.Sprintf("u%d.service", s.n) // a new one each time: no state to clean
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		return nil, err
	}
	if out, err := exec.Command("systemctl", "--root="+s.root, "enable", name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	links, err := filepath.Glob(filepath.Join(s.dir, "*.wants", name))
	var values []string
	for _, link := range links {
		values = append(values, strings.TrimSuffix(filepath.Base(filepath.Dir(link)), ".wants"))
	}
	slices.Sort(values)
	return values, err
}

// ours gives what this package reads from the same text.
func ours(f *File) []string {
	var values []string
	for _, v := range f.Values("Install", "WantedBy") {
		values = append(values, strings.Fields(v)...)
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// TestLikeSystemd reads files at random, made of all that means something to
// the lexer, with this package and with systemd.
func TestLikeSystemd(t *testing.T) {
	oracle := newSystemd(t)
	end := rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\r", "\n\r", "\n\n", " \\\n", "\\\n", "\\\r\n", "\\\\\\\n", "\n\t \n"})
	line := rapid.SampledFrom([]string{
		"WantedBy=", "WantedBy=a.target", "WantedBy = b.target c.target", "\tWantedBy=d.target \t", " e.target", "f.target",
		"# g.target", "  ; h.target", "#", "; WantedBy=i.target", "[Install]", "[Unit]", "[X-Mine]", " [Install] ", "", "Unknown=x", "\ufeff", "\ufeff#",
		"WantedBy=\ufeffj.target",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "\ufeff", "\n"}).Draw(t, "begin") + "[Install]\n"
		for range rapid.IntRange(1, 9).Draw(t, "lines") {
			text += line.Draw(t, "line") + end.Draw(t, "end")
		}
		f, err := Parse([]byte(text))
		if err != nil {
			t.Skip() // refused on purpose where systemd skips
		}
		if slices.ContainsFunc(ours(f), func(v string) bool { _, err := ParseName(v); return err != nil }) {
			t.Skip() // systemd would stop there
		}
		want, err := oracle.wantedBy(text)
		if err != nil {
			t.Fatalf("%v\n%q", err, text)
		}
		if diff := cmp.Diff(want, ours(f), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-systemd +fleet):\n%s\n%q", diff, text)
		}
	})
}

// TestFromOptionsLikeSystemd: what is written from options, systemd reads.
func TestFromOptionsLikeSystemd(t *testing.T) {
	oracle := newSystemd(t)
	value := rough("a.target", " ", "b.target", "\\\n", "\n", "\r", "# c.target", "\n; d.target", " \\\n ", "\\", "e.target")
	rapid.Check(t, func(t *rapid.T) {
		var in []Option
		for range rapid.IntRange(1, 3).Draw(t, "options") {
			in = append(in, Option{Section: "Install", Name: "WantedBy", Value: value.Draw(t, "value")})
		}
		f := FromOptions(in)
		if slices.ContainsFunc(ours(f), func(v string) bool { _, err := ParseName(v); return err != nil }) {
			t.Skip() // systemd would stop there
		}
		want, err := oracle.wantedBy(string(f.Text()))
		if err != nil {
			t.Fatalf("%v\n%q", err, f.Text())
		}
		if diff := cmp.Diff(want, ours(f), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-systemd +fleet):\n%s\n%q", diff, f.Text())
		}
	})
}

// TestNamesLikeSystemd: systemd knows every type that this package knows, but
// for those that it no longer has.
func TestNamesLikeSystemd(t *testing.T) {
	oracle := newSystemd(t)
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"a.service", true}, {"a.timer", true}, {"a.path", true}, {"a.mount", true}, {"a.swap", true}, {"a.slice", true},
		{`a\x2db@c@d.service`, true}, {"a:b_c.d-e.socket", true},
		{"a", false}, {"a.txt", false}, {"@.service", false}, {"a+b.service", false}, {"ä.service", false},
	} {
		_, err := oracle.wantedBy("[Install]\nWantedBy=" + c.name)
		if _, mine := ParseName(c.name); (err == nil) != c.ok || (mine == nil) != c.ok {
			t.Errorf("%s: systemd says %v, fleet says %v; want a valid name: %v", c.name, err, mine, c.ok)
		}
	}
}
