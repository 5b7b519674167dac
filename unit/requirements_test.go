package unit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	wholeID = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	bootID  = "9c5f4a2a-3b1e-4c63-9a5e-0f3a3c0a7a10"

	plainBootID = "9c5f4a2a3b1e4c639a5e0f3a3c0a7a10"
)

func TestRequirements(t *testing.T) {
	eq := func(key string, values ...string) MetadataRule {
		return MetadataRule{Key: key, Op: "=", Values: values}
	}
	for _, c := range []struct {
		name string
		unit Name // echo@1.service if empty
		text string
		want Requirements
	}{
		{"no section", "", "", Requirements{}},
		{"empty section", "", "[X-Fleet]", Requirements{}},
		{"another section", "", "[X-Other]\nGlobal=maybe\n[Unit]\nConflicts=db.service", Requirements{}},
		{"a machine", "", "[X-Fleet]\nMachineID=" + wholeID, Requirements{MachineID: wholeID}},
		{"a machine, in short, and its metadata", "", "[X-Fleet]\nMachineID=3d1219c7\nMachineMetadata=a=b",
			Requirements{MachineID: "3d1219c7", Metadata: []MetadataRule{eq("a", "b")}}},
		{"a machine, twice the same", "", "[X-Fleet]\nMachineID=3d1219c7\nMachineID=3d1219c7", Requirements{MachineID: "3d1219c7"}},
		{"a machine after a reset", "", "[X-Fleet]\nMachineID=nonsense\nMachineID=\nMachineID=\"3d1219c7\"", Requirements{MachineID: "3d1219c7"}},
		{"a boot", "", "[X-Fleet]\nX-ConditionMachineBootID=" + bootID, Requirements{BootID: plainBootID}},
		{"a boot as journalctl has it", "", "[X-Fleet]\nX-ConditionMachineBootID=" + plainBootID, Requirements{BootID: plainBootID}},
		{"a machine by the name for boots", "", "[X-Fleet]\nX-ConditionMachineBootID=3d1219c7", Requirements{BootID: "3d1219c7"}},
		{"a machine gives a boot no say", "", "[X-Fleet]\nX-ConditionMachineBootID=" + bootID + "\nX-ConditionMachineID=3d1219c7", Requirements{MachineID: "3d1219c7"}},
		{"followed units", "", "[X-Fleet]\nMachineOf=a.service b.service\nMachineOf=db@%i.service\nMachineOf=a.service",
			Requirements{MachineOf: []Name{"a.service", "b.service", "db@1.service"}}},
		{"metadata: one key ORs, two keys AND, however they're grouped", "",
			"[X-Fleet]\nMachineMetadata=\"region=eu\" \"disk=ssd\"\nMachineMetadata=region=us\nMachineMetadata='region=eu'",
			Requirements{Metadata: []MetadataRule{eq("region", "eu", "us"), eq("disk", "ssd")}}},
		{"metadata: operators", "", "[X-Fleet]\nMachineMetadata=ram >= 2048\nMachineMetadata=ram<4096\nMachineMetadata=ram>1\nMachineMetadata=k<=v6.1\nMachineMetadata=disk!=hdd\nMachineMetadata=disk!=tape",
			Requirements{Metadata: []MetadataRule{{Key: "ram", Op: ">=", Values: []string{"2048"}}, {Key: "ram", Op: "<", Values: []string{"4096"}},
				{Key: "ram", Op: ">", Values: []string{"1"}}, {Key: "k", Op: "<=", Values: []string{"v6.1"}},
				{Key: "disk", Op: "!=", Values: []string{"hdd"}}, {Key: "disk", Op: "!=", Values: []string{"tape"}}}}},
		{"metadata: spaces in a value", "", "[X-Fleet]\nMachineMetadata=place=rack 1\nMachineMetadata=\"place=rack 2\"",
			Requirements{Metadata: []MetadataRule{eq("place", "rack 1", "rack 2")}}},
		{"metadata: specifiers", "", "[X-Fleet]\nMachineMetadata=rack=%i\nMachineMetadata=%p=100%%",
			Requirements{Metadata: []MetadataRule{eq("rack", "1"), eq("echo", "100%")}}},
		{"metadata: a reset", "", "[X-Fleet]\nMachineMetadata=a=b=c\nMachineMetadata=\nMachineMetadata=a=b", Requirements{Metadata: []MetadataRule{eq("a", "b")}}},
		{"metadata over continued lines", "", "[X-Fleet]\nMachineMetadata=\"a=b\" \\\n # and\n \"c=d\"", Requirements{Metadata: []MetadataRule{eq("a", "b"), eq("c", "d")}}},
		{"conflicts", "", "[X-Fleet]\nConflicts=%p@*.service db.service\nConflicts=a?[bc].*",
			Requirements{Conflicts: []Glob{"echo@*.service", "db.service", "a?[bc].*"}}},
		{"conflicts with an escaped name", `a\x2db@1.service`, "[X-Fleet]\nConflicts=%p@*", Requirements{Conflicts: []Glob{`a\\x2db@*`}}},
		{"replaces", "", "[X-Fleet]\nReplaces=old-*\n", Requirements{Replaces: []Glob{"old-*"}}},
		{"global", "", "[X-Fleet]\nGlobal=true\nConflicts=db*\nMachineMetadata=a=b", Requirements{Global: true, Conflicts: []Glob{"db*"}, Metadata: []MetadataRule{eq("a", "b")}}},
		{"not global after all", "", "[X-Fleet]\nGlobal=true\nGlobal=no\nMachineOf=a.service", Requirements{MachineOf: []Name{"a.service"}}},
		{"isolation", "", "[X-Fleet]\nIsolation=keep\nIsolation=stop", Requirements{Isolation: IsolationStop}},
		{"isolation kept", "", "[X-Fleet]\nIsolation=keep", Requirements{}},
		{"old names", "", "[X-Fleet]\nX-ConditionMachineOf=a.service\nX-ConditionMachineMetadata=a=b\nX-Conflicts=b*",
			Requirements{MachineOf: []Name{"a.service"}, Metadata: []MetadataRule{eq("a", "b")}, Conflicts: []Glob{"b*"}}},
		{"an old name for the machine", "", "[X-Fleet]\nX-ConditionMachineID=3d1219c7", Requirements{MachineID: "3d1219c7"}},
		{"old and new names that agree", "", "[X-Fleet]\nX-Conflicts=b*\nConflicts=b*", Requirements{Conflicts: []Glob{"b*"}}},
		{"old and new names add up", "", "[X-Fleet]\nMachineMetadata=a=c\nX-ConditionMachineMetadata=a=b\nConflicts=d*\nX-Conflicts=b*\nMachineOf=c.service\nX-ConditionMachineOf=a.service",
			Requirements{MachineOf: []Name{"a.service", "c.service"}, Metadata: []MetadataRule{eq("a", "b", "c")}, Conflicts: []Glob{"b*", "d*"}}},
		{"an old name after its reset", "", "[X-Fleet]\nX-Conflicts=c*\nX-Conflicts=\nConflicts=b*", Requirements{Conflicts: []Glob{"b*"}}},
		{"its own conflict", "", "[X-Fleet]\nConflicts=%n", Requirements{Conflicts: []Glob{"echo@1.service"}}},
		{"a template by its placeholder", "echo@.service", "[X-Fleet]\nMachineOf=db@%i.service", Requirements{MachineOf: []Name{"db@00000000.service"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.unit == "" {
				c.unit = "echo@1.service"
			}
			f, err := Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Requirements(c.unit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(MetadataRule{}, "Line")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequirementsLines(t *testing.T) {
	const text = "[X-Fleet]\n\nMachineMetadata=\"a=b\" \\\n \"c=d\"\nMachineMetadata=e>1\nMachineMetadata=a=f\n"
	req, err := parse(text).Requirements("echo.service")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{3, 3, 5} {
		if got := req.Metadata[i].Line; got != want {
			t.Errorf("%s: line %d, want %d", req.Metadata[i], got, want)
		}
	}
	req, err = FromOptions(parse(text).Options()).Requirements("echo.service")
	if err != nil || req.Metadata[0].Line != 0 {
		t.Errorf("from options: %v, %+v", err, req.Metadata)
	}
}

func TestBooleans(t *testing.T) {
	for words, want := range map[string]bool{
		"true True TRUE yes y Y 1 on On t T": true,
		"false False no n 0 off f F":         false,
	} {
		for word := range strings.FieldsSeq(words) {
			req, err := parse("[X-Fleet]\nGlobal=" + word).Requirements("a.service")
			if err != nil || req.Global != want {
				t.Errorf("Global=%s: %v, %v", word, req.Global, err)
			}
		}
	}
	for _, word := range []string{"2", "-1", "enabled", "tru", `"true"`, "true false", "ja"} {
		if _, err := parse("[X-Fleet]\nGlobal=" + word).Requirements("a.service"); err == nil {
			t.Errorf("Global=%s is taken", word)
		}
	}
}

// TestExclusions tries every pair of options that can't go together, in both
// orders, and every pair that can.
func TestExclusions(t *testing.T) {
	assign := [optCount]string{"3d1219c7", bootID, "a.service", "a=b", "c*", "d*", "true", "stop"}
	excluded := make(map[[2]option]bool)
	for _, x := range exclusions {
		excluded[[2]option{x.a, x.b}] = true
		excluded[[2]option{x.b, x.a}] = true
	}
	for a := range optCount {
		for b := range optCount {
			if a == b {
				continue
			}
			text := "[X-Fleet]\n" + optionNames[a] + "=" + assign[a] + "\n" + optionNames[b] + "=" + assign[b] + "\n"
			err := Validate("echo.service", parse(text))
			if want := excluded[[2]option{a, b}]; (err != nil) != want {
				t.Errorf("%s: excluded %v, want %v: %v", text, !want, want, err)
			} else if err != nil && problemsOf(err)[0].Line != 3 {
				t.Errorf("%s: want the second one's line: %v", text, err)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	typical := parse("[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineOf=web@%i.service\nIsolation=stop\n")
	for _, name := range []Name{"echo@.service", "echo@1.service"} {
		if err := Validate(name, typical); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := Validate("echo@1", typical)
	if err == nil || !strings.Contains(err.Error(), "echo@1.service") {
		t.Errorf("a bad name: %v", err)
	}
	if err := Validate("web@1.service", typical); err == nil {
		t.Error("an instance that follows itself is taken")
	}
	if err := Validate("web@.service", typical); err == nil {
		t.Error("a template whose instances follow themselves is taken")
	}
}

func TestSplitWords(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
		ok   bool
	}{
		{"", nil, true},
		{" a  b\tc\n", []string{"a", "b", "c"}, true},
		{`"a b" 'c d' e`, []string{"a b", "c d", "e"}, true},
		{`"it's" '"'`, []string{"it's", `"`}, true},
		{`""`, []string{""}, true},
		{`"a`, nil, false},
		{`"a"b`, nil, false},
	} {
		got, ok := splitWords(c.in)
		if ok != c.ok || !cmp.Equal(got, c.want) {
			t.Errorf("splitWords(%q) = %q, %v", c.in, got, ok)
		}
	}
}

func TestMayBeGlobal(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"says nothing":     {"[Service]\nGlobal=true\n", false},
		"true":             {"[X-Fleet]\nGlobal=true\n", true},
		"by the name":      {"[X-Fleet]\nGlobal=%i\n", true},
		"taken back":       {"[X-Fleet]\nGlobal=true\nGlobal=\n", false},
		"another option's": {"[X-Fleet]\nMachineMetadata=Global=true\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if f.MayBeGlobal() != tt.want {
				t.Errorf("%t", !tt.want)
			}
		})
	}
}
