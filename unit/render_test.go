package unit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestFromOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []Option
		want string
	}{
		{"nothing", nil, ""},
		{"sections in runs", []Option{{Section: "Unit", Name: "A", Value: "1"}, {Section: "Unit", Name: "B", Value: "2"},
			{Section: "Service", Name: "C", Value: "3"}, {Section: "Unit", Name: "D", Value: ""}},
			"[Unit]\nA=1\nB=2\n\n[Service]\nC=3\n\n[Unit]\nD=\n"},
		{"a continuation as an old client sends it", []Option{{Section: "S", Name: "A", Value: "run \\\n  --rm \\\n  image"}},
			"[S]\nA=run \\\n  --rm \\\n  image\n"},
		{"a comment inside a continuation", []Option{{Section: "S", Name: "A", Value: "run \\\n# why\n  image"}},
			"[S]\nA=run \\\n  image\n"},
		{"a comment at a continuation's end", []Option{{Section: "S", Name: "A", Value: "run \\\n# why"}, {Section: "S", Name: "B", Value: "c"}},
			"[S]\nA=run\nB=c\n"},
		{"a bare line break", []Option{{Section: "S", Name: "A", Value: "b\n[X-Fleet]\nGlobal=true"}},
			"[S]\nA=b [X-Fleet] Global=true\n"},
		{"a bare line break before a comment", []Option{{Section: "S", Name: "A", Value: "b\n# c"}}, "[S]\nA=b # c\n"},
		{"a value that begins like a comment", []Option{{Section: "S", Name: "A", Value: "#b\n#c"}}, "[S]\nA=#b #c\n"},
		{"a carriage return", []Option{{Section: "S", Name: "A", Value: "b\rC=d\r\nE=f"}}, "[S]\nA=b C=d E=f\n"},
		{"a backslash at the end", []Option{{Section: "S", Name: "A", Value: "b \\"}, {Section: "S", Name: "C", Value: "d"}}, "[S]\nA=b \\ \nC=d\n"},
		{"two backslashes at the end", []Option{{Section: "S", Name: "A", Value: `b\\`}}, "[S]\nA=b\\\\\n"},
		{"blank lines in a continuation", []Option{{Section: "S", Name: "A", Value: "b \\\n\\\n\nc"}}, "[S]\nA=b  \\\n c\n"},
		{"a byte order mark in a continuation", []Option{{Section: "S", Name: "A", Value: "b\\\n\ufeffc"}}, "[S]\nA=b \ufeffc\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := FromOptions(c.in)
			if got := string(f.Text()); got != c.want {
				t.Errorf("got:\n%q\nwant:\n%q", got, c.want)
			}
			if len(f.problems) > 0 {
				t.Errorf("problems: %v", f.problems)
			}
		})
	}
}

func TestFromOptionsRefuses(t *testing.T) {
	good := Option{Section: "Service", Name: "ExecStart", Value: "/bin/true"}
	for _, c := range []struct {
		name string
		bad  Option
		want string
	}{
		{"no section", Option{Name: "A"}, "[] A: a section header without a name: name the section, as in [Service]"},
		{"a bracket in the section", Option{Section: "A]\nB=c\n[D", Name: "A"}, "a section name with ']' in it"},
		{"the section's case", Option{Section: "X-FLEET", Name: "Global", Value: "true"}, "[X-FLEET] Global: not the section that fleet reads: write [X-Fleet], exactly"},
		{"no name", Option{Section: "Unit", Value: "b"}, "[Unit]: an option without a name"},
		{"space for a name", Option{Section: "Unit", Name: " \t", Value: "b"}, "an option without a name"},
		{"an equals sign in the name", Option{Section: "Unit", Name: "A=B"}, `an option name with "=" or a line break in it`},
		{"a line break in the name", Option{Section: "Unit", Name: "A\nB"}, `an option name with "=" or a line break in it`},
		{"a comment for a name", Option{Section: "Unit", Name: "#A"}, "begins with '#'"},
		{"a header for a name", Option{Section: "Unit", Name: "[A]"}, "begins with '['"},
		{"a mark for a name", Option{Section: "Unit", Name: "\ufeffA"}, "byte order mark"},
		{"NUL", Option{Section: "Unit", Name: "A", Value: "\x00"}, "it has a NUL byte in it"},
		{"not UTF-8", Option{Section: "Unit", Name: "A", Value: "\xff"}, "it has bytes that aren't UTF-8 in it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := FromOptions([]Option{good, c.bad, good})
			err := Validate("web.service", f)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(problemsOf(err)) != 1 {
				t.Errorf("Validate: %v\nwant one problem: %s", err, c.want)
			}
			if _, err := f.Requirements("web.service"); err == nil {
				t.Error("Requirements doesn't report it")
			}
			if got := len(f.Values("Service", "ExecStart")); got != 2 {
				t.Errorf("the good options beside it: %d", got)
			}
			if _, err := Parse(f.Text()); err != nil {
				t.Errorf("what was written can't be read: %v", err)
			}
		})
	}
}

// rough makes text of what has a meaning to the lexer, and some that hasn't.
func rough(pieces ...string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(t, "pieces"), "")
	})
}

func genOptions() *rapid.Generator[[]Option] {
	value := rough("a", "=", " ", "\\", "\n", "\r", "\\\n", "\\\r\n", "#", ";", "[X-Fleet]", "Global=true", "\t", bom, "ü")
	name := rough("A", "b", "-", " ", "=", "\n", "#", "[", bom)
	return rapid.SliceOf(rapid.Custom(func(t *rapid.T) Option {
		o := Option{Section: rapid.SampledFrom([]string{"Unit", "Service", "X-Mine", " "}).Draw(t, "section"), Name: "Name"}
		if rapid.IntRange(0, 9).Draw(t, "oddity") == 0 {
			o.Name = name.Draw(t, "name")
		}
		o.Value = value.Draw(t, "value")
		return o
	}))
}

// TestFromOptionsRoundTrip: whatever is in the options, what is written reads
// back as the options that the file says it has, one for each that could be
// written, under the same section and name.
func TestFromOptionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genOptions().Draw(t, "options")
		f := FromOptions(in)
		back, err := Parse(f.Text())
		if err != nil {
			t.Fatalf("%v\n%q", err, f.Text())
		}
		if diff := cmp.Diff(f.Options(), back.Options(), cmpopts.IgnoreFields(Option{}, "Line"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-said +read):\n%s\n%q", diff, f.Text())
		}
		checkWritten(t, in, f)
		if again := FromOptions(f.Options()); string(again.Text()) != string(FromOptions(back.Options()).Text()) {
			t.Fatalf("lines make a difference: %q", again.Text())
		} else if !cmp.Equal(again.Options(), f.Options(), cmpopts.EquateEmpty()) {
			t.Fatalf("the options change when written again:\n%q\n%q", f.Text(), again.Text())
		}
	})
}

// checkWritten wants every option that has no problem in the file.
func checkWritten(t *rapid.T, in []Option, f *File) {
	out := f.Options()
	for _, o := range in {
		if _, bad := o.unwritable(); bad {
			continue
		}
		if len(out) == 0 || out[0].Section != o.Section || out[0].Name != strings.Trim(o.Name, space) {
			t.Fatalf("%+v isn't in its place:\n%q", o, f.Text())
		}
		if !strings.ContainsAny(o.Value, "\r\n") && out[0].Value != strings.Trim(o.Value, space) {
			t.Fatalf("%q reads back as %q", o.Value, out[0].Value)
		}
		out = out[1:]
	}
	if len(out) > 0 {
		t.Fatalf("options from nowhere: %+v\n%q", out, f.Text())
	}
}
