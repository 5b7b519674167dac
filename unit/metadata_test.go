package unit

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// absent stands for a machine without the key.
const absent = "\x00"

func TestMetadataMatch(t *testing.T) {
	for _, c := range []struct {
		rule    string
		matches []string
		others  []string
	}{
		{"k=a", []string{"a"}, []string{"b", "A", "", absent}},
		{"k!=a", []string{"b", "", absent}, []string{"a"}},
		{"k=2", []string{"2"}, []string{"2.0", "02"}}, // = is text
		{"k>=2048", []string{"2048", "2048.0", "4096", "99999999999999999999999"}, []string{"2047", "-4096", "16GB", "", absent, "lots"}},
		{"k<=2048", []string{"2048", "1", "0", "-1", "02048"}, []string{"2049", "99999999999999999999999", absent, "x"}},
		{"k>2048", []string{"2049"}, []string{"2048", "2047", absent}},
		{"k<10", []string{"9", "9.9"}, []string{"10", "11"}},
		{"k>-5", []string{"-4", "0", "3"}, []string{"-5", "-6"}},
		{"k>=5.9", []string{"5.9", "5.10", "5.10.3-91-generic", "6", "v6.1"}, []string{"5.8.99", "5", "5.9-rc1"}},
		{"k<6.0", []string{"5.15.0-91-generic", "6.0-rc7", "5.9"}, []string{"6", "6.0.1", "6.0-13-amd64", "6.0+k3s1"}},
		{"k<=6.0", []string{"6", "6.0.0", "6.0-13-amd64"}, []string{"6.0.1"}},
		{"k>1.2.0-rc.9", []string{"1.2.0-rc.10", "1.2.0", "1.3.0-alpha"}, []string{"1.2.0-rc.9", "1.2.0-beta.3", "1.1.9"}},
		{"k>=5.15.0-100-generic", []string{"5.15.0-105-generic", "5.15.1"}, []string{"5.15.0-91-generic", "5.15.0"}},
		{"k<6.0-13-amd64", []string{"6.0", "6.0-rc1", "6.0-9-amd64"}, []string{"6.0-13-amd64", "6.0-13-arm64", "6.0.1"}},
		{"k>=6.0-rc2", []string{"6.0-rc10", "6.0", "6.0-13-amd64"}, []string{"6.0-rc1", "6.0-beta9", "5.19"}},
		{"k>=2.5", []string{"2.5", "2.6", "10", "2.50"}, []string{"2.4", "2", "-3"}},
		{"k>=v1.2", []string{"v1.2", "1.2.1", "1.10"}, []string{"v1.1.9", "0.9"}},
		{"k>-1.5", []string{"-1.4", "-0", "1"}, []string{"-1.5", "-1.50", "-2"}},
		{"k>=1068.9.0", []string{"1068.10.0", "1122.0.0"}, []string{"1068.8.0", "766.5.0"}},
		{"k>2024-02-01", []string{"2024-03-01", "2025-01-01"}, []string{"2024-02-01", "2024-01-31"}},
	} {
		rule, msg, _ := parsePair(c.rule)
		if msg != "" {
			t.Errorf("%s: %s", c.rule, msg)
			continue
		}
		for want, values := range map[bool][]string{true: c.matches, false: c.others} {
			for _, v := range values {
				got := rule.Match(v, true)
				if v == absent {
					got = rule.Match("", false)
				}
				if got != want {
					t.Errorf("%s with %q: %v, want %v", c.rule, v, got, want)
				}
			}
		}
	}
}

