package cloudinit

import (
	"regexp"
	"strings"
)

// assignment is one variable of a service.
type assignment struct {
	key, value string
	literal    bool // has no specifiers: a password's % is a percent sign
}

// What systemd replaces in a unit file: systemd.unit(5). A percent sign before
// anything else would have it ignore the whole line.
var (
	percent    = regexp.MustCompile(`%.?`)
	specifiers = regexp.MustCompile(`^%[aAbBCdDEfgGhHiIjJlLmMnNopPqsStTuUvVwWyY%]`)
	urlEscape  = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
)

// environment writes the line of a unit file. Specifiers are systemd's, as they
// always were: ETCD_NAME=%m is the machine's ID.
func (a assignment) environment() string {
	v := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.value)
	switch {
	case a.literal:
		v = strings.ReplaceAll(v, "%", "%%")
	case strings.Contains(v, "://"):
		v = urlEscape.ReplaceAllString(v, "%$0")
	}
	v = percent.ReplaceAllStringFunc(v, func(s string) string {
		if specifiers.MatchString(s) {
			return s
		}
		return "%" + s
	})
	return `Environment="` + a.key + "=" + v + "\"\n"
}

// envFile writes the line of an EnvironmentFile=, in quotes only where it must
// be.
func (a assignment) envFile() string {
	if strings.TrimSpace(a.value) == a.value && !strings.ContainsAny(a.value, `"'\`) {
		return a.key + "=" + a.value
	}
	return a.key + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(a.value) + `"`
}
