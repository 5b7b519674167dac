package cloudinit

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"

	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/fleet-project/fleet/cloudinit/format"
)

// Options say how to translate.
type Options struct {
	// Addresses are for $private_ipv4 and its like in cloud-configs and scripts,
	// and for /etc/environment.
	Addresses Addresses

	// Metadata is what the host's cloud says of it.
	Metadata Metadata

	// Persistent is for what must last until a later boot, an image or an
	// Ignition config: what a running host gets below /run, which is made anew
	// at each boot, goes below /etc. An address that isn't given stays as it is
	// written in coreos.etcd2, where fleetd etcd replaces it at its start; and
	// /etc/environment isn't touched, as the addresses aren't the later host's.
	Persistent bool

	// Check only validates: addresses may be missing.
	Check bool
}

// Metadata is what the host's cloud says of it, beside user-data. It goes with
// a config of any format.
type Metadata struct {
	Hostname string   // used if the config names none
	SSHKeys  []string // of the user core, beside those of the config
}

func (m Metadata) empty() bool { return m.Hostname == "" && len(m.SSHKeys) == 0 }

// Translate turns a config of any format into one Result. If the problems have
// Failed, there is none to use. No text at all is fine if there is Metadata.
func Translate(data []byte, opts Options) (Result, Problems) {
	out, ps := Result{Config: emptyConfig()}, Problems{}
	if opts.Check {
		opts.Addresses = opts.Addresses.examples()
	}
	text, err := format.Decompress(data)
	switch {
	case err != nil:
		ps.Add(1, Error, "%v", err)
	case len(bytes.TrimSpace(text)) == 0 && !opts.Metadata.empty():
	case format.Detect(text) == format.Multipart:
		out, ps = translateParts(text, opts)
	default:
		out, ps = translate(text, format.Detect(text), opts)
	}
	if ps.Failed() {
		return Result{}, ps.Sorted()
	}
	ps = append(ps, out.finish(opts)...)
	if ps.Failed() {
		return Result{}, ps.Sorted()
	}
	return out, ps.Sorted()
}

func translateParts(text []byte, opts Options) (Result, Problems) {
	var ps Problems
	all, err := format.Parts(text)
	if err != nil {
		line := 1
		var inPart *format.PartError
		if errors.As(err, &inPart) {
			line = inPart.Line
		}
		ps.Add(line, Error, "%v", err)
		return Result{}, ps
	}
	out := Result{Config: emptyConfig()}
	for _, p := range all {
		one, problems := translate(p.Text, p.Kind, opts)
		if p.Wrapped {
			problems.within(p.Lines + 1)
		} else {
			problems.below(p.Lines)
		}
		ps = append(ps, problems...)
		if problems.Failed() {
			continue
		}
		one.below(p)
		out.add(one)
	}
	return out, ps
}

// translate is for one document.
func translate(text []byte, kind format.Kind, opts Options) (Result, Problems) {
	var ps Problems
	if kind != format.Script {
		if line, why := format.Unreadable(text); why != "" {
			ps.Add(line, Error, "%s", why)
			return Result{}, ps
		}
	}
	switch kind {
	case format.CloudConfig:
		return translateCloudConfig(text, opts)
	case format.Butane:
		return translateButane(text)
	case format.Ignition:
		return translateIgnition(text)
	case format.Script:
		return translateScript(string(text), opts)
	}
	line, why := format.Explain(text)
	ps.Add(line, Error, "%s", why)
	return Result{}, ps
}

func translateScript(text string, opts Options) (Result, Problems) {
	var ps Problems
	script, missing := opts.Addresses.substitute(text)
	if len(missing) > 0 {
		before, _, _ := strings.Cut(script, missing[0])
		ps.Add(strings.Count(before, "\n")+1, Error, "the script uses %s, which this host has not", missing[0])
		return Result{}, ps
	}
	if before, _, dos := strings.Cut(text, "\r\n"); dos {
		ps.Add(strings.Count(before, "\n")+1, Error, "the script's lines end in CR LF, of which bash takes the CR for a letter: save it with LF")
		return Result{}, ps
	}
	out := Result{Config: emptyConfig(), Scripts: []Script{{Text: script, Line: 1}}}
	out.environment(opts)
	return out, ps
}

func translateCloudConfig(text []byte, opts Options) (Result, Problems) {
	r := &reader{addresses: opts.Addresses, persistent: opts.Persistent, places: places}
	c := &cloudConfig{}
	if root := r.root(text); root != nil {
		c = r.cloudConfig(root)
	} else if !r.problems.Failed() {
		r.problems.Add(1, Warning, "the cloud-config is empty")
	}
	if r.problems.Failed() {
		return Result{}, r.problems
	}
	out := c.render(opts)
	out.environment(opts)
	return out, r.problems
}