func TestMetadataRuleString(t *testing.T) {
	for _, c := range []struct {
		rule MetadataRule
		want string
	}{
		{MetadataRule{Key: "region", Op: "=", Values: []string{"eu", "us"}}, "region=eu|us"},
		{MetadataRule{Key: "ram", Op: ">=", Values: []string{"2048"}}, "ram>=2048"},
	} {
		if got := c.rule.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// TestMetadataRuleOdd: rules that didn't come from Parse match nothing.
func TestMetadataRuleOdd(t *testing.T) {
	for _, r := range []MetadataRule{{}, {Op: "="}, {Op: ">"}, {Op: "~", Values: []string{"1"}}} {
		if r.Match("1", true) || r.Match("", false) {
			t.Errorf("%#v matches", r)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for _, s := range []string{"0", "007", "1.2.3.4.5", "v1", "-3", "6.1.0-13-amd64", "1.19.0+k3s1", "20.10~3", "10.0.0.1", "6.1.0+"} {
		if _, ok := parseVersion(s); !ok {
			t.Errorf("%q is no version", s)
		}
	}
	for _, s := range []string{"", "v", "-", ".", "1.", ".1", "1..2", "16GB", "1e3", "x1", "--1", "-1-2", "1,5", "١"} {
		if _, ok := parseVersion(s); ok {
			t.Errorf("%q is a version", s)
		}
	}
}

// genValue draws values that have an order, and often are close to each other.
func genValue() *rapid.Generator[string] {
	return rapid.StringMatching(`-?[0-2]{1,2}(\.[0-2]{1,2}){0,3}|v?[0-2](\.[0-2]){0,2}([-+~_](rc|RC|alpha|amd|[0-2]{1,2})?([.\-]?[0-2]{1,2})?)?`)
}

// TestVersionOrder: versions are in a total order.
func TestVersionOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v [3]version
		for i := range v {
			s := genValue().Draw(t, "value")
			var ok bool
			if v[i], ok = parseVersion(s); !ok {
				t.Fatal("no version")
			}
		}
		a, b, c := v[0], v[1], v[2]
		if a.compare(a) != 0 {
			t.Fatal("it isn't equal to itself")
		}
		if a.compare(b) != -b.compare(a) {
			t.Fatalf("%d one way, %d the other", a.compare(b), b.compare(a))
		}
		if a.compare(b) <= 0 && b.compare(c) <= 0 {
			if ac := a.compare(c); ac > 0 || ac == 0 && (a.compare(b) < 0 || b.compare(c) < 0) {
				t.Fatalf("%d and %d, but %d from end to end", a.compare(b), b.compare(c), ac)
			}
		}
	})
}

// TestMetadataRuleOrder: for every bound a value is below, at or above it, and
// what comes after a value that is above is above as well.
func TestMetadataRuleOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound, a, b := genValue().Draw(t, "bound"), genValue().Draw(t, "a"), genValue().Draw(t, "b")
		meets := func(op, value string) bool {
			return MetadataRule{Key: "k", Op: op, Values: []string{bound}}.Match(value, true)
		}
		va, ok1 := parseVersion(a)
		vb, ok2 := parseVersion(b)
		if _, ok := parseVersion(bound); !ok || !ok1 || !ok2 {
			t.Fatal("no version")
		}
		below, above, atMost, atLeast := meets("<", a), meets(">", a), meets("<=", a), meets(">=", a)
		if below == atLeast || above == atMost || below && above {
			t.Fatalf("%s %s: < %v, <= %v, >= %v, > %v", a, bound, below, atMost, atLeast, above)
		}
		if va.compare(vb) <= 0 && (above && !meets(">", b) || atLeast && !meets(">=", b)) {
			t.Fatalf("%s is above %s, but %s after it isn't", a, bound, b)
		}
	})
}

func TestWholeNumbersCompareAsNumbers(t *testing.T) {
	number := rapid.IntRange(-1000, 1000)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		for op, want := range map[string]bool{"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "=": a == b, "!=": a != b} {
			rule := MetadataRule{Op: op, Values: []string{strconv.Itoa(b)}}
			if rule.Match(strconv.Itoa(a), true) != want {
				t.Fatalf("%d %s %d: want %v", a, op, b, want)
			}
		}
	})
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob   Glob
		name   Name
		want   bool
		prefix string
	}{
		{"web.service", "web.service", true, "web.service"},
		{"web@*.service", "web@1.service", true, "web@"},
		{"web@*.service", "web.service", false, "web@"},
		{"*", "web.service", true, ""},
		{"we?.[rs]ervice", "web.service", true, "we"},
		{"web@[0-9].service", "web@a.service", false, "web@"},
		{`a\\x2db.*`, `a\x2db.service`, true, "a"},
		{`a\x2db.service`, `a\x2db.service`, true, "a"}, // the name itself, as typed
		{`a\x2db.service`, `ax2db.service`, true, "a"},  // what path.Match reads
		{"web[", "web.service", false, "web"},
	} {
		if got := c.glob.Match(c.name); got != c.want {
			t.Errorf("%s matches %s: %v, want %v", c.glob, c.name, got, c.want)
		}
		if got := c.glob.LiteralPrefix(); got != c.prefix {
			t.Errorf("%s: prefix %q, want %q", c.glob, got, c.prefix)
		}
	}
}

// TestGlobPrefix: an index by literal prefixes may not miss a match, and a
// name that is quoted matches itself alone.
func TestGlobPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := genName().Draw(t, "name")
		g := Glob(rapid.StringMatching(`[ab@.*?\\\[\]\-]{0,6}`).Draw(t, "glob"))
		if rapid.Bool().Draw(t, "prefixed") {
			g = Glob(n[:rapid.IntRange(0, len(n)).Draw(t, "cut")]) + "*"
		}
		if p := g.LiteralPrefix(); g.Match(n) && string(n[:min(len(p), len(n))]) != p {
			t.Fatalf("%s matches %s without its prefix %q", g, n, p)
		}
		if q := Glob(quoteGlob(string(n))); !q.Match(n) || !q.valid() {
			t.Fatalf("%s, quoted as %s, doesn't match itself", n, q)
		}
	})
}
