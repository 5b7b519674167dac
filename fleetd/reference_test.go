package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/fleet-project/fleet/manual"
)

var update = flag.Bool("update", false, "write the man pages anew")

// The man pages are what the program is. With -update (make docs) they are
// written anew.
func TestManPagesAreCurrent(t *testing.T) {
	root := rootCommand()
	root.InitDefaultHelpCmd()
	m := manual.Manual{
		Root: root, Section: 8,
		Exit: []manual.Term{
			{Term: "0", Means: "Ended as it was told to."},
			{Term: "1", Means: "Failed. Standard error, or the journal, says why."},
			{Term: "2", Means: "Wrong usage: there is no such command or flag, or a flag's value makes no sense."},
		},
		Topics: []manual.Topic{
			{
				Title: "Environment",
				Text: `Each key of fleet.conf can be set in the environment: public_ip as FLEET_PUBLIC_IP,
and so on. The environment wins over the file.`,
			},
			{
				Title: "Files",
				Terms: []manual.Term{
					{Term: "/etc/fleet/fleet.conf", Means: "The configuration; docs/configuration.md has all of its keys."},
					{Term: "/var/run/fleet.sock", Means: "The API's socket, unless systemd passes others (fleet.socket)."},
					{Term: "/run/fleet/units/", Means: "The files of the units that fleet runs here."},
				},
			},
		},
		SeeAlso: []string{"fleetctl(1)", "systemd.unit(5)"},
	}
	for name, page := range m.Pages() {
		path := filepath.Join("..", "dist", "man", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, []byte(page)) {
			t.Errorf("%s is not what fleetd is now (%v): run make docs", path, err)
		}
	}
}
