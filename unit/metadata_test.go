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
		{"k>=5.15.0-100-generic", []string{"5.15.0-105-generic", "5.15.0"}, []string{"5.15.0-91-generic"}},
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
	for _, s := range []string{"0", "007", "1.2.3.4.5", "v1", "-3", "6.1.0-13-amd64", "1.19.0+k3s1", "20.10~3", "10.0.0.1"} {
		if _, ok := parseVersion(s); !ok {
			t.Errorf("%q is no version", s)
		}
	}
	for _, s := range []string{"", "v", "-", ".", "1.", ".1", "1..2", "16GB", "1e3", "x1", "--1", "1,5", "١"} {
		if _, ok := parseVersion(s); ok {
			t.Errorf("%q is a version", s)
		}
	}
}

func TestCompareProperties(t *testing.T) {
	value := rapid.StringMatching(`-?v?[0-9]{1,3}(\.[0-9]{1,2}){0,3}([-+](rc|alpha|amd|[0-9]{1,2})([.\-][0-9]{1,2})?)?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := value.Draw(t, "a"), value.Draw(t, "b")
		ab, ok1 := compareValues(a, b)
		ba, ok2 := compareValues(b, a)
		if ok1 != ok2 || ab != -ba {
			t.Fatalf("%s and %s: %d one way, %d the other", a, b, ab, ba)
		}
		if aa, ok := compareValues(a, a); ok && aa != 0 {
			t.Fatalf("%s isn't equal to itself", a)
		}
	})
	number := rapid.IntRange(-1000, 1000)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		rule := MetadataRule{Op: "<", Values: []string{strconv.Itoa(b)}}
		if rule.Match(strconv.Itoa(a), true) != (a < b) {
			t.Fatalf("%d < %d", a, b)
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
