package cloudinit

import (
	"regexp"
	"slices"
	"strings"
)

// Addresses are the host's, by variable without its dollar: "private_ipv4".
type Addresses map[string]string

var addressNames = []string{"private_ipv4", "private_ipv6", "public_ipv4", "public_ipv6"}

// examples fills in what is missing, for a check elsewhere than on the host.
func (a Addresses) examples() Addresses {
	all := Addresses{"private_ipv4": "192.0.2.1", "private_ipv6": "2001:db8::1", "public_ipv4": "192.0.2.2", "public_ipv6": "2001:db8::2"}
	for name, ip := range a {
		if ip != "" {
			all[name] = ip
		}
	}
	return all
}

// As with coreos-cloudinit, a name may go on (_x), and a backslash escapes.
var variable = regexp.MustCompile(`\\?\$(public|private)_ipv[46]`)

// substitute puts addresses for variables. What has none is named in missing,
// never made empty: http://:2380 would listen nowhere, or everywhere.
func (a Addresses) substitute(text string) (out string, missing []string) {
	out = variable.ReplaceAllStringFunc(text, func(s string) string {
		if escaped, ok := strings.CutPrefix(s, `\`); ok {
			return escaped
		}
		if ip := a[s[1:]]; ip != "" {
			return ip
		}
		missing = append(missing, s)
		return s
	})
	return out, missing
}

// Variables are the addresses that a config of any format asks for, without
// their dollars, each once.
func Variables(text []byte) (names []string) {
	for _, found := range variable.FindAllString(string(text), -1) {
		if name, ok := strings.CutPrefix(found, "$"); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
