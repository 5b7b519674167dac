package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFindEndpoint(t *testing.T) {
	with, without := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(with, "fleet.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Neither root's number nor one that /run/user has a directory of.
	const user = 61234
	owned := func(dir string) string {
		if err := os.Chown(dir, user, -1); err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		return dir
	}
	uid := user
	if os.Geteuid() != 0 {
		uid = os.Geteuid() // who can't give directories away
	}
	tests := []struct {
		name, dir string
		tunnel    string
		uid       int
		want      string
	}{
		{"the user's own fleetd dev", owned(with), "", uid, "unix://" + with + "/fleet.sock"},
		{"another host's fleetd", owned(with), "host", uid, defaultEndpoint},
		{"root has the host's", with, "", 0, defaultEndpoint},
		{"no fleetd dev", owned(without), "", uid, defaultEndpoint},
		{"another user's directory, as su leaves it", with, "", user + 1, defaultEndpoint},
		{"a directory that isn't there", without + "/nothing", "", user + 1, defaultEndpoint},
		{"no directory", "", "", user + 1, defaultEndpoint},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := findEndpoint(tt.tunnel, tt.uid, tt.dir); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// Every global flag can be set in the environment, and the command line wins.
func TestEnvironmentSetsEveryGlobalFlag(t *testing.T) {
	other := map[string]string{"bool": "false", "float64": "7.5", "string": "from-the-environment"}
	parse := func(args ...string) *pflag.FlagSet {
		c := &cli{stdout: io.Discard, stderr: io.Discard}
		root := c.rootCommand()
		root.SetArgs(append(args, "version"))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		return root.PersistentFlags()
	}
	n := 0
	(&cli{}).rootCommand().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		value := other[f.Value.Type()]
		if value == f.DefValue {
			value = "true"
		}
		n++
		t.Run(f.Name, func(t *testing.T) {
			t.Setenv("FLEETCTL_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")), value)
			if got := parse().Lookup(f.Name).Value.String(); got != value {
				t.Errorf("%s, want %s", got, value)
			}
			line := map[string]string{"bool": f.DefValue, "float64": "8", "string": "from-the-line"}[f.Value.Type()]
			if got := parse("--" + f.Name + "=" + line).Lookup(f.Name).Value.String(); got != line {
				t.Errorf("%s, want %s of the command line", got, line)
			}
		})
	})
	if n < 17 {
		t.Errorf("only %d global flags", n)
	}
}