// environment has /etc/environment keep the host's addresses, as ever.
func (out *Result) environment(opts Options) {
	if opts.Persistent {
		return
	}
	var set []Setting
	for _, name := range addressNames { // as sorted by their keys
		if ip := opts.Addresses[name]; ip != "" {
			set = append(set, Setting{"COREOS_" + strings.ToUpper(name), ip})
		}
	}
	if len(set) > 0 {
		out.Merges = append(out.Merges, Merge{Path: "/etc/environment", Set: set})
	}
}

// finish adds what concerns all parts of a config, and has Ignition's own
// parser read the result: what was put together must be what Ignition takes.
func (out *Result) finish(opts Options) (ps Problems) {
	if m := opts.Metadata; m.Hostname != "" && !hostName.MatchString(m.Hostname) {
		ps.Add(1, Warning, "metadata's host name, %.80q, is none: it is not used", m.Hostname)
	} else if m.Hostname != "" && out.Hostname == "" && !out.writes("/etc/hostname") {
		out.hostname(m.Hostname)
	}
	if out.EtcHosts && out.Hostname != "" { // which metadata or another part has said
		out.EtcHosts = false
		out.etcHosts()
	}
	for _, key := range opts.Metadata.SSHKeys {
		if key = strings.TrimSpace(key); oneLine.MatchString(key) {
			out.coreKeys([]string{key})
		} else if key != "" {
			ps.Add(1, Warning, "an SSH key of metadata has more than one line: it is not used")
		}
	}
	if out.writes("/etc/environment") {
		out.Merges = slices.DeleteFunc(out.Merges, func(m Merge) bool { return m.Path == "/etc/environment" })
	}
	out.KeepUsers = unique(out.KeepUsers)
	out.EnableRuntime = unique(out.EnableRuntime)
	out.Merges = onePerPath(out.Merges)
	out.Unmask = slices.DeleteFunc(unique(out.Unmask), out.masks)
	if out.EtcHosts && opts.Persistent {
		ps.Add(1, Error, "manage_etc_hosts needs hostname in the same config: the host's own name isn't known yet")
	}

	files := map[string]bool{}
	for _, f := range out.Config.Storage.Files {
		files[f.Path] = true
	}
	for _, f := range out.Config.Storage.Files {
		for dir := f.Path; strings.LastIndexByte(dir, '/') > 0; {
			if dir = dir[:strings.LastIndexByte(dir, '/')]; files[dir] {
				ps.Add(1, Error, "%.80q is a file and %.80q, below it, too: a path is either a file or a directory", dir, f.Path)
			}
		}
	}

	// The lines of what it says would be those of JSON that nobody wrote.
	raw, err := out.JSON()
	if err != nil {
		ps.Add(1, Error, "%v", err)
		return ps
	}
	_, said, err := v3.Parse(raw)
	for _, p := range problemsOf(said) {
		if p.Level == Error {
			ps.Add(1, p.Level, "as Ignition: %s", p.Msg)
		}
	}
	if err != nil && !ps.Failed() {
		ps.Add(1, Error, "as Ignition: %v", err)
	}
	return ps
}

func (out *Result) writes(file string) bool {
	return slices.ContainsFunc(out.Config.Storage.Files, func(f types.File) bool { return path.Clean(f.Path) == file })
}

// masks says whether Config masks the unit with this file.
func (out *Result) masks(file string) bool {
	return slices.ContainsFunc(out.Config.Storage.Links, func(l types.Link) bool { return l.Path == file }) ||
		slices.ContainsFunc(out.Config.Systemd.Units, func(u types.Unit) bool {
			return u.Mask != nil && *u.Mask && "/etc/systemd/system/"+u.Name == file
		})
}

func onePerPath(merges []Merge) (all []Merge) {
	for _, m := range merges {
		i := slices.IndexFunc(all, func(old Merge) bool { return old.Path == m.Path })
		if i < 0 {
			all = append(all, m)
			continue
		}
		for _, s := range m.Set {
			if j := slices.IndexFunc(all[i].Set, func(old Setting) bool { return old.Key == s.Key }); j >= 0 {
				all[i].Set[j] = s
			} else {
				all[i].Set = append(all[i].Set, s)
			}
		}
	}
	return all
}

func unique(names []string) (all []string) {
	for _, n := range names {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}
