package cloudconfig

import (
	"path"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/fleet-project/fleet/cloudinit"
)

// units writes what a result says of units: Ignition's, and those of this boot,
// which are files, links and names of units.
func (w *writer) units() {
	for _, u := range w.out.Config.Systemd.Units {
		w.unit(u)
	}
	for _, l := range w.out.Config.Storage.Links {
		dir, name := path.Split(l.Path)
		if !unitDirs[dir] || l.Target == nil || *l.Target != "/dev/null" || isTrue(l.Hard) {
			w.no(l.Path, "links: %s", l.Path)
			continue
		}
		w.entry(name, dir).Mask = true
	}
	for _, name := range w.out.EnableRuntime {
		w.entry(name, runUnits).Enable = true
	}
	for _, p := range w.out.Unmask {
		dir, name := path.Split(p)
		switch {
		case slices.Contains(builtIn, p): // always unmasked
		case strings.HasPrefix(dir, "/run/") && unitDirs[dir]:
			w.entry(name, dir)
		default:
			w.no(p, "lifting the mask of %s", p)
		}
	}
	w.networkd()
}

// Where units' files are.
const (
	etcUnits, runUnits     = "/etc/systemd/system/", "/run/systemd/system/"
	etcNetwork, runNetwork = "/etc/systemd/network/", "/run/systemd/network/"
)

var unitDirs = map[string]bool{etcUnits: true, runUnits: true, etcNetwork: true, runNetwork: true}

// builtIn are the units that a cloud-config is about whatever it says.
var builtIn = []string{runUnits + "etcd.service", runUnits + "etcd2.service", runUnits + "fleet.service", runUnits + "locksmithd.service"}

// entry is a unit's, in the list for good; the next call may move it.
func (w *writer) entry(name, dir string) *docUnit {
	units, runtime := &w.doc.coreos().Units, strings.HasPrefix(dir, "/run/")
	i := slices.IndexFunc(*units, func(u docUnit) bool { return string(u.Name) == name && u.Runtime == runtime })
	if i < 0 {
		i = len(*units)
		*units = append(*units, docUnit{Name: scalar(name), Runtime: runtime})
	}
	return &(*units)[i]
}

func isNetwork(name string) bool {
	switch path.Ext(name) {
	case ".network", ".netdev", ".link":
		return true
	}
	return false
}

func (w *writer) unit(u types.Unit) {
	switch {
	case u.Enabled != nil && !*u.Enabled:
		w.no(u.Name, "a unit that is disabled: %s", u.Name)
	case u.Mask != nil && !*u.Mask:
		w.no(u.Name, "lifting the mask of %s", u.Name)
	case isTrue(u.Mask) && u.Contents != nil:
		w.no(u.Name, "a masked unit's contents: %s", u.Name)
	case u.Contents != nil && *u.Contents == "":
		w.no(u.Name, "an empty unit file: %s", u.Name)
	}
	entry := docUnit{Name: scalar(u.Name), Mask: isTrue(u.Mask), Enable: isTrue(u.Enabled), Content: optional(u.Contents)}
	for _, d := range u.Dropins {
		if optional(d.Contents) == "" {
			w.no(d.Name, "an empty drop-in: %s of %s", d.Name, u.Name)
			continue
		}
		entry.DropIns = append(entry.DropIns, docDropIn{scalar(d.Name), optional(d.Contents)})
	}
	w.doc.coreos().Units = append(w.doc.coreos().Units, entry)
}

// networkFile writes a file of networkd's as a unit, if it is one as this
// package makes them.
func (w *writer) networkFile(f types.File) bool {
	dir, name := path.Split(f.Path)
	content, err := cloudinit.Inline(f.Contents)
	if dir != etcNetwork && dir != runNetwork || !isNetwork(name) || err != nil || len(content) == 0 || len(f.Append) > 0 ||
		f.Mode == nil || *f.Mode != 0o644 || owner(f.Node) != "" || f.Contents.Verification.Hash != nil {
		return false
	}
	w.entry(name, dir).Content = scalar(content)
	return true
}

// networkd has the restart of networkd said by a unit of its, if none is there
// yet: its drop-ins are files like others.
func (w *writer) networkd() {
	ofNetwork := func(u docUnit) bool { return isNetwork(string(u.Name)) }
	if !w.out.RestartNetworkd || w.doc.CoreOS != nil && slices.ContainsFunc(w.doc.CoreOS.Units, ofNetwork) {
		return
	}
	for _, f := range w.out.Config.Storage.Files {
		dir, name := path.Split(strings.TrimSuffix(path.Dir(f.Path), ".d"))
		if (dir == etcNetwork || dir == runNetwork) && isNetwork(name) {
			w.entry(name, etcNetwork)
			return
		}
	}
	w.no("network", "a restart of systemd-networkd alone")
}
