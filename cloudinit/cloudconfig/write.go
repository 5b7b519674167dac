// Package cloudconfig writes what any config comes to as a cloud-config, as far
// as that has words for it, for hosts that read nothing else. It doesn't read
// cloud-configs: package cloudinit does.
package cloudconfig

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/fleet-project/fleet/cloudinit"
)

// Write writes a result as a cloud-config, whose Translate is the same result
// again. What cloud-config has no words for is an error that names it; source
// is the text that the result came from, for the lines of these.
func Write(out cloudinit.Result, source []byte) ([]byte, cloudinit.Problems) {
	w := &writer{out: out, source: source}
	w.refuse()
	w.users()
	w.files()
	w.units()
	w.merges()
	if w.problems.Failed() {
		return nil, w.problems.Sorted()
	}
	text := w.doc.yaml()
	// What the reader here refuses, a user's strange name say, is no cloud-config.
	if _, ps := cloudinit.Translate(text, cloudinit.Options{}); ps.Failed() {
		for _, p := range ps {
			if p.Level == cloudinit.Error {
				w.problems.Add(1, cloudinit.Error, "as cloud-config: %s", p.Msg)
			}
		}
		return nil, w.problems.Sorted()
	}
	return text, w.problems.Sorted()
}

// writer turns a result into a document.
type writer struct {
	out      cloudinit.Result
	source   []byte
	doc      document
	problems cloudinit.Problems
}

// no refuses a thing; about is what its line is found by.
func (w *writer) no(about, format string, args ...any) {
	w.problems.Add(cloudinit.LineOf(w.source, about), cloudinit.Error, "cloud-config has no words for "+format, args...)
}

// refuse names all that cloud-config doesn't have.
func (w *writer) refuse() {
	c := w.out.Config
	for _, m := range append(slices.Clone(c.Ignition.Config.Merge), c.Ignition.Config.Replace) {
		if m.Source != nil {
			w.no(*m.Source, "another config to merge or put in place: %s", *m.Source)
		}
	}
	if p := c.Ignition.Proxy; p.HTTPProxy != nil || p.HTTPSProxy != nil || p.NoProxy != nil {
		w.no("proxy", "ignition.proxy")
	}
	if t := c.Ignition.Timeouts; t.HTTPResponseHeaders != nil || t.HTTPTotal != nil {
		w.no("imeouts", "ignition.timeouts")
	}
	if len(c.Ignition.Security.TLS.CertificateAuthorities) > 0 {
		w.no("security", "ignition.security")
	}
	for _, d := range c.Storage.Disks {
		w.no(d.Device, "disks and partitions: %s", d.Device)
	}
	for _, r := range c.Storage.Raid {
		w.no(r.Name, "RAID: %s", r.Name)
	}
	for _, l := range c.Storage.Luks {
		w.no(l.Name, "encrypted volumes: %s", l.Name)
	}
	for _, f := range c.Storage.Filesystems {
		w.no(f.Device, "filesystems: %s", f.Device)
	}
	for _, a := range append(slices.Clone(c.KernelArguments.ShouldExist), c.KernelArguments.ShouldNotExist...) {
		w.no(string(a), "kernel arguments: %s", a)
	}
	for _, d := range c.Storage.Directories {
		w.no(d.Path, "directories with modes and owners: %s (those of a file are made with it)", d.Path)
	}
	for _, s := range w.out.Scripts {
		w.problems.Add(s.Line, cloudinit.Error, "cloud-config has no words for a script: give it beside the cloud-config, as MIME multipart")
	}
}

func (w *writer) users() {
	for _, u := range w.out.Config.Passwd.Users {
		if u.ShouldExist != nil && !*u.ShouldExist {
			w.no(u.Name, "removing a user: %s", u.Name)
			continue
		}
		if !slices.Contains(w.out.KeepUsers, u.Name) {
			w.problems.Add(cloudinit.LineOf(w.source, u.Name), cloudinit.Warning, "in cloud-config, a user %s that exists gets only the password and the keys", u.Name)
		}
		entry := docUser{
			Name: scalar(u.Name), UID: u.UID, Passwd: optional(u.PasswordHash), Gecos: optional(u.Gecos), Homedir: optional(u.HomeDir),
			PrimaryGroup: optional(u.PrimaryGroup), Shell: optional(u.Shell),
			NoCreateHome: isTrue(u.NoCreateHome), NoUserGroup: isTrue(u.NoUserGroup), System: isTrue(u.System), NoLogInit: isTrue(u.NoLogInit),
		}
		w.imports(&entry, u.Name)
		for _, k := range u.SSHAuthorizedKeys {
			entry.Keys = append(entry.Keys, scalar(k))
		}
		for _, g := range u.Groups {
			entry.Groups = append(entry.Groups, scalar(g))
		}
		w.doc.Users = append(w.doc.Users, entry)
	}
	for _, g := range w.out.Config.Passwd.Groups {
		if g.Gid != nil || g.PasswordHash != nil || g.System != nil || g.ShouldExist != nil && !*g.ShouldExist {
			w.no(g.Name, "a group's ID, password or removal: %s", g.Name)
			continue
		}
		w.doc.Groups = append(w.doc.Groups, scalar(g.Name))
	}
}

