package cloudinit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
)

const (
	etcUnits, runUnits     = "/etc/systemd/system/", "/run/systemd/system/"
	etcNetwork, runNetwork = "/etc/systemd/network/", "/run/systemd/network/"
	updateConf             = "/etc/coreos/update.conf"
)

// render writes a cloud-config as Ignition, and beside it what Ignition cannot
// say.
func (c *cloudConfig) render(opts Options) Result {
	out := Result{Config: emptyConfig()}
	c.renderUsers(&out)
	for _, f := range c.files {
		out.file(f)
	}
	if c.hostname != "" {
		out.hostname(c.hostname)
	}
	if c.oem.id != "" {
		out.text("/etc/oem-release", fmt.Sprintf("ID=%s\nVERSION_ID=%s\nNAME=%q\nHOME_URL=%q\nBUG_REPORT_URL=%q\n",
			c.oem.id, c.oem.versionID, c.oem.name, c.oem.homeURL, c.oem.bugReportURL))
	}
	if c.manageEtcHosts != "" {
		if out.EtcHosts = c.hostname == ""; !out.EtcHosts {
			out.etcHosts()
		}
	}
	c.renderFlannel(&out, opts)
	for _, u := range c.units {
		u.render(&out, opts)
	}
	// As ever, after the user's own units.
	out.service("etcd.service", c.etcd, opts)
	out.service("etcd2.service", c.etcd2, opts)
	out.service("fleet.service", c.fleet, opts)
	out.service("locksmithd.service", c.locksmith, opts)
	c.renderUpdate(&out, opts)
	return out
}

func (out *Result) hostname(name string) {
	out.Hostname = name
	out.text("/etc/hostname", name+"\n")
}

func (out *Result) etcHosts() { out.text("/etc/hosts", "127.0.0.1 "+out.Hostname+"\n") }

func (c *cloudConfig) renderUsers(out *Result) {
	users := &out.Config.Passwd.Users
	var sudoers string
	for _, u := range c.users {
		p := types.PasswdUser{
			Name: u.name, UID: u.uid, PasswordHash: text(u.passwd), Gecos: text(u.gecos), HomeDir: text(u.homedir),
			PrimaryGroup: text(u.primaryGroup), Shell: text(u.shell), NoCreateHome: yes(u.noCreateHome),
			NoUserGroup: yes(u.noUserGroup), System: yes(u.system), NoLogInit: yes(u.noLogInit), SSHAuthorizedKeys: keys(u.keys),
		}
		for _, g := range u.groups {
			p.Groups = append(p.Groups, types.Group(g))
		}
		*users = append(*users, p)
		out.KeepUsers = append(out.KeepUsers, u.name)
		for _, i := range u.imports {
			i.User = u.name
			out.KeyImports = append(out.KeyImports, i)
		}
		for _, rule := range u.sudo {
			sudoers += u.name + " " + rule + "\n"
		}
	}
	for _, g := range c.groups {
		out.Config.Passwd.Groups = append(out.Config.Passwd.Groups, types.PasswdGroup{Name: g})
	}
	if sudoers != "" { // with cloud-init's name; sudo reads no file with a dot
		mode := 0o440
		out.file(writeFile{path: "/etc/sudoers.d/90-cloud-init-users", mode: &mode, content: []byte(sudoers)})
	}
	out.coreKeys(c.keys)
}

// coreKeys authorizes keys for core, the user that CoreOS' images have.
func (out *Result) coreKeys(more []string) {
	if len(more) == 0 {
		return
	}
	users := &out.Config.Passwd.Users
	i := slices.IndexFunc(*users, func(u types.PasswdUser) bool { return u.Name == "core" })
	if i < 0 {
		i = len(*users)
		*users = append(*users, types.PasswdUser{Name: "core"})
		out.KeepUsers = append(out.KeepUsers, "core")
	}
	for _, k := range keys(more) {
		if core := &(*users)[i]; !slices.Contains(core.SSHAuthorizedKeys, k) {
			core.SSHAuthorizedKeys = append(core.SSHAuthorizedKeys, k)
		}
	}
}

// renderFlannel writes the file that flanneld's unit reads. It is made anew at
// each boot; what must last is a drop-in.
func (c *cloudConfig) renderFlannel(out *Result, opts Options) {
	switch {
	case len(c.flannel.vars) == 0:
	case opts.Persistent:
		out.dropIn("flanneld.service", c.flannel, opts)
	default:
		var lines []string
		for _, v := range c.flannel.vars {
			lines = append(lines, v.envFile())
		}
		out.text("/run/flannel/options.env", strings.Join(lines, "\n"))
	}
}

func (c *cloudConfig) renderUpdate(out *Result, opts Options) {
	m := Merge{Path: updateConf, Base: "/usr/share/coreos/update.conf"}
	for _, s := range []Setting{{"GROUP", c.update.group}, {"REBOOT_STRATEGY", c.update.rebootStrategy}, {"SERVER", c.update.server}} {
		if s.Value != "" {
			m.Set = append(m.Set, s)
		}
	}
	if len(m.Set) == 0 {
		return
	}
	out.Merges = append(out.Merges, m)
	const locksmithd, engine = "locksmithd.service", "update-engine.service"
	command := func(unit, verb string) {
		if !opts.Persistent { // what isn't running needs no restart, nor what is masked a stop
			out.Commands = append(out.Commands, Command{Unit: unit, Verb: verb, Line: c.update.line, Implied: true})
		}
	}
	switch c.update.rebootStrategy {
	case "":
	case "off":
		out.mask(unitDir(true, false, opts), locksmithd)
		command(locksmithd, "stop")
	default:
		out.Unmask = append(out.Unmask, unitDir(true, false, opts)+locksmithd)
		command(locksmithd, "restart")
	}
	if c.update.group != "" || c.update.server != "" {
		command(engine, "restart")
	}
}

