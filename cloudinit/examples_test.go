package cloudinit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What examples/ has for people to boot their hosts with is right to the word.
func TestExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob("../examples/butane/*.bu")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d Butane files, %v", len(files), err)
	}
	for _, file := range append(files, "../examples/cloud-config.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, problems := Translate(text, Options{Check: true})
		if said := problems.InFile(file); said != "" {
			t.Error(said)
		}
		units := map[string]bool{}
		for _, u := range out.Config.Systemd.Units {
			units[u.Name] = true
		}
		for _, c := range out.Commands {
			units[c.Unit] = true
		}
		if !units["etcd2.service"] || !units["fleet.service"] {
			t.Errorf("%s has the units %v", file, units)
		}
	}
}

// Fedora CoreOS' units are the package's, but for where its binaries are.
func TestExampleForFedoraHasThePackagesUnits(t *testing.T) {
	text, err := os.ReadFile("../examples/butane/fcos.bu")
	if err != nil {
		t.Fatal(err)
	}
	out, problems := Translate(text, Options{Check: true})
	if problems.Failed() {
		t.Fatal(problems.InFile("fcos.bu"))
	}
	for _, u := range out.Config.Systemd.Units {
		shipped, err := os.ReadFile("../dist/" + u.Name)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(string(shipped), "/usr/bin/", "/usr/local/bin/")
		if u.Contents == nil || *u.Contents != want {
			t.Errorf("%s isn't as in dist/, with /usr/local/bin: %v", u.Name, u.Contents)
		}
	}
}