// imports writes where more of a user's keys are.
func (w *writer) imports(entry *docUser, user string) {
	for _, i := range w.out.KeyImports {
		switch {
		case i.User != user:
		case i.GitHub != "":
			entry.GitHub = append(entry.GitHub, scalar(i.GitHub))
		case entry.KeysURL == "":
			entry.KeysURL = scalar(i.URL)
		default:
			w.problems.Add(i.Line, cloudinit.Error, "cloud-config has no words for keys of %s from two URLs: %s", user, i.URL)
		}
	}
}

func (w *writer) files() {
	w.doc.Hostname = scalar(w.out.Hostname)
	if w.out.EtcHosts {
		w.doc.ManageEtcHosts = "localhost"
	}
	for _, f := range w.out.Config.Storage.Files {
		if f.Path == "/etc/hostname" && w.out.Hostname != "" {
			if content, err := cloudinit.Inline(f.Contents); err != nil || string(content) != w.out.Hostname+"\n" || len(f.Append) > 0 {
				w.no(f.Path, "a hostname, %s, that %s doesn't say", w.out.Hostname, f.Path)
			}
			continue
		}
		if w.out.RestartNetworkd && w.networkFile(f) {
			continue
		}
		w.file(f)
	}
}

// file writes a file's contents, and each that is appended, as an entry.
func (w *writer) file(f types.File) {
	entry := docFile{Path: scalar(f.Path), Owner: scalar(owner(f.Node))}
	if f.Mode != nil {
		entry.Permissions = fmt.Sprintf("%#o", *f.Mode)
	}
	if f.Contents.Source != nil {
		w.content(&entry, f.Path, f.Contents)
		w.doc.WriteFiles = append(w.doc.WriteFiles, entry)
		entry = docFile{Path: entry.Path}
	} else if len(f.Append) == 0 {
		w.no(f.Path, "a file that only has its mode or owner set: %s", f.Path)
	}
	for _, a := range f.Append {
		entry.Append = true
		w.content(&entry, f.Path, a)
		w.doc.WriteFiles = append(w.doc.WriteFiles, entry)
		entry = docFile{Path: entry.Path}
	}
}

func (w *writer) content(entry *docFile, path string, res types.Resource) {
	switch {
	case res.Source == nil:
		w.no(path, "contents without a source: %s", path)
	case res.Verification.Hash != nil:
		w.no(path, "a checksum of contents: %s", path)
	case strings.HasPrefix(*res.Source, "data:"):
		data, err := cloudinit.Inline(res)
		if err != nil {
			w.no(path, "these contents of %s: %v", path, err)
			return
		}
		if entry.Content = scalar(data); !printable(string(data)) {
			entry.Encoding, entry.Content = "base64", scalar(base64.StdEncoding.EncodeToString(data))
		}
	case res.Compression != nil && *res.Compression != "":
		w.no(path, "compressed contents that are fetched: %s", path)
	default:
		entry.Source = &docSource{URI: scalar(*res.Source)}
		for _, h := range res.HTTPHeaders {
			if _, twice := entry.Source.Headers[h.Name]; twice || h.Value == nil {
				w.no(path, "a header %s without or with two values: %s", h.Name, path)
				continue
			}
			if entry.Source.Headers == nil {
				entry.Source.Headers = map[string]scalar{}
			}
			entry.Source.Headers[h.Name] = scalar(*h.Value)
		}
	}
}

// merges writes what is set in files in place, and the commands, of which an
// update's come last by themselves.
func (w *writer) merges() {
	commands := w.out.Commands
	for _, m := range w.out.Merges {
		switch m.Path {
		case "/etc/environment": // the host's addresses, which it finds itself
		case "/etc/coreos/update.conf":
			var update docUpdate
			into := map[string]*scalar{"GROUP": &update.Group, "REBOOT_STRATEGY": &update.RebootStrategy, "SERVER": &update.Server}
			for _, s := range m.Set {
				if into[s.Key] == nil {
					w.no(s.Key, "%s in %s", s.Key, m.Path)
					continue
				}
				*into[s.Key] = scalar(s.Value)
			}
			alone, _ := cloudinit.Translate((&document{CoreOS: &docCoreOS{Update: &update}}).yaml(), cloudinit.Options{})
			own := len(commands) - len(alone.Commands)
			if own < 0 || !slices.EqualFunc(commands[own:], alone.Commands, func(a, b cloudinit.Command) bool { return a.Unit == b.Unit && a.Verb == b.Verb }) {
				w.no("update", "commands after those of coreos.update")
				continue
			}
			commands = commands[:own]
			w.doc.coreos().Update = &update
		default:
			w.no(m.Path, "setting variables in %s", m.Path)
		}
	}
	for _, c := range commands {
		w.doc.coreos().Units = append(w.doc.coreos().Units, docUnit{Name: scalar(c.Unit), Command: scalar(c.Verb)})
	}
}

func owner(n types.Node) string {
	user, group := idAndName(n.User.ID, n.User.Name), idAndName(n.Group.ID, n.Group.Name)
	if group != "" {
		group = ":" + group
	}
	return user + group
}

func idAndName(id *int, name *string) string {
	if id != nil {
		return strconv.Itoa(*id)
	}
	return string(optional(name))
}

func optional(s *string) scalar {
	if s == nil {
		return ""
	}
	return scalar(*s)
}

func isTrue(b *bool) bool { return b != nil && *b }
