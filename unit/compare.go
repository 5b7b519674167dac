package unit

import (
	"cmp"
	"strings"
)

// compareValues orders two metadata values. Whole numbers compare as numbers,
// dotted ones as versions, part by part: 5.10 comes after 5.9, as kernels do,
// and 6 equals 6.0. What follows a version's dash or plus tells two versions
// apart only if both have it, for distributions put their build there
// (5.15.0-91-generic is 5.15.0), except that pre-releases (6.0-rc1) come
// before their release. False if one of the values is neither.
func compareValues(a, b string) (order int, ok bool) {
	va, ok := parseVersion(a)
	if !ok {
		return 0, false
	}
	vb, ok := parseVersion(b)
	if !ok {
		return 0, false
	}
	return va.compare(vb), true
}

// version is a value that has an order.
type version struct {
	negative bool
	core     string // digits and dots
	suffix   string // what follows the core's dash, plus, tilde or underscore
}

func parseVersion(s string) (version, bool) {
	var v version
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		v.negative, s = true, rest
	} else {
		s = strings.TrimPrefix(s, "v")
	}
	v.core = s
	if i := strings.IndexAny(s, "-+~_"); i >= 0 {
		v.core, v.suffix = s[:i], s[i+1:]
	}
	for part := range strings.SplitSeq(v.core, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return version{}, false
		}
	}
	return v, true
}

func (v version) compare(w version) int {
	if v.negative != w.negative && !(v.zero() && w.zero()) {
		if v.negative {
			return -1
		}
		return 1
	}
	c := compareCores(v.core, w.core)
	if v.negative && w.negative {
		return -c
	}
	if c != 0 {
		return c
	}
	if pv, pw := prerelease(v.suffix), prerelease(w.suffix); pv != pw {
		if pv {
			return -1
		}
		return 1
	}
	if v.suffix == "" || w.suffix == "" {
		return 0
	}
	return compareSuffixes(v.suffix, w.suffix)
}

func (v version) zero() bool { return strings.Trim(v.core, "0.") == "" }

// compareCores compares 1.2.3 with 1.10; a part that is missing is 0.
func compareCores(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if c := compareDigits(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// compareDigits compares whole numbers of any length.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// prerelease reports whether a version's suffix says that the release is yet
// to come.
func prerelease(suffix string) bool {
	word := strings.ToLower(suffix[:wordLen(suffix)])
	switch word {
	case "alpha", "beta", "pre", "preview", "rc", "dev", "snapshot", "nightly":
		return true
	}
	return false
}

// wordLen counts the letters that s begins with.
func wordLen(s string) int {
	return len(s) - len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
}

// compareSuffixes compares runs of digits as numbers, and the rest as text:
// rc.9 comes before rc.10, and 91-generic before 105-generic.
func compareSuffixes(a, b string) int {
	for a != "" && b != "" {
		i, j := digitsLen(a), digitsLen(b)
		if i > 0 && j > 0 {
			if c := compareDigits(a[:i], b[:j]); c != 0 {
				return c
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digitsLen(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}
