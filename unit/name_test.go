package unit

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseName(t *testing.T) {
	for _, c := range []struct {
		name    string
		problem string // part of the error; "" for a valid name
	}{
		{"web.service", ""},
		{"web@.service", ""},
		{"web@1.service", ""},
		{"web@a@b.service", ""},
		{"web.v2.service", ""},
		{`mnt-data\x20disk.mount`, ""},
		{"dev-sda1.device", ""},
		{"a:b_c-d.socket", ""},
		{"old.busname", ""},
		{"old.snapshot", ""},
		{strings.Repeat("a", 248) + ".service", ""},
		{strings.Repeat("a", 249) + ".service", "257 characters long: shorten it to at most 256"},
		{"", "is empty"},
		{"web", "add one, as in web.service"},
		{"web.", `ends in "."`},
		{"web.srevice", "did you mean .service?"},
		{"web.txt", `ends in ".txt"`},
		{".service", "nothing before its type"},
		{"@.service", `begins with "@"`},
		{"@1.service", `begins with "@"`},
		{"web@.mount", "only path, service, socket, target and timer"},
		{"web@1.slice", "only path, service, socket, target and timer"},
		{"a b.service", `has ' ' in it`},
		{"a/b.service", "systemd-escape(1) turns a path into a name"},
		{"wéb.service", `has 'é' in it`},
		{"we\xffb.service", "which no unit name may have"},
		{"web*.service", `has '*' in it`},
		{"web%i.service", `has '%' in it`},
		{"web\n.service", `has '\n' in it`},
	} {
		n, err := ParseName(c.name)
		switch {
		case c.problem == "" && (err != nil || string(n) != c.name):
			t.Errorf("ParseName(%q) = %q, %v", c.name, n, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("ParseName(%q): %v, want %q in it", c.name, err, c.problem)
		case err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 400):
			t.Errorf("ParseName(%q): want one readable line: %v", c.name, err)
		}
	}
}

func TestNameParts(t *testing.T) {
	for _, c := range []struct {
		name                            Name
		typ, prefix, instance, template string
	}{
		{"web.service", "service", "web", "", ""},
		{"web@.service", "service", "web", "", ""},
		{"web@1.service", "service", "web", "1", "web@.service"},
		{"web@a@b.c.socket", "socket", "web", "a@b.c", "web@.socket"},
		{"web.v2@x.timer", "timer", "web.v2", "x", "web.v2@.timer"},
		{"", "", "", "", ""},
		{"nonsense", "", "nonsense", "", ""},
	} {
		tmpl, ok := c.name.Template()
		if c.name.Type() != c.typ || c.name.Prefix() != c.prefix || c.name.Instance() != c.instance ||
			string(tmpl) != c.template || ok != (c.template != "") || c.name.IsInstance() != ok {
			t.Errorf("%q: type %q prefix %q instance %q template %q %v", c.name,
				c.name.Type(), c.name.Prefix(), c.name.Instance(), tmpl, ok)
		}
		if want := c.name == "web@.service"; c.name.IsTemplate() != want {
			t.Errorf("%q: IsTemplate is %v", c.name, !want)
		}
	}
}

func TestWithDefaultType(t *testing.T) {
	for in, want := range map[string]string{
		"web": "web.service", "web.service": "web.service", "web.v2": "web.v2.service",
		"web@1": "web@1.service", "data.mount": "data.mount", "service": "service.service", "": "",
	} {
		if got := WithDefaultType(in); got != want {
			t.Errorf("WithDefaultType(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	const web = Name("web@1.service")
	for _, c := range []struct {
		name     Name
		in, want string
		problem  string
	}{
		{web, "nothing", "nothing", ""},
		{web, "%n", "web@1.service", ""},
		{web, "%N", "web@1", ""},
		{web, "%p-%i", "web-1", ""},
		{web, "%%i", "%i", ""},
		{web, "db@%i.service", "db@1.service", ""},
		{"web.service", "%p%i|%N", "web|web", ""},
		{web, "%H", "", `unknown specifier "%H"`},
		{web, "%é", "", `unknown specifier "%é"`},
		{web, "50%", "", "write %% for a percent sign"},
	} {
		got, err := c.name.Expand(c.in)
		if got != c.want || (err != nil) != (c.problem != "") {
			t.Errorf("%s: Expand(%q) = %q, %v", c.name, c.in, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: Expand(%q): %v, want %q in it", c.name, c.in, err, c.problem)
		}
	}
}

// genName makes valid names of every kind.
func genName() *rapid.Generator[Name] {
	return rapid.Custom(func(t *rapid.T) Name {
		prefix := rapid.StringMatching(`[A-Za-z0-9:_.\-\\]{1,12}`).Draw(t, "prefix")
		typ := rapid.SampledFrom(types[:]).Draw(t, "type")
		if mayTemplate(typ) && rapid.Bool().Draw(t, "at") {
			return Name(prefix + "@" + rapid.StringMatching(`[A-Za-z0-9:_.@\-\\]{0,6}`).Draw(t, "instance") + "." + typ)
		}
		return Name(prefix + "." + typ)
	})
}

func TestNameProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := genName().Draw(t, "name")
		if got, err := ParseName(string(n)); err != nil || got != n {
			t.Fatalf("valid name refused: %v", err)
		}
		checkNameParts(t, n)
	})
}

// checkNameParts wants a valid name's parts to make up the name again.
func checkNameParts(t interface{ Fatalf(string, ...any) }, n Name) {
	whole := n.Prefix() + "." + n.Type()
	if n.IsTemplate() || n.IsInstance() {
		whole = n.Prefix() + "@" + n.Instance() + "." + n.Type()
	}
	if whole != string(n) {
		t.Fatalf("%q: the parts make up %q", n, whole)
	}
	if n.IsTemplate() && n.IsInstance() {
		t.Fatalf("%q: both a template and an instance", n)
	}
	if tmpl, ok := n.Template(); ok && (!tmpl.IsTemplate() || tmpl.Prefix() != n.Prefix() || tmpl.Type() != n.Type()) {
		t.Fatalf("%q: template %q", n, tmpl)
	}
	if _, err := ParseName(WithDefaultType(string(n))); err != nil || WithDefaultType(string(n)) != string(n) {
		t.Fatalf("%q: the default type makes it %q", n, WithDefaultType(string(n)))
	}
}
