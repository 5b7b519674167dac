package cloudinit

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/clarketm/json"
	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/fleet-project/fleet/cloudinit/format"
	"github.com/vincent-petithory/dataurl"
)

// Result is what a config comes to: one Ignition config, and what Ignition
// cannot say. All of it is in the order in which it is to be done: Config's
// users, then its files (Merges after them), Unmask, Config's units and EnableRuntime;
// then, on a running host, one daemon reload if anything was written, a restart
// of systemd-networkd if RestartNetworkd, Commands and Scripts.
type Result struct {
	Config types.Config

	// Hostname is the host's name, "" if nothing names it. It is Config's
	// /etc/hostname too; a running host takes it at once.
	Hostname string `json:",omitempty"`

	// EtcHosts: write /etc/hosts as "127.0.0.1 NAME\n" with the name that the
	// host has itself. It is only set if the config doesn't name the host, and
	// never with Options.Persistent; else the file is in Config.
	EtcHosts bool `json:",omitempty"`

	// KeepUsers are Config's users that cloud-config means: one that exists
	// already gets its password hash, if there is one, and its SSH keys, and is
	// otherwise left alone. All others are Ignition's: what is said is made so.
	KeepUsers []string `json:",omitempty"`

	// KeyImports are SSH keys of Config's users that are to be fetched, each time.
	KeyImports []KeyImport `json:",omitempty"`

	// Merges set variables in files, in place. A file that is in Config as well
	// is written first.
	Merges []Merge `json:",omitempty"`

	// Unmask are paths of unit files to remove, if they are there and are empty
	// or a link to /dev/null: what masks a unit. Anything else stays. None of
	// them is masked by Config.
	Unmask []string `json:",omitempty"`

	// EnableRuntime are units to be enabled until the next boot, as systemctl
	// enable --runtime --force does. Those of Config are enabled for good.
	EnableRuntime []string `json:",omitempty"`

	// RestartNetworkd: files below /etc/systemd/network or /run/systemd/network
	// are networkd's, whose units cannot be enabled or commanded. It is
	// restarted once, before the Commands.
	RestartNetworkd bool `json:",omitempty"`

	// Commands run in this order, each when the job of the one before has ended.
	Commands []Command `json:",omitempty"`

	// Scripts run in this order, after all else.
	Scripts []Script `json:",omitempty"`
}

// KeyImport says where more of a user's SSH keys are: at a URL that answers with
// a line for each, as an authorized_keys has them, or as GitHub's API does with
// JSON, a list of objects whose "key" it is.
type KeyImport struct {
	User, URL string
	GitHub    string `json:",omitempty"` // the name there of whom the URL is about, if it is
	Line      int    // of the config
}

// Command is what to do with a unit once all is in place.
type Command struct {
	Unit, Verb string
	Line       int // of the config

	// Implied is one that the config doesn't name: another key brings it along, such
	// as coreos.update. A host without that unit has no use for it.
	Implied bool `json:",omitempty"`
}

// Script is a program to run, in a transient unit of its own. It is saved with ScriptMode and given to ScriptShell, whatever the
// interpreter in its first line, as it always was.
type Script struct {
	Text string
	Line int // of the config, where it begins
}

// How scripts are saved and run.
const (
	ScriptMode  = 0o744
	ScriptShell = "/bin/bash"
)

// Merge sets variables in a file of KEY=value lines. A key's line is replaced
// where it is; what is new is appended; all other lines stay. A file that
// doesn't exist begins as a copy of Base, or empty. Its mode is 0644.
type Merge struct {
	Path string
	Base string `json:",omitempty"`
	Set  []Setting
}

// Setting is one line of a Merge: KEY=value.
type Setting struct{ Key, Value string }

func emptyConfig() types.Config {
	return types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}
}

