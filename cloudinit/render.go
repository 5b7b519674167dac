package cloudinit

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// render writes a cloud-config as Ignition, and beside it what Ignition cannot
// say.
func (c *cloudConfig) render() Result {
	out := Result{Config: types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}}
	c.renderUsers(&out)
	for _, f := range c.files {
		out.file(f)
	}
	if c.hostname != "" {
		out.text("/etc/hostname", c.hostname+"\n")
	}
	if c.manageEtcHosts != "" {
		out.text("/etc/hosts", "127.0.0.1 "+c.hostname+"\n")
	}
	if c.oem.given {
		out.text("/etc/oem-release", fmt.Sprintf("ID=%s\nVERSION_ID=%s\nNAME=%q\nHOME_URL=%q\nBUG_REPORT_URL=%q\n",
			c.oem.id, c.oem.versionID, c.oem.name, c.oem.homeURL, c.oem.bugReportURL))
	}
	if len(c.flannel.vars) > 0 {
		out.text("/run/flannel/options.env", strings.Join(c.flannel.vars, "\n"))
	}
	for _, u := range c.units {
		u.render(&out)
	}
	// As ever, after the user's own units.
	out.service("etcd.service", c.etcd)
	out.service("etcd2.service", c.etcd2)
	out.service("fleet.service", c.fleet)
	out.service("locksmithd.service", c.locksmith)
	c.renderUpdate(&out)
	return out
}

func (c *cloudConfig) renderUsers(out *Result) {
	users := &out.Config.Passwd.Users
	for _, u := range c.users {
		p := types.PasswdUser{
			Name: u.name, PasswordHash: text(u.passwd), Gecos: text(u.gecos), HomeDir: text(u.homedir),
			PrimaryGroup: text(u.primaryGroup), Shell: text(u.shell), NoCreateHome: yes(u.noCreateHome),
			NoUserGroup: yes(u.noUserGroup), System: yes(u.system), NoLogInit: yes(u.noLogInit), SSHAuthorizedKeys: keys(u.keys),
		}
		for _, g := range u.groups {
			p.Groups = append(p.Groups, types.Group(g))
		}
		*users = append(*users, p)
	}
	if len(c.keys) == 0 {
		return
	}
	for i := range *users {
		if (*users)[i].Name == "core" {
			(*users)[i].SSHAuthorizedKeys = append((*users)[i].SSHAuthorizedKeys, keys(c.keys)...)
			return
		}
	}
	*users = append(*users, types.PasswdUser{Name: "core", SSHAuthorizedKeys: keys(c.keys)})
}

func (c *cloudConfig) renderUpdate(out *Result) {
	var conf string
	for _, v := range [][2]string{{"GROUP", c.update.group}, {"REBOOT_STRATEGY", c.update.rebootStrategy}, {"SERVER", c.update.server}} {
		if v[1] != "" {
			conf += v[0] + "=" + v[1] + "\n"
		}
	}
	if conf == "" {
		return
	}
	out.text("/etc/coreos/update.conf", conf)
	switch c.update.rebootStrategy {
	case "":
	case "off":
		out.unit(types.Unit{Name: "locksmithd.service", Mask: yes(true)})
		out.Unmask = slices.DeleteFunc(out.Unmask, func(u string) bool { return u == "locksmithd.service" })
		out.Commands = append(out.Commands, Command{"locksmithd.service", "stop"})
	default:
		out.Unmask = append(out.Unmask, "locksmithd.service")
		out.Commands = append(out.Commands, Command{"locksmithd.service", "restart"})
	}
	if c.update.group != "" || c.update.server != "" {
		out.Commands = append(out.Commands, Command{"update-engine.service", "restart"})
	}
}

// render writes a unit. Ignition writes units below /etc/systemd/system only:
// those of this boot alone, and networkd's, are plain files.
func (u unitEntry) render(out *Result) {
	dir, network := "/etc/systemd/system/", networkUnit.MatchString(u.name)
	if u.runtime {
		dir = "/run/systemd/system/"
	}
	if network {
		dir = strings.Replace(dir, "/system/", "/network/", 1)
	}
	if u.runtime || network {
		if u.mask {
			link := types.Link{Node: types.Node{Path: dir + u.name, Overwrite: yes(true)}}
			link.Target = text("/dev/null")
			out.Config.Storage.Links = append(out.Config.Storage.Links, link)
		} else if u.content != "" {
			out.text(dir+u.name, u.content)
		}
		for _, d := range u.dropIns {
			out.text(dir+u.name+".d/"+d.name, d.content)
		}
		if u.enable && !network {
			out.unit(types.Unit{Name: u.name, Enabled: yes(true)})
		}
	} else {
		unit := types.Unit{Name: u.name, Mask: yes(u.mask), Enabled: yes(u.enable)}
		if !u.mask {
			unit.Contents = text(u.content)
		}
		for _, d := range u.dropIns {
			unit.Dropins = append(unit.Dropins, types.Dropin{Name: d.name, Contents: text(d.content)})
		}
		out.unit(unit)
	}
	if u.runtime && !u.mask {
		out.Unmask = append(out.Unmask, u.name)
	}
	if u.command != "" {
		out.Commands = append(out.Commands, Command{u.name, u.command})
	}
}

// service writes the drop-in of a service that the host's image brings.
func (out *Result) service(name string, env environment) {
	if !env.given {
		return
	}
	out.Unmask = append(out.Unmask, name)
	if len(env.vars) == 0 {
		return
	}
	conf := "[Service]\n"
	for _, v := range env.vars {
		conf += "Environment=\"" + v + "\"\n"
	}
	out.text("/run/systemd/system/"+name+".d/20-cloudinit.conf", conf)
}

func (out *Result) text(path, content string) {
	out.file(writeFile{path: path, mode: 0o644, content: []byte(content)})
}

func (out *Result) file(f writeFile) {
	mode, source := f.mode, "data:;base64,"+base64.StdEncoding.EncodeToString(f.content)
	file := types.File{Node: types.Node{Path: f.path, Overwrite: yes(true)}}
	file.Mode, file.Contents.Source = &mode, &source
	owner, group, _ := strings.Cut(f.owner, ":")
	file.User.ID, file.User.Name = idOrName(owner)
	file.Group.ID, file.Group.Name = idOrName(group)
	files := &out.Config.Storage.Files // the last one of a path wins, as it did
	*files = append(slices.DeleteFunc(*files, func(old types.File) bool { return old.Path == f.path }), file)
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
