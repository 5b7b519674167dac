package unit

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func opt(section, name, value string, line int) Option {
	return Option{Section: section, Name: name, Value: value, Line: line}
}

// TestParse holds the lexer to systemd's rules; systemd_test.go holds both to
// the real thing.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []Option
	}{
		{"empty", "", nil},
		{"only space", " \n\t\n", nil},
		{"plain", "[Unit]\nA=b\n", []Option{opt("Unit", "A", "b", 2)}},
		{"no line end at the end", "[Unit]\nA=b", []Option{opt("Unit", "A", "b", 2)}},
		{"CRLF", "[Unit]\r\nA=b \\\r\n c\r\nD=e\r\n", []Option{opt("Unit", "A", "b   c", 2), opt("Unit", "D", "e", 4)}},
		{"CR alone", "[Unit]\rA=b\r\rC=d", []Option{opt("Unit", "A", "b", 2), opt("Unit", "C", "d", 4)}},
		{"LF CR", "[Unit]\n\rA=b", []Option{opt("Unit", "A", "b", 2)}},
		{"empty CRLF lines count", "[Unit]\r\n\r\n\r\nA=b", []Option{opt("Unit", "A", "b", 4)}},
		{"byte order mark", "\ufeff[Unit]\nA=b", []Option{opt("Unit", "A", "b", 2)}},
		{"byte order mark before a comment", "\ufeff# x\n[Unit]\nA=b", []Option{opt("Unit", "A", "b", 3)}},
		{"comments", "# x\n; y\n[Unit]\n  # z\nA=b # no comment\n", []Option{opt("Unit", "A", "b # no comment", 5)}},
		{"comment that ends in a backslash", "[Unit]\n# x \\\nA=b\n", []Option{opt("Unit", "A", "b", 3)}},
		{"space everywhere", "  [Unit]  \n\t A \t=\t b c \t\n", []Option{opt("Unit", "A", "b c", 2)}},
		{"equals signs in the value", "[Unit]\nA==b=c\n", []Option{opt("Unit", "A", "=b=c", 2)}},
		{"empty value", "[Unit]\nA=\n", []Option{opt("Unit", "A", "", 2)}},
		{"continuation", "[Unit]\nA=b\\\nc\nD=e", []Option{opt("Unit", "A", "b c", 2), opt("Unit", "D", "e", 4)}},
		{"comments inside a continuation", "[Unit]\nA=b \\\n# x \\\n ; y\n c \\\n# z\nd", []Option{opt("Unit", "A", "b   c  d", 2)}},
		{"a blank line ends a continuation", "[Unit]\nA=b \\\n\nC=d", []Option{opt("Unit", "A", "b", 2), opt("Unit", "C", "d", 4)}},
		{"a continuation swallows a header", "[Unit]\nA=b \\\n[Service]\nC=d", []Option{opt("Unit", "A", "b  [Service]", 2), opt("Unit", "C", "d", 4)}},
		{"a name may be continued", "[Unit]\nA\\\n=b", []Option{opt("Unit", "A", "b", 2)}},
		{"space after a backslash", "[Unit]\nA=b\\ \nC=d", []Option{opt("Unit", "A", `b\`, 2), opt("Unit", "C", "d", 3)}},
		{"escaped backslash", "[Unit]\nA=b\\\\\nC=d", []Option{opt("Unit", "A", `b\\`, 2), opt("Unit", "C", "d", 3)}},
		{"three backslashes", "[Unit]\nA=b\\\\\\\nc", []Option{opt("Unit", "A", `b\\ c`, 2)}},
		{"continuation at the end", "[Unit]\nA=b \\", []Option{opt("Unit", "A", "b", 2)}},
		{"continuation into a comment at the end", "[Unit]\nA=b \\\n# x", []Option{opt("Unit", "A", "b", 2)}},
		{"only a backslash", "[Unit]\n\\\nA=b\n\\", []Option{opt("Unit", "A", "b", 2)}},
		{"repeated sections", "[Unit]\nA=b\n[Service]\nC=d\n[Unit]\nA=e", []Option{
			opt("Unit", "A", "b", 2), opt("Service", "C", "d", 4), opt("Unit", "A", "e", 6)}},
		{"sections and options nobody knows", "[X-Mine]\nA=b\n[Later]\nC=d", []Option{opt("X-Mine", "A", "b", 2), opt("Later", "C", "d", 4)}},
		{"not ASCII", "[Unit]\nDescription=Grüße 🚀\n", []Option{opt("Unit", "Description", "Grüße 🚀", 2)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, f.Options()); diff != "" && len(c.want)+len(f.Options()) > 0 {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if string(f.Text()) != c.text || f.Hash() != HashOf([]byte(c.text)) {
				t.Error("the text isn't kept exactly")
			}
		})
	}
}

// TestParseRefuses has what testdata/refused.txt can't: text that no editor
// shows, and sizes.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"NUL", "[Unit]\nA=b\x00\n", "line 2: the file has a NUL byte in it: write unit files as UTF-8 text"},
		{"Latin-1", "[Unit]\nA=b\n# caf\xe9\n", "line 3: the file has bytes that aren't UTF-8 in it: write unit files as UTF-8 text"},
		{"UTF-16", "\xff\xfe[\x00U\x00", "line 1: the file has bytes that aren't UTF-8 in it: write unit files as UTF-8 text"},
		{"surrogate", "[Unit]\nA=\xed\xa0\x80", "line 2: the file has bytes that aren't UTF-8 in it: write unit files as UTF-8 text"},
		{"noncharacter", "[Unit]\nA=\uffff", "line 2: the file has a Unicode noncharacter in it: write unit files as UTF-8 text"},
		{"after CRLF", "[Unit]\r\n\r\nA=\x00", "line 3: the file has a NUL byte in it: write unit files as UTF-8 text"},
		{"two byte order marks", "\ufeff[Unit]\n\ufeffA=b", "line 2: [Unit]: \"\\ufeffA=b\" has a byte order mark before it: remove it: only a file's first bytes may be one"},
		{"a comment behind a byte order mark", "[Unit]\n\ufeff#A=b", "line 2: [Unit]: \"#A=b\" has a byte order mark before it: remove it: only a file's first bytes may be one"},
		{"control characters", "[Uni\x1bt]\nA=b", "line 1: [Uni\ufffdt]: a section name with '\\x1b' in it: write a name in brackets, as in [Service]"},
		{"size", "[Unit]\nA=" + strings.Repeat("x", MaxFileSize), "the file has 524297 bytes, more than the 524288 that fleet stores: " +
			"keep scripts and data out of the unit file, in files or an image of their own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse([]byte(c.text))
			if f != nil || err == nil || err.Error() != c.want {
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
		})
	}
	t.Run("no end of problems", func(t *testing.T) {
		_, err := Parse([]byte("[Unit]\n" + strings.Repeat("junk\n", 10_000)))
		ps := problemsOf(err)
		if len(ps) != maxProblems+1 || ps[maxProblems].Remedy != "is this a unit file?" {
			t.Errorf("%d problems, the last one: %v", len(ps), ps[len(ps)-1])
		}
	})
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", MaxFileSize-100) // go-systemd's parser gives up at 2,048
	f, err := Parse([]byte("[Unit]\nA=" + long + "\nB=c"))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Values("Unit", "A"); len(got) != 1 || got[0] != long {
		t.Error("a long line isn't whole")
	}
}

func TestValues(t *testing.T) {
	f := parse("[Service]\nA=1\nA=2\n[Unit]\nA=x\n[Service]\nB=\nC=1\nC=\nC=2\nC=3\n[Service]\nD=1\nD=\n")
	for name, want := range map[string][]string{"A": {"1", "2"}, "B": nil, "C": {"2", "3"}, "D": nil, "E": nil} {
		if diff := cmp.Diff(want, f.Values("Service", name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFileAccessors(t *testing.T) {
	for _, c := range []struct {
		text, description string
		install           bool
	}{
		{"[Unit]\nDescription=one\nDescription=two\n[Install]\nWantedBy=a.target", "two", true},
		{"[Unit]\nDescription=one\nDescription=\n[Install]\nAlias=b.service", "", true},
		{"[Install]\nWantedBy=a.target\nWantedBy=\n", "", false},
		{"[Install]\nDefaultInstance=1\n", "", false},
		{"[Install]\n", "", false},
		{"[Service]\nWantedBy=a.target\n", "", false},
	} {
		f := parse(c.text)
		if f.Description() != c.description || f.HasInstall() != c.install {
			t.Errorf("%q: description %q, install %v", c.text, f.Description(), f.HasInstall())
		}
	}
}

func TestServiceType(t *testing.T) {
	for _, c := range []struct {
		name Name
		text string
		want string
	}{
		{"a.service", "[Service]\nExecStart=/bin/a\n", "simple"},
		{"a.service", "[Service]\nType=notify\nType=oneshot\nExecStart=/bin/a\n", "oneshot"},
		{"a.service", "[Service]\nExecStart=/bin/a\nBusName=a.b\n", "dbus"},
		{"a.service", "[Service]\nExecStop=/bin/a\n", "oneshot"},
		{"a.timer", "[Timer]\nOnBootSec=1\n", ""},
	} {
		if got := parse(c.text).ServiceType(c.name); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.text, got, c.want)
		}
	}
}

func TestWrittenOptions(t *testing.T) {
	for _, c := range []struct {
		name, text, want string // of the first option
	}{
		{"one line", "[A]\nb = c d \n", "c d"},
		{"continued", "[A]\nb=/bin/sh -c \"x; \\\n    exec y\"\nc=d\n", "/bin/sh -c \"x; \\\n    exec y\""},
		{"continued twice", "[A]\nb= c \\\n d \\\n e  \n", "c \\\n d \\\n e"},
		{"ends in an empty line", "[A]\nb=c \\\n\nc=d\n", "c"},
		{"ends with the file", "[A]\nb=c \\", "c"},
	} {
		f := parse(c.text)
		if got := f.WrittenOptions()[0]; got.Value != c.want || got.Name != "b" {
			t.Errorf("%s: %q is %q, want %q", c.name, got.Name, got.Value, c.want)
		}
		if !cmp.Equal(FromOptions(f.WrittenOptions()).Values("A", "b"), f.Values("A", "b")) {
			t.Errorf("%s: written, it is %q; read, %q", c.name, FromOptions(f.WrittenOptions()).Values("A", "b"), f.Values("A", "b"))
		}
	}
}

func TestFileIsImmutable(t *testing.T) {
	text, err := os.ReadFile("testdata/typical.service")
	if err != nil {
		t.Fatal(err)
	}
	f := parse(string(text))
	before := f.Options()
	clear(f.Text())
	clear(f.Options())
	clear(text)
	if HashOf(f.Text()) != f.Hash() || !cmp.Equal(before, f.Options()) {
		t.Error("a caller changed the file")
	}
}

func TestHash(t *testing.T) {
	h := HashOf([]byte("[Unit]\n"))
	if len(h) != 64 || h.Short() != string(h[:7]) || Hash("abc").Short() != "abc" {
		t.Errorf("hash %s, short %s", h, h.Short())
	}
	if h == HashOf([]byte("[Unit]\n#\n")) {
		t.Error("a comment doesn't change the hash")
	}
}

func TestParseTarget(t *testing.T) {
	for _, s := range []string{"inactive", "loaded", "launched"} {
		if got, err := ParseTarget(s); err != nil || string(got) != s || got.Wanted() != (s != "inactive") {
			t.Errorf("ParseTarget(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Launched", "none", "destroyed", "running"} {
		if got, err := ParseTarget(s); err == nil || !strings.Contains(err.Error(), "want inactive, loaded or launched") {
			t.Errorf("ParseTarget(%q) = %q, %v", s, got, err)
		}
	}
}