// JSON writes the Ignition config, without what is unset. Merges are appended
// to their files, of which every reader takes a key's last line.
func (out Result) JSON() ([]byte, error) {
	config := out.Config
	config.Storage.Files = slices.Clone(config.Storage.Files)
	for _, m := range out.Merges {
		var lines strings.Builder
		for _, s := range m.Set {
			lines.WriteString(s.Key + "=" + s.Value + "\n")
		}
		source := dataURL([]byte(lines.String()))
		more := types.Resource{Source: &source}
		i := slices.IndexFunc(config.Storage.Files, func(f types.File) bool { return f.Path == m.Path })
		if i < 0 {
			f := types.File{Node: types.Node{Path: m.Path}}
			f.Append = []types.Resource{more}
			config.Storage.Files = append(config.Storage.Files, f)
		} else {
			f := &config.Storage.Files[i]
			f.Append = append(slices.Clone(f.Append), more)
		}
	}
	return json.MarshalIndent(config, "", "  ")
}

func dataURL(content []byte) string {
	return "data:;base64," + base64.StdEncoding.EncodeToString(content)
}

// Inline gives contents that are in the config itself, decompressed.
func Inline(res types.Resource) ([]byte, error) {
	if res.Source == nil {
		return nil, nil
	}
	u, err := dataurl.DecodeString(*res.Source)
	if err != nil {
		return nil, err
	}
	if res.Compression != nil && *res.Compression == "gzip" {
		return format.Gunzip(u.Data, format.MaxSize)
	}
	return u.Data, nil
}

// Orders are what only a running host carries out, which is neither Ignition's nor an
// image's: errors, with the line and what to write instead.
func (out Result) Orders() Problems {
	var ps Problems
	for _, c := range out.Commands {
		remedy := "put the config into the image as /var/lib/coreos-install/user_data, from where fleet-cloudinit.service applies it at each boot"
		if c.Verb == "start" {
			remedy = "write enable: true instead, or " + remedy
		}
		ps.Add(c.Line, Error, "%s's command %s cannot be said in Ignition, nor done on an image: %s", c.Unit, c.Verb, remedy)
	}
	for _, s := range out.Scripts {
		ps.Add(s.Line, Error, "a script cannot be said in Ignition, nor run on an image: make it a file and a unit with Type=oneshot that runs it")
	}
	return ps.Sorted()
}

// Unsayable are the things that Ignition has no words for and that would be
// lost if only JSON were used: Orders, and what is looked up anew each time. A
// mask to lift is a warning, as an image seldom has one.
func (out Result) Unsayable() Problems {
	ps := out.Orders()
	for _, i := range out.KeyImports {
		ps.Add(i.Line, Error, "keys to be fetched cannot be said in Ignition: write those of %s into ssh_authorized_keys", i.User)
	}
	for _, path := range out.Unmask {
		ps.Add(1, Warning, "Ignition cannot lift a mask: the image must not have %s empty or a link to /dev/null", path)
	}
	return ps.Sorted()
}

// add takes in another part's result, which is later and wins.
func (out *Result) add(one Result) {
	out.Config = v3.Merge(out.Config, one.Config)
	if one.Hostname != "" {
		out.Hostname = one.Hostname
	}
	out.EtcHosts = out.EtcHosts || one.EtcHosts
	out.KeepUsers = append(out.KeepUsers, one.KeepUsers...)
	out.KeyImports = append(out.KeyImports, one.KeyImports...)
	out.Merges = append(out.Merges, one.Merges...)
	out.Unmask = append(out.Unmask, one.Unmask...)
	out.EnableRuntime = append(out.EnableRuntime, one.EnableRuntime...)
	out.RestartNetworkd = out.RestartNetworkd || one.RestartNetworkd
	out.Commands = append(out.Commands, one.Commands...)
	out.Scripts = append(out.Scripts, one.Scripts...)
}

// below moves what a part has to the part's lines of the whole.
func (out *Result) below(p format.Part) {
	move := func(line int) int {
		if p.Wrapped {
			return p.Lines + 1
		}
		return p.Lines + line
	}
	for i := range out.KeyImports {
		out.KeyImports[i].Line = move(out.KeyImports[i].Line)
	}
	for i := range out.Commands {
		out.Commands[i].Line = move(out.Commands[i].Line)
	}
	for i := range out.Scripts {
		out.Scripts[i].Line = move(out.Scripts[i].Line)
	}
}
