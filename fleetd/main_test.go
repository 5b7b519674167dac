package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/registry/record"
)

func TestSingleDashFlags(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"-config /a":                         "--config /a",
		"-config=/a":                         "--config=/a",
		"--config /a -version":               "--config /a --version",
		"-h":                                 "-h",
		"dev -v --listen unix:///x":          "dev -v --listen unix:///x",
		"etcd -name x":                       "etcd -name x",
		"cloudinit -validate -from-file=x":   "cloudinit --validate --from-file=x",
		"cloudinit -from-file x -validate":   "cloudinit --from-file x --validate",
		"cloudinit -oem gce -o json -o=json": "cloudinit --oem gce -o json -o=json",
		"cloudinit -validate -- -x":          "cloudinit --validate -- -x",
		"cloudinit -validate a -strict b":    "cloudinit --validate a --strict b",
		"cloudinit -from-file - -diff":       "cloudinit --from-file - --diff",
		"-config /a etcd -name x":            "--config /a etcd -name x",
		"-config=/a etcd -data-dir /var":     "--config=/a etcd -data-dir /var",
	} {
		if got := doubleDashes(strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// A link to fleetd that is called as coreos-cloudinit was is fleetd cloudinit.
func TestLinkNamedAsCoreOSCloudinit(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/coreos-cloudinit -oem=gce":  "cloudinit --oem=gce",
		"flatcar-cloudinit --from-url x":      "cloudinit --from-url x",
		"/usr/bin/fleetd cloudinit -validate": "cloudinit --validate",
		"/usr/bin/fleetd":                     "",
	} {
		if got := arguments(strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestKnownClusterIsReadUntilThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cluster")
	known := knownCluster(filepath.Join(dir, "units"))
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		text string
		want record.ClusterID
	}{{"", ""}, {"{", ""}, {`{"id":"a","schema":"1.0.0"}`, "a"}, {`{"id":"b"}`, "a"}} {
		if step.text != "" {
			write(step.text)
		}
		if got := known(); got != step.want {
			t.Errorf("after %q: %q", step.text, got)
		}
	}
}

func TestLockFileHoldsOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(path, "fleetd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(path, "fleetd"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a second one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFile(path, "fleetd")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "fleet.sock")
	l, err := listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "answers there already") {
		t.Errorf("a second one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what a killed one leaves
		t.Fatal(err)
	}
	if l, err = listen("unix://" + path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, bad := range []string{"unix://relative", "tcp://:1", "/path", ""} {
		if _, err := listen(bad); err == nil || !strings.Contains(err.Error(), "unix:///PATH") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
