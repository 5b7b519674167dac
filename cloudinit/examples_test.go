package cloudinit

import (
	"os"
	"path/filepath"
	"regexp"
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

// inExample finds a unit's text in a Butane file: all that is indented below.
func inExample(name string) *regexp.Regexp {
	return regexp.MustCompile("(    - name: " + regexp.QuoteMeta(name) + "\n      enabled: true\n      contents: \\|\n)(?:        .*\n|\n)+")
}

// Fedora CoreOS' units are the package's, but for where its binaries are.
func TestExampleForFedoraHasThePackagesUnits(t *testing.T) {
	const file = "../examples/butane/fcos.bu"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	current := string(text)
	for _, name := range []string{"etcd2.service", "fleet.service", "fleet.socket"} {
		shipped, err := os.ReadFile("../dist/" + name)
		if err != nil {
			t.Fatal(err)
		}
		lines := "        " + strings.ReplaceAll(strings.TrimSuffix(string(shipped), "\n"), "\n", "\n        ") + "\n"
		lines = strings.ReplaceAll(strings.ReplaceAll(lines, "        \n", "\n"), "/usr/bin/", "/usr/local/bin/")
		found := inExample(name).FindStringSubmatch(current)
		if found == nil {
			t.Fatalf("%s has no %s", file, name)
		}
		current = strings.Replace(current, found[0], found[1]+lines, 1)
	}
	if *update {
		if err := os.WriteFile(file, []byte(current), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if current != string(text) {
		t.Errorf("%s has other units than dist/: go test ./cloudinit -run TestExample -update writes them anew", file)
	}
}
