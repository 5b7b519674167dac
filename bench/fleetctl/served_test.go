package main

import (
	"path/filepath"
	"testing"

	"github.com/fleet-project/fleet/api"
)

// What is measured is a list of units that run, each with its machine's address:
// fleetctl asks nothing else then.
func TestServesWhatIsMeasured(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "fleet.sock")
	stop, err := stillCluster(units).serve(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	if took, err := inProcess(socket, 3); err != nil || len(took) != 3 {
		t.Fatal(took, err)
	}
	client, err := api.NewClient(api.ClientOptions{Endpoint: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	states, err := client.States(t.Context(), api.StateFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(states) != units {
		t.Errorf("%d states", len(states))
	}
	for _, s := range states {
		if s.SystemdSubState != "running" || s.PrimaryIP == "" {
			t.Errorf("%+v", s)
		}
	}
}