// unitDir is where a unit's files go.
func unitDir(runtime, network bool, opts Options) string {
	runtime = runtime && !opts.Persistent
	switch {
	case runtime && network:
		return runNetwork
	case network:
		return etcNetwork
	case runtime:
		return runUnits
	}
	return etcUnits
}

// render writes a unit. Ignition writes units below /etc/systemd/system only:
// those of this boot alone, and networkd's, are plain files.
func (u unitEntry) render(out *Result, opts Options) {
	network := networkUnit.MatchString(u.name)
	dir := unitDir(u.runtime, network, opts)
	if dir == etcUnits {
		unit := types.Unit{Name: u.name, Enabled: yes(u.enable)}
		if !u.mask {
			unit.Contents = text(u.content)
		}
		for _, d := range u.dropIns {
			unit.Dropins = append(unit.Dropins, types.Dropin{Name: d.name, Contents: text(d.content)})
		}
		out.unit(unit)
	} else {
		if u.content != "" && !u.mask {
			out.text(dir+u.name, u.content)
		}
		for _, d := range u.dropIns {
			out.text(dir+u.name+".d/"+d.name, d.content)
		}
		if u.enable && !network {
			out.EnableRuntime = append(out.EnableRuntime, u.name)
		}
	}
	switch {
	case u.mask:
		out.mask(dir, u.name)
	case u.runtime:
		out.Unmask = append(out.Unmask, dir+u.name)
	}
	if network {
		out.RestartNetworkd = true
	} else if u.command != "" {
		out.Commands = append(out.Commands, Command{Unit: u.name, Verb: u.command, Line: u.commandLine})
	}
}

// mask has a unit's file be a link to /dev/null, whatever it was.
func (out *Result) mask(dir, name string) {
	if dir == etcUnits {
		out.unit(types.Unit{Name: name, Mask: yes(true)})
		return
	}
	files, links := &out.Config.Storage.Files, &out.Config.Storage.Links
	*files = slices.DeleteFunc(*files, func(f types.File) bool { return f.Path == dir+name })
	*links = slices.DeleteFunc(*links, func(l types.Link) bool { return l.Path == dir+name })
	link := types.Link{Node: types.Node{Path: dir + name, Overwrite: yes(true)}}
	link.Target = text("/dev/null")
	*links = append(*links, link)
}

// service writes the drop-in of a service that the host's image brings. It is
// unmasked whatever the config says of it, as it always was.
func (out *Result) service(name string, env environment, opts Options) {
	if env.given || !opts.Persistent {
		out.Unmask = append(out.Unmask, unitDir(true, false, opts)+name)
	}
	if len(env.vars) > 0 {
		out.dropIn(name, env, opts)
	}
}

func (out *Result) dropIn(name string, env environment, opts Options) {
	const file = "20-cloudinit.conf"
	conf := "[Service]\n"
	for _, v := range env.vars {
		conf += v.environment()
	}
	if opts.Persistent {
		out.unit(types.Unit{Name: name, Dropins: []types.Dropin{{Name: file, Contents: &conf}}})
	} else {
		out.text(runUnits+name+".d/"+file, conf)
	}
}

func (out *Result) text(path, content string) {
	out.file(writeFile{path: path, content: []byte(content)})
}

// file writes a file; the last one of a path wins, as it did. What is appended
// is appended to that one, or to the file that the host has.
func (out *Result) file(f writeFile) {
	source := f.source
	if source == "" {
		source = dataURL(f.content)
	}
	content := types.Resource{Source: &source}
	for _, h := range f.headers {
		content.HTTPHeaders = append(content.HTTPHeaders, types.HTTPHeader{Name: h[0], Value: &h[1]})
	}
	files := &out.Config.Storage.Files
	i := 0
	for i < len(*files) && (*files)[i].Path != f.path { // they are large to hand to a function
		i++
	}
	if i == len(*files) {
		*files = append(*files, types.File{Node: types.Node{Path: f.path}})
	}
	file := &(*files)[i]
	if !f.append {
		mode := 0o644
		*file = types.File{Node: types.Node{Path: f.path, Overwrite: yes(true)}}
		file.Mode, file.Contents = &mode, content
	} else {
		file.Append = append(file.Append, content)
	}
	if f.mode != nil {
		file.Mode = f.mode
	}
	if owner, group, _ := strings.Cut(f.owner, ":"); f.owner != "" {
		file.User.ID, file.User.Name = idOrName(owner)
		file.Group.ID, file.Group.Name = idOrName(group)
	}
}

// unit adds to what is said of a unit; Ignition takes each name once.
func (out *Result) unit(u types.Unit) {
	units := &out.Config.Systemd.Units
	i := slices.IndexFunc(*units, func(old types.Unit) bool { return old.Name == u.Name })
	switch {
	case i >= 0:
		merged := v3.Merge(types.Config{Systemd: types.Systemd{Units: (*units)[i : i+1]}}, types.Config{Systemd: types.Systemd{Units: []types.Unit{u}}})
		(*units)[i] = merged.Systemd.Units[0]
	case u.Contents != nil || u.Dropins != nil || u.Enabled != nil || u.Mask != nil:
		*units = append(*units, u)
	}
}

func idOrName(s string) (*int, *string) {
	if id, err := strconv.Atoi(s); err == nil {
		return &id, nil
	}
	return nil, text(s)
}

// text and yes leave what is empty unset.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func yes(b bool) *bool {
	if !b {
		return nil
	}
	return &b
}

func keys(in []string) (out []types.SSHAuthorizedKey) {
	for _, k := range in {
		out = append(out, types.SSHAuthorizedKey(k))
	}
	return out
}
