package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fleet-project/fleet/manual"
)

// reference is what the reference says besides the commands themselves.
func reference() manual.Manual {
	root := (&cli{}).rootCommand()
	root.InitDefaultHelpCmd()
	return manual.Manual{
		Root: root, Section: 1,
		Exit: []manual.Term{
			{Term: "0", Means: "Done, or there was nothing to do."},
			{Term: "1", Means: "Refused, failed, or not waited for any longer; or fleetd can't be reached. Standard error says why."},
			{Term: "2", Means: "Wrong usage: there is no such command or flag, or a flag's value makes no sense."},
			{Term: "130", Means: "Interrupted (^C)."},
		},
		Topics: []manual.Topic{
			{
				Title: "Units",
				Text: `A UNIT is a unit's name, or the path of its file, whose last part is the name. A name
without a type is a service's: 'web' is 'web.service'. A unit that isn't in the cluster
is looked for as a local file of that name, then as an instance (web@1) of a template
(web@.service) in the cluster, then of a local template file. A quoted pattern
('web@*') means all units of the cluster that it matches.

Beginnings of a command's name will do where there is no other that begins so:

    fleetctl list-m`,
			},
			{
				Title: "Environment",
				Text: `Each global flag can be set in the environment: --endpoint as FLEETCTL_ENDPOINT,
--request-timeout as FLEETCTL_REQUEST_TIMEOUT, and so on. The command line wins, and
an empty variable is none.`,
				Terms: []manual.Term{
					{Term: "SSH_AUTH_SOCK", Means: "The SSH agent that has the keys for status, journal, ssh and --tunnel."},
					{Term: "XDG_RUNTIME_DIR", Means: "Where a user's own fleetd (fleetd dev) has its socket, which is used unless --endpoint says otherwise."},
				},
			},
			{
				Title: "Files",
				Terms: []manual.Term{
					{Term: "/var/run/fleet.sock", Means: "The socket on which this host's fleetd listens."},
					{Term: "~/.fleetctl/known_hosts", Means: "The hosts' SSH keys, in OpenSSH's format."},
					{Term: "/etc/machine-id", Means: "Says which of the cluster's machines this host is: what is on it needs no SSH."},
				},
			},
		},
		SeeAlso: []string{"fleetd(8)", "systemctl(1)", "systemd.unit(5)"},
	}
}

// The reference, the man pages and the completion scripts are what the program
// is. With -update (make docs) they are written anew.
func TestReferenceIsCurrent(t *testing.T) {
	files := map[string][]byte{"docs/fleetctl.md": []byte(reference().Markdown())}
	for name, page := range reference().Pages() {
		files["dist/man/"+name] = []byte(page)
	}
	for shell, path := range map[string]string{"bash": "bash/fleetctl", "zsh": "zsh/_fleetctl", "fish": "fish/fleetctl.fish"} {
		var script bytes.Buffer
		if err := shells[shell]((&cli{}).rootCommand(), &script); err != nil {
			t.Fatal(err)
		}
		files["dist/completions/"+path] = script.Bytes()
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		path, want := filepath.Join("..", path), files[path]
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what fleetctl is now (%v): run make docs", path, err)
		}
	}
	there, err := filepath.Glob("../dist/man/fleetctl*.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if files["dist/man/"+filepath.Base(path)] != nil {
			continue
		}
		if *update {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Errorf("%s is of a command that isn't there any more: run make docs", path)
	}
}

// Every command says what it does and shows how.
func TestEveryCommandIsExplained(t *testing.T) {
	for _, c := range reference().Root.Commands() {
		if c.IsAvailableCommand() && (c.Short == "" || c.Long == "" || c.Example == "") {
			t.Errorf("%s has no short or no long text, or no example", c.CommandPath())
		}
	}
}
