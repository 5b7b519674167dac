package agent

import (
	"bytes"
	"context"
	"os"
	"path/filepath"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// inherit takes over what a fleet 1.0 that was killed has left on this host: its
// unit files, which lie in the directory of our records under the units' own
// names, and to which systemd has links. A unit that runs counts as launched.
// Nothing is done to it: its state is told, and as soon as the cluster knows a
// unit of that name, the engine keeps it where it is. have are the records that
// there are.
func (a *Agent) inherit(ctx context.Context, have []Record) []Record {
	entries, err := os.ReadDir(a.opts.Dir)
	if err != nil || a.opts.Registry == nil { // nothing there, or only guarding
		return nil
	}
	known := map[unit.Name]bool{}
	for _, r := range have {
		known[r.Name] = true
	}
	var found []Record
	var names []unit.Name
	for _, e := range entries {
		name, err := unit.ParseName(e.Name())
		if err != nil || known[name] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(a.opts.Dir, e.Name()))
		if err != nil {
			continue
		}
		if linked, err := a.sys.Text(name); err != nil || !bytes.Equal(text, linked) {
			continue // it was taken away, or is the host's by now
		}
		r := Record{Name: name, Boot: a.boot, Disk: unit.HashOf(text), Done: record.Spec{Target: unit.TargetLoaded, File: unit.HashOf(text)}}
		if f, err := unit.Parse(text); err == nil {
			r.Enabled = f.HasInstall()
		}
		found, names = append(found, r), append(names, name)
	}
	if len(found) == 0 {
		return nil
	}
	states, err := a.sys.States(ctx, names)
	if err != nil {
		a.log.WithError(err).Error("can't ask systemd how the units are that fleet 1.0 has left here: restart fleetd to have it take them over")
		return nil
	}
	for i := range found {
		if s := states[found[i].Name]; s.Active != "inactive" {
			found[i].Done.Target = unit.TargetLaunched
		}
		if err := a.records.Save(&found[i]); err != nil {
			a.log.WithError(err).Error("can't write down what fleet 1.0 has left")
		}
	}
	a.log.Infof("took over %d units that fleet 1.0 has left on this host; they run on, and the cluster has them as soon as they are submitted to it", len(found))
	return found
}
