package cloudinit

import (
	"bytes"
	"strings"

	"github.com/clarketm/json"
	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// Command is what to do with a unit once all is in place.
type Command struct{ Unit, Verb string }

// Result is what a config comes to: one Ignition config, and what Ignition
// cannot say.
type Result struct {
	Config   types.Config
	Unmask   []string  // units whose mask, if they have one, goes
	Commands []Command // in the order in which they run
	Scripts  []string
}

// JSON writes the Ignition config, without what is unset.
func (out Result) JSON() ([]byte, error) { return json.MarshalIndent(out.Config, "", "  ") }

// Unsayable names what Ignition cannot say and would lose if only the config
// were used. A mask to lift isn't among it: an image seldom has one.
func (out Result) Unsayable() []string {
	var all []string
	for _, c := range out.Commands {
		all = append(all, c.Unit+"'s command: "+c.Verb)
	}
	if len(out.Scripts) > 0 {
		all = append(all, "a script")
	}
	return all
}

// Options say how to translate.
type Options struct {
	Addresses Addresses // for $private_ipv4 and its like, in cloud-configs and scripts
	Check     bool      // only validate: addresses may be missing
}

// Translate turns a config of any format into one Result. If the problems have
// Failed, there is none to use.
func Translate(data []byte, opts Options) (Result, Problems) {
	var ps Problems
	text, err := Decompress(data)
	if err != nil {
		ps.add(1, Error, "%v", err)
		return Result{}, ps
	}
	if Detect(text) != Multipart {
		out, ps := translate(text, opts)
		return out, ps.sorted()
	}
	all, err := parts(text)
	if err != nil {
		ps.add(1, Error, "%v", err)
		return Result{}, ps
	}
	out := Result{Config: emptyConfig()}
	for _, p := range all {
		one, problems := translate(p.text, opts)
		ps = append(ps, problems.below(p.lines)...)
		if problems.Failed() {
			continue
		}
		out.Config = v3.Merge(out.Config, one.Config)
		out.Unmask = append(out.Unmask, one.Unmask...)
		out.Commands = append(out.Commands, one.Commands...)
		out.Scripts = append(out.Scripts, one.Scripts...)
	}
	if ps.Failed() {
		return Result{}, ps.sorted()
	}
	return out, ps.sorted()
}

func emptyConfig() types.Config {
	return types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}
}

func translate(text []byte, opts Options) (Result, Problems) {
	var ps Problems
	switch Detect(text) {
	case CloudConfig:
		return translateCloudConfig(text, opts)
	case Butane:
		return translateButane(text)
	case Ignition:
		return translateIgnition(text)
	case Script:
		script, missing := opts.Addresses.substitute(string(text))
		if len(missing) > 0 && !opts.Check {
			before, _, _ := strings.Cut(script, missing[0])
			ps.add(strings.Count(before, "\n")+1, Error, "the script uses %s, which this host has not", missing[0])
			return Result{}, ps
		}
		return Result{Config: emptyConfig(), Scripts: []string{script}}, nil
	}
	if len(bytes.TrimSpace(text)) == 0 {
		ps.add(1, Error, "the config is empty")
	} else {
		ps.add(1, Error, "the format is not known: begin with #cloud-config or #!, or give Butane (variant:), Ignition JSON or MIME multipart")
	}
	return Result{}, ps
}

func translateCloudConfig(text []byte, opts Options) (Result, Problems) {
	r := &reader{addresses: opts.Addresses, check: opts.Check}
	root := r.root(text)
	if root == nil {
		if !r.problems.Failed() {
			r.problems.add(1, Warning, "the cloud-config is empty")
		}
		return Result{Config: emptyConfig()}, r.problems
	}
	c := r.cloudConfig(root)
	if r.problems.Failed() {
		return Result{}, r.problems
	}
	out := c.render()
	// What we rendered must be what Ignition takes: a path below a file, a user
	// twice. Its lines would be those of JSON that nobody wrote.
	raw, err := out.JSON()
	if err != nil {
		r.problems.add(1, Error, "%v", err)
		return Result{}, r.problems
	}
	_, said, err := v3.Parse(raw)
	if ps := problemsOf(said); err != nil && !ps.Failed() {
		r.problems.add(1, Error, "as Ignition: %v", err)
	}
	for _, p := range problemsOf(said) {
		r.problems.add(1, p.Level, "as Ignition: %s", p.Msg)
	}
	if r.problems.Failed() {
		return Result{}, r.problems
	}
	return out, r.problems
}
