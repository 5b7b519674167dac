package member

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
)

// values are what was given for etcd's flags: on the command line, which wins, or
// in the environment. They are kept as text, for it is etcd that reads them.
type values struct {
	args  []given           // in their order; some flags may come more than once
	env   map[string]string // by the flag's name
	taken map[string]bool   // variables of the environment that etcd must not see
}

type given struct{ name, value string }

// Usage is an error in the command line.
type Usage struct{ Err error }

func (u *Usage) Error() string { return u.Err.Error() }

// Unwrap gives the reason.
func (u *Usage) Unwrap() error { return u.Err }

// etcdFlags are etcd's own, as etcd reads them into cfg. etcd's main program
// has a few that its package embed has not.
func etcdFlags(cfg *embed.Config) *flag.FlagSet {
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	cfg.AddFlags(fs)
	fs.String("config-file", "", "")
	fs.StringVar(&cfg.ClusterState, "initial-cluster-state", cfg.ClusterState, "")
	fs.String("v2-deprecation", "", "")
	fs.Bool("version", false, "")
	for _, name := range []string{"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force",
		"max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v", "vv"} {
		fs.Bool(name, false, "") // etcd ignores them
	}
	return fs
}

// known are all flags: etcd's, and those that etcd 2 had. The value says whether
// it needs none.
func known() map[string]bool {
	all := map[string]bool{}
	for name := range legacy {
		all[name] = name == "debug"
	}
	etcdFlags(embed.NewConfig()).VisitAll(func(f *flag.Flag) {
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		all[f.Name] = ok && b.IsBoolFlag()
	})
	return all
}

// recorder notes a flag's value as it was given.
type recorder struct {
	into *values
	name string
	bool bool
}

func (r *recorder) String() string   { return "" }
func (r *recorder) IsBoolFlag() bool { return r.bool }
func (r *recorder) Set(text string) error {
	r.into.args = append(r.into.args, given{r.name, text})
	return nil
}

// variable is a flag's name in the environment.
func variable(name string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// read takes the command line and the environment apart.
func read(args, environ []string) (*values, error) {
	v := &values{env: map[string]string{}, taken: map[string]bool{}}
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	flags := known()
	for name, needsNone := range flags {
		fs.Var(&recorder{v, name, needsNone}, name, "")
	}
	if err := fs.Parse(args); err != nil {
		return nil, &Usage{err}
	}
	if rest := fs.Args(); len(rest) > 0 {
		return nil, &Usage{fmt.Errorf("%q is neither a flag nor a command of fleetd etcd", rest[0])}
	}
	set := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			set[name] = value
		}
	}
	for name := range flags {
		value, ok := set[variable(name)]
		switch {
		case !ok:
		case v.onCommandLine(name) || value == "":
			v.taken[name] = true // etcd would end over being told twice
		default:
			v.env[name] = value
		}
	}
	return v, nil
}

func (v *values) onCommandLine(name string) bool {
	return slices.ContainsFunc(v.args, func(g given) bool { return g.name == name })
}

// get is what was given for a flag, and by which name.
func (v *values) get(name string) (value, from string) {
	for _, g := range slices.Backward(v.args) {
		if g.name == name {
			return g.value, "--" + name
		}
	}
	if value, ok := v.env[name]; ok {
		return value, variable(name)
	}
	return "", ""
}

func (v *values) has(name string) bool { _, from := v.get(name); return from != "" }

// drop keeps a flag from etcd.
func (v *values) drop(name string) {
	v.args = slices.DeleteFunc(v.args, func(g given) bool { return g.name == name })
	delete(v.env, name)
	v.taken[name] = true
}

// set gives etcd a value, whatever was given before.
func (v *values) set(name, value string) {
	v.drop(name)
	delete(v.taken, name)
	v.env[name] = value
}

// command is the command line for etcd.
func (v *values) command() []string {
	args := []string{"etcd"}
	for _, g := range v.args {
		args = append(args, "--"+g.name+"="+g.value)
	}
	return args
}

// clone is for what only one attempt changes.
func (v *values) clone() *values {
	return &values{args: slices.Clone(v.args), env: maps.Clone(v.env), taken: maps.Clone(v.taken)}
}
