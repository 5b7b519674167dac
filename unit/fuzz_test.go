package unit

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// addSeeds gives the fuzzer what the other tests know to be interesting.
func addSeeds(f *testing.F, add func(text string)) {
	f.Helper()
	for _, file := range []string{"testdata/refused.txt", "testdata/typical.service"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for c := range strings.SplitSeq(string(text), "=== ") {
			_, body, _ := strings.Cut(c, "\n")
			body, _, _ = strings.Cut(body, "----\n")
			add(body)
		}
	}
	for _, text := range []string{
		"", "\\", "[", "[]", "=", "\ufeff[Unit]\r\nA=b \\\r\n# c\r\n d", "[U]\nA\\\n=\\\\\\\nb\n\n\r\r\nC=\x00", "[U]\nA=\\",
	} {
		add(text)
	}
}

func FuzzParse(f *testing.F) {
	addSeeds(f, func(text string) { f.Add([]byte(text)) })
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Count(strings.ReplaceAll(string(text), "\r", "\n"), "\n") + 1
		file, err := Parse(text)
		if err != nil {
			checkProblems(t, err, lines)
			return
		}
		if string(file.Text()) != string(text) || file.Hash() != HashOf(text) {
			t.Fatal("the text isn't kept exactly")
		}
		last := 0
		for _, o := range file.Options() {
			if o.Line <= last || o.Line > lines {
				t.Fatalf("line %d after line %d in %d lines", o.Line, last, lines)
			}
			last = o.Line
			if o.Name == "" || o.Section == "" || strings.ContainsAny(o.Name+o.Value, "\n\r") || o.Value != strings.Trim(o.Value, space) {
				t.Fatalf("bad option %+v", o)
			}
		}
		checkRewrite(t, file)
	})
}

// checkRewrite wants a file's options to survive being written anew.
func checkRewrite(t *testing.T, file *File) {
	again := FromOptions(file.Options())
	if len(again.problems) > 0 && len(again.text) <= MaxFileSize {
		t.Fatalf("options that were read can't be written: %v", again.problems)
	}
	if len(again.text) > MaxFileSize {
		return
	}
	if diff := cmp.Diff(file.Options(), again.Options(), cmpopts.IgnoreFields(Option{}, "Line"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-read +rewritten):\n%s\n%q", diff, again.Text())
	}
}

// checkProblems wants problems that can be shown.
func checkProblems(t *testing.T, err error, lines int) {
	t.Helper()
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("not Problems: %#v", err)
	}
	last := 0
	for _, p := range ps {
		if p.Line < last || p.Line > lines {
			t.Fatalf("line %d after line %d in %d lines: %v", p.Line, last, lines, p)
		}
		last = p.Line
		s := p.Error()
		if p.Msg == "" || p.Remedy == "" || strings.ContainsAny(s, "\n\r\x00\x1b") || !utf8.ValidString(s) || len(s) > 2000 {
			t.Fatalf("a problem that can't be shown: %q", s)
		}
	}
}

func FuzzRequirements(f *testing.F) {
	addSeeds(f, func(text string) {
		f.Add("echo@1.service", text)
		f.Add("echo@.service", "[X-Fleet]\n"+text)
	})
	f.Fuzz(func(t *testing.T, name, text string) {
		file, err := Parse([]byte(text))
		if err != nil {
			return
		}
		n, err := ParseName(name)
		if err != nil {
			return
		}
		lines := strings.Count(strings.ReplaceAll(text, "\r", "\n"), "\n") + 1
		if err := Validate(n, file); err != nil {
			checkProblems(t, err, lines)
			return
		}
		req, err := file.Requirements(n)
		if err != nil {
			t.Fatalf("Validate takes what Requirements refuses: %v", err)
		}
		for _, peer := range req.MachineOf {
			if _, err := ParseName(string(peer)); err != nil {
				t.Fatal(err)
			}
		}
		for _, rule := range req.Metadata {
			if len(rule.Values) == 0 || rule.Key == "" || rule.Values[0] == "" {
				t.Fatalf("bad rule %+v", rule)
			}
			rule.Match(rule.Values[0], true)
		}
		again, err := FromOptions(file.Options()).Requirements(n)
		if diff := cmp.Diff(req, again, cmpopts.IgnoreFields(MetadataRule{}, "Line")); err != nil || diff != "" {
			t.Fatalf("rewritten, the file wants something else: %v\n%s", err, diff)
		}
	})
}

// FuzzMetadataRule: a rule that is taken judges every value, and the four
// operators that order agree with each other.
func FuzzMetadataRule(f *testing.F) {
	for _, s := range [][2]string{{"ram>=2048", "16GB"}, {"k<6.0", "6.0-13-amd64"}, {"k<=v1.2-rc.1", "1.2"}, {"k>-1.5", "-0"}, {"a!=b", ""}, {"a=b=c", "b"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pair, value string) {
		rule, msg, remedy := parsePair(pair)
		if msg != "" {
			if remedy == "" {
				t.Fatalf("%q: no remedy", pair)
			}
			return
		}
		if rule.Match("", false) != (rule.Op == "!=") {
			t.Fatalf("%s: a machine without the key", rule)
		}
		meets := func(op string) bool {
			return MetadataRule{Key: rule.Key, Op: op, Values: rule.Values}.Match(value, true)
		}
		if meets("=") == meets("!=") {
			t.Fatalf("%s: %q is equal and unequal, or neither", rule, value)
		}
		_, bounded := parseVersion(rule.Values[0])
		_, ordered := parseVersion(value)
		below, atMost, atLeast, above := meets("<"), meets("<="), meets(">="), meets(">")
		if ordered && bounded {
			if below == atLeast || above == atMost || below && above {
				t.Fatalf("%s: %q is < %v, <= %v, >= %v, > %v", rule, value, below, atMost, atLeast, above)
			}
		} else if below || atMost || atLeast || above {
			t.Fatalf("%s: %q has no order, or the bound", rule, value)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"web.service", "web@.service", "web@1.service", "@.service", "a@b@c.socket", `mnt-a\x20b.mount`, ".", "a.b", "é.service"} {
		f.Add(s, "%n %N %p %i %%")
		f.Add(s, "%")
	}
	f.Fuzz(func(t *testing.T, name, spec string) {
		n, err := ParseName(name)
		if err != nil {
			checkProblems(t, problemsOf(err), 0)
			return
		}
		checkNameParts(t, n)
		if s, err := n.Expand(spec); err == nil && !strings.Contains(spec, "%") && s != spec {
			t.Fatalf("%q becomes %q", spec, s)
		} else if err != nil && s != "" {
			t.Fatalf("both %q and %v", s, err)
		}
	})
}
