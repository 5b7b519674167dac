package backup

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// lines lets tests compare what was read with what was written.
var lines = []cmp.Option{
	cmpopts.IgnoreFields(Unit{}, "Line", "textLine"), cmpopts.IgnoreFields(Machine{}, "Line"), cmpopts.EquateEmpty(),
}

// texts are unit files, as far as systemd takes them, of what is hard to write
// down: other line breaks, white space everywhere, what YAML has a meaning for.
var texts = rapid.Custom(func(t *rapid.T) []byte {
	line := rapid.OneOf(
		rapid.SampledFrom([]string{
			"", " ", "\t", "   ", "# ---", "#\r", "; ...", "# - a: b", "#\u0085", "#\u2028", "#\ufeff", "# \x7f", "#\x1b[0m", "# é 漢 🚢",
			"[Unit]", "[Service]", "[Unit]\r", "Description=a  ", " Description=b", "\tDescription=c", "Description=\"d\" \\", "ExecStart=/bin/true \\\\",
			"Environment=A='b: c' \"d\"", "# |2-", "# !!binary", "# *a &b", "#\\", "# %i %%",
		}),
		rapid.Map(rapid.String(), func(s string) string { return "#" + strings.NewReplacer("\n", "", "\x00", "").Replace(s) }),
	)
	text := strings.Join(rapid.SliceOfN(line, 0, 8).Draw(t, "lines"), "\n")
	return []byte(rapid.SampledFrom([]string{"", "\n", "\n\n", "\r\n", " ", "\n ", "\n\t"}).Draw(t, "begin") + text +
		rapid.SampledFrom([]string{"", "\n", "\n\n\n", "\r\n", " ", "\n  ", "\t"}).Draw(t, "end"))
})

// Whatever the texts are, they come back byte for byte.
func TestTextsComeBackByteForByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texts.Draw(t, "text")
		f := &File{Format: Format, Taken: time.Unix(0, 0), Units: []Unit{
			{Name: "a.service", Target: unit.TargetInactive, Text: text}, {Name: "b.service", Target: unit.TargetInactive, Text: []byte("[Unit]\nDescription=b\n")},
		}}
		written := f.YAML()
		if !strings.Contains(string(written), "\n- name: b.service\n") || bytes.ContainsRune(written, '\r') {
			t.Fatalf("one unit runs into the next, or a line ends oddly:\n%s", written)
		}
		got := parse(t, written)
		if !bytes.Equal(got.Units[0].Text, text) {
			t.Fatalf("%q came back as %q from\n%s", text, got.Units[0].Text, written)
		}
	})
}

// parse reads a backup whatever its unit files say: fleet refuses many, but not
// for the way they are written down.
func parse(t *rapid.T, text []byte) *File {
	r := &reader{lines: bytes.Split(text, []byte("\n")), file: &File{}, asIs: true}
	if r.document(text); len(r.problems) > 0 {
		t.Fatalf("%v\n%s", r.problems, text)
	}
	return r.file
}

// Whole backups come back, in the order of names, however they were ordered; and
// the same again writes the same file.
func TestBackupsComeBack(t *testing.T) {
	word := rapid.OneOf(rapid.SampledFrom([]string{"true", "null", "1.5", "0x1f", "2026-11-21", "~", "yes", "", "a: b", "- c", "é", "#", "'", "\\"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		f := &File{
			Format: Format, Fleet: word.Draw(t, "fleet"), Cluster: word.Draw(t, "cluster"), Schema: "1.0.0",
			Taken: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "taken"), 0).UTC(),
		}
		for _, id := range rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9a-f]{32}`), 0, 3, rapid.ID).Draw(t, "machines") {
			f.Machines = append(f.Machines, Machine{
				ID: id, Cordoned: rapid.Bool().Draw(t, "cordoned"),
				Metadata: rapid.MapOfN(word, word, 0, 3).Draw(t, "metadata"), Removed: rapid.SliceOfN(word, 0, 2).Draw(t, "removed"),
			})
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z0-9:_.\\-]{1,8}(@[a-z0-9]{1,3})?\.(service|timer)`), 0, 4, rapid.ID).Draw(t, "units") {
			if _, err := unit.ParseName(name); err != nil {
				continue
			}
			f.Units = append(f.Units, Unit{
				Name: unit.Name(name), Target: rapid.SampledFrom([]unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched}).Draw(t, "target"),
				Text: []byte("[Unit]\nDescription=" + name + "\r\n"),
			})
		}
		written := f.YAML()
		got := parse(t, written)
		if again := got.YAML(); !bytes.Equal(again, written) {
			t.Fatalf("written again it differs:\n%s", cmp.Diff(string(written), string(again)))
		}
		byName := cmpopts.SortSlices(func(a, b Unit) bool { return a.Name < b.Name })
		byID := cmpopts.SortSlices(func(a, b Machine) bool { return a.ID < b.ID })
		ordered := cmpopts.SortSlices(func(a, b string) bool { return a < b })
		if diff := cmp.Diff(f, got, append(lines, byName, byID, ordered)...); diff != "" {
			t.Fatalf("%s\n%s", diff, written)
		}
	})
}

// A text that is no UTF-8 is written so that it comes back, for a person to see;
// to restore it is refused, as it would be to submit it.
func TestTextThatIsNotUTF8(t *testing.T) {
	f := &File{Format: Format, Units: []Unit{{Name: "a.service", Target: unit.TargetInactive, Text: []byte("[Unit]\nDescription=\xff\n")}}}
	if again, err := Reread(f.YAML()); err != nil || !bytes.Equal(again, f.YAML()) {
		t.Errorf("it came back as %s, %v", again, err)
	}
	if _, _, err := Read(f.YAML()); err == nil || !strings.Contains(err.Error(), "a.service: the file has bytes that aren't UTF-8") {
		t.Errorf("to be restored: %v", err)
	}
}

// Only when it was taken makes no difference.
func TestSameAs(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*File)
		same   bool
	}{
		"nothing":   {func(*File) {}, true},
		"the time":  {func(f *File) { f.Taken = f.Taken.Add(time.Hour) }, true},
		"the order": {func(f *File) { f.Units[0], f.Units[1] = f.Units[1], f.Units[0] }, true},
		"a text":    {func(f *File) { f.Units[1].Text = append(f.Units[1].Text, '\n') }, false},
		"a target":  {func(f *File) { f.Units[0].Target = unit.TargetInactive }, false},
		"a machine": {func(f *File) { f.Machines[0].Cordoned = false }, false},
		"a unit":    {func(f *File) { f.Units = f.Units[1:] }, false},
		"fleet":     {func(f *File) { f.Fleet = "2.0.1" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := *example
			f.Units, f.Machines = slices.Clone(f.Units), slices.Clone(f.Machines)
			tc.change(&f)
			if got := f.SameAs([]byte(exampleText)); got != tc.same {
				t.Errorf("same: %v", got)
			}
		})
	}
	if example.SameAs([]byte("rubbish")) || example.SameAs(nil) {
		t.Error("the same as rubbish")
	}
}
