package server

import (
	"net/http"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
)

func (s *Server) listMachines(w http.ResponseWriter, r *http.Request, _ string) error {
	if watch, err := wantsWatch(r); err != nil {
		return err
	} else if watch {
		return s.watchList(w, r, machineList, nil)
	}
	page, err := s.freshPage(r, machineList)
	if err != nil {
		return err
	}
	return s.answer(w, http.StatusOK, s.cache.machinePage(page))
}

func (c *cache) machinePage(page page) api.MachinePage {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := api.MachinePage{Machines: []api.Machine{}}
	for _, id := range after(c.machines, machine.ID(page.After)) {
		if len(out.Machines) == page.limit {
			out.NextPageToken = cursor{After: out.Machines[len(out.Machines)-1].ID}.token(machineList)
			break
		}
		out.Machines = append(out.Machines, c.machineWire(id))
	}
	return out
}

// machineWire is a machine as the API shows it: with the operator's words over
// its own. The cache's lock must be held.
func (c *cache) machineWire(id machine.ID) api.Machine {
	m, words := c.view.Machines[id], c.view.Overrides[id]
	return api.Machine{
		ID: string(id), PrimaryIP: m.IP, Metadata: words.Apply(m.Metadata), Hostname: m.Hostname,
		Version: m.Version, Cordoned: words.Cordoned, Leaving: m.Leaving,
		Manager: &api.Manager{Scope: m.Manager.Scope, Systemctl: m.Manager.Systemctl, Journalctl: m.Manager.Journalctl},
	}
}
