package unit

import (
	"cmp"
	"strings"
)

// version is a metadata value that has an order: a whole number, or a version.
// Versions compare part by part: 5.10 comes after 5.9, as kernels do, and 6
// equals 6.0. What follows the dash or plus is a version's build
// (6.1.0-13-amd64, 1.19.0+k3s1), or says that it is a pre-release (6.0-rc1).
type version struct {
	negative bool   // never of zero, nor with a suffix
	core     string // digits and dots
	suffix   string // what follows the core's dash, plus, tilde or underscore
}

// parseVersion reads a value; false if it has no order.
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
		if v.negative {
			return version{}, false
		}
	}
	for part := range strings.SplitSeq(v.core, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return version{}, false
		}
	}
	v.negative = v.negative && strings.Trim(v.core, "0.") != ""
	return v, true
}

// compare is a total order: a pre-release comes before its release, and that
// before its builds.
func (v version) compare(w version) int {
	switch {
	case v.negative && w.negative:
		return -compareCores(v.core, w.core)
	case v.negative:
		return -1
	case w.negative:
		return 1
	}
	return cmp.Or(
		compareCores(v.core, w.core),
		cmp.Compare(v.stage(), w.stage()),
		compareSuffixes(v.suffix, w.suffix),
	)
}

// stage is 0 for a pre-release, 1 for a release, 2 for a build of it.
func (v version) stage() int {
	switch {
	case v.suffix == "":
		return 1
	case prerelease(v.suffix):
		return 0
	}
	return 2
}

// against orders a machine's value by the bound that a rule names. A bound
// without a build asks for the version alone: 6.0-13-amd64 meets <=6.0, for
// distributions put their build there.
func (v version) against(bound version) int {
	if bound.stage() != 2 && v.stage() == 2 {
		v.suffix = ""
	}
	return v.compare(bound)
}

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
