package unit

import (
	"slices"
	"strings"
)

// MetadataRule is one demand on a machine's metadata. All rules of a unit must
// hold.
type MetadataRule struct {
	Key    string
	Op     string   // one of = != < <= > >=
	Values []string // any of them will do for "="; one for the other operators
	Line   int      // of the unit file, 1-based; 0 if not from text
}

// Match reports whether a machine whose metadata has the value (or doesn't
// have the key: present false) meets the rule. A machine without the key meets
// only "!=". Values without an order (see the package's documentation) meet no
// < <= > or >=.
func (r MetadataRule) Match(value string, present bool) bool {
	if r.Op == "!=" {
		return !present || !slices.Contains(r.Values, value)
	}
	if !present || len(r.Values) == 0 {
		return false
	}
	if r.Op == "=" {
		return slices.Contains(r.Values, value)
	}
	bound, ok := parseVersion(r.Values[0])
	if !ok {
		return false
	}
	v, ok := parseVersion(value)
	if !ok {
		return false
	}
	order := v.against(bound)
	switch r.Op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	return false
}

// String writes the rule as in a unit file, with alternatives joined by "|":
// region=eu|us, ram>=2048.
func (r MetadataRule) String() string { return r.Key + r.Op + strings.Join(r.Values, "|") }

// parsePair takes a pair such as region=eu or ram>=2048 apart. msg says what
// is wrong with it.
func parsePair(s string) (r MetadataRule, msg, remedy string) {
	const write = `write key=value, "key=value" in quotes for several on one line`
	i := strings.IndexAny(s, "=!<>")
	if i < 0 {
		return r, "has no operator", write + "; operators are = != < <= > >="
	}
	r.Key = strings.Trim(s[:i], space)
	op := s[i : i+1]
	if i+1 < len(s) && strings.IndexByte("=!<>", s[i+1]) >= 0 {
		op = s[i : i+2]
	}
	r.Op = op
	value := strings.Trim(s[i+len(op):], space)
	r.Values = []string{value}
	switch op {
	case "=", "!=", "<", "<=", ">", ">=":
	case "==":
		return r, `has "==" for an operator`, `write "=" for equal`
	case "=>", "=<":
		return r, `has "` + op + `" for an operator`, `write "` + op[1:] + `="`
	default:
		return r, `has "` + op + `" for an operator`, "operators are = != < <= > >="
	}
	switch {
	case r.Key == "":
		return r, "has no key before its operator", write
	case value == "":
		return r, "has no value after its operator", write + "; an option without any pair resets the list"
	case strings.Contains(value, "="):
		return r, `has more than one "="`, write
	case strings.ContainsAny(s, `"'`):
		return r, "has a quote within it", `put quotes around the whole pair, as in "key=some value"`
	}
	if op != "=" && op != "!=" {
		if _, ok := parseVersion(value); !ok {
			return r, "orders by a value that is neither a number nor a version", `compare with something like 2048 or 5.15, or use "="`
		}
	}
	return r, "", ""
}

// addRule adds a rule to those that a unit has: what may be equal to one of
// several values for the same key is one rule.
func addRule(rules []MetadataRule, r MetadataRule) []MetadataRule {
	for i := range rules {
		have := &rules[i]
		if have.Key != r.Key || have.Op != r.Op {
			continue
		}
		if slices.Contains(have.Values, r.Values[0]) {
			return rules
		}
		if r.Op == "=" {
			have.Values = append(have.Values, r.Values[0])
			return rules
		}
	}
	return append(rules, r)
}
