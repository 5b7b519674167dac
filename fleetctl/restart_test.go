package main

import (
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// What a machine is to do alone is judged by that machine: by its own count, and
// whatever others do or say.
func TestAloneOn(t *testing.T) {
	here := api.Machine{ID: "11111111", PrimaryIP: "10.0.0.1"}
	status := func(change func(*api.UnitStatus)) api.UnitStatus {
		s := api.UnitStatus{
			Unit: "a.service", Exists: true, DesiredState: unit.TargetLaunched, Restart: 3, RestartOn: map[string]uint64{"11111111": 5, "22222222": 4},
			Placements: []api.Placement{
				{MachineID: "11111111", PrimaryIP: "10.0.0.1", Target: unit.TargetLaunched, Restart: 5},
				{MachineID: "22222222", Target: unit.TargetLaunched, Restart: 3},
			},
			States: []api.MachineState{
				{MachineID: "11111111", PrimaryIP: "10.0.0.1", Target: unit.TargetLaunched, Restart: 5, SystemdState: unit.SystemdState{Active: "active", Sub: "running"}},
				{MachineID: "22222222", Target: unit.TargetLaunched, Restart: 3, SystemdState: unit.SystemdState{Active: "failed", Sub: "failed"}},
			},
		}
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name    string
		change  func(*api.UnitStatus)
		done    bool
		failed  string
		waiting string
	}{
		{"it runs, though another has failed", func(*api.UnitStatus) {}, true, "", ""},
		{"the count isn't seen yet", func(s *api.UnitStatus) { s.RestartOn = map[string]uint64{"22222222": 5} }, false, "", "the change to be seen"},
		{"the engine hasn't told it", func(s *api.UnitStatus) { s.Placements[0].Restart = 3 }, false, "", "the engine to tell 11111111/10.0.0.1"},
		{"it hasn't done it", func(s *api.UnitStatus) { s.States[0].Restart = 3 }, false, "", "11111111/10.0.0.1 to take it up"},
		{"a restart everywhere came after", func(s *api.UnitStatus) {
			s.Restart, s.RestartOn, s.Placements[0].Restart, s.States[0].Restart = 6, nil, 6, 6
		}, true, "", ""},
		{"it moves away", func(s *api.UnitStatus) { s.Placements[0].Target = unit.TargetNone }, true, "it is not to run there any more", ""},
		{"it has moved away, and its count is forgotten", func(s *api.UnitStatus) { s.Placements, s.States, s.RestartOn = s.Placements[1:], s.States[1:], nil },
			true, "it is not to run there any more", ""},
		{"it is destroyed", func(s *api.UnitStatus) { *s = api.UnitStatus{Unit: "a.service"} }, true, "it was destroyed", ""},
		{"it is stopped", func(s *api.UnitStatus) { s.DesiredState = unit.TargetLoaded }, false, "", "the change to be seen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := status(tt.change)
			n := len(s.Placements)
			o := aloneOn(s, here, 5)
			if o.done != tt.done || o.failed != tt.failed || !o.done && o.waiting != tt.waiting {
				t.Errorf("%+v", o)
			}
			if len(s.Placements) != n {
				t.Error("it changed what it was given")
			}
		})
	}
}
