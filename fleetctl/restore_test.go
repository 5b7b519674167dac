package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/fleetctl/backup"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const machine1 = "11111111111111111111111111111111"

// frail is a fleetd that stores what it is sent until it fails.
type frail struct {
	mu       sync.Mutex
	machines []api.MachineOverrides
	units    map[unit.Name]api.Unit
	takes    int // so many units more; negative: any number
	fails    int // with this status from then on
}

func (f *frail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	refuse := func(code int) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":"the disk is full"}}`, code)
	}
	switch {
	case r.URL.Path == "/fleet/v1/backup":
		b := api.Backup{Cluster: "frail", Units: []api.BackupUnit{}, Machines: f.machines}
		for _, name := range slices.Sorted(maps.Keys(f.units)) {
			u := f.units[name]
			h := unit.HashOf([]byte(u.Text))
			b.Units = append(b.Units, api.BackupUnit{Name: name, DesiredState: u.DesiredState, Hash: h})
			b.Files = append(b.Files, api.BackupFile{Hash: h, Text: u.Text})
		}
		_ = json.NewEncoder(w).Encode(b)
	case f.takes == 0:
		refuse(f.fails)
	case r.Method == http.MethodPatch:
		var ops []struct{ Value api.MachineOverrides }
		_ = json.NewDecoder(r.Body).Decode(&ops)
		for _, op := range ops {
			f.machines = append(f.machines, op.Value)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		f.takes--
		var u api.Unit
		_ = json.NewDecoder(r.Body).Decode(&u)
		f.units[u.Name] = u
		w.WriteHeader(http.StatusCreated)
	}
}

// runFleetctl runs a command in this process.
func runFleetctl(stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	c := &cli{stdin: stdin, stdout: &out, stderr: &errs}
	code = c.run(args)
	return code, out.String(), errs.String()
}

func backupOf(t *testing.T, n int) string {
	t.Helper()
	f := &backup.File{Format: backup.Format, Cluster: "c", Machines: []backup.Machine{{ID: machine1, Cordoned: true}}}
	for i := range n {
		f.Units = append(f.Units, backup.Unit{
			Name: unit.Name(fmt.Sprintf("u%03d.service", i)), Target: unit.TargetLaunched, Text: fmt.Appendf(nil, "[Service]\nExecStart=/bin/u%d\n", i),
		})
	}
	path := filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(path, f.YAML(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A restore that fails half-way says of each change whether it was made; the same
// command again makes those that are left, and no other.
func TestRestoreGoesOnWhereItFailed(t *testing.T) {
	for name, status := range map[string]int{"refused": http.StatusBadRequest, "broken": http.StatusInternalServerError} {
		t.Run(name, func(t *testing.T) {
			f := &frail{units: map[unit.Name]api.Unit{}, takes: 130, fails: status}
			s := httptest.NewServer(f)
			defer s.Close()
			path := backupOf(t, 300)
			code, stdout, stderr := runFleetctl(strings.NewReader(""), "--endpoint", s.URL, "restore", "--yes", path)
			made := strings.Count(stdout, ": created\n")
			wasNot := strings.Count(stderr, "NOT created: the disk is full\n")
			if perhaps := strings.Count(stderr, "perhaps NOT created"); perhaps > 0 != (status >= 500) || perhaps > 0 && perhaps != wasNot {
				t.Errorf("%d of %d may have been made:\n%s", perhaps, wasNot, stderr)
			}
			untried := strings.Count(stderr, ": not created yet\n")
			if code != exitFailed || made != 130 || len(f.units) != 130 || made+wasNot+untried != 300 || wasNot == 0 {
				t.Errorf("exit %d; %d made of %d stored, %d failed, %d untried", code, made, len(f.units), wasNot, untried)
			}
			if status >= 500 && untried == 0 {
				t.Error("a fleetd that is broken was asked for all")
			}
			if want := fmt.Sprintf("131 of 301 changes were made, %d failed and %d were not tried. Run the same", wasNot, untried); !strings.Contains(stderr, want) {
				t.Errorf("%q is not in:\n%s", want, stderr)
			}
			for unit := range f.units {
				if !strings.Contains(stdout, fmt.Sprintf("unit %s: created\n", unit)) {
					t.Errorf("%s was made, and that isn't said", unit)
				}
			}
			f.takes = -1
			code, stdout, stderr = runFleetctl(strings.NewReader(""), "--endpoint", s.URL, "restore", "--yes", path)
			if code != 0 || strings.Count(stdout, ": created\n") != 170 || len(f.units) != 300 || strings.Contains(stdout, "machine "+machine1) {
				t.Errorf("again: exit %d, %d made: %s", code, strings.Count(stdout, ": created\n"), stderr)
			}
		})
	}
}

// An older fleetd gives no backup, and is not taken for an empty cluster.
func TestBackupOfAnOlderFleetd(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":{"code":404,"message":"no such path"}}`)
	}))
	defer s.Close()
	code, stdout, stderr := runFleetctl(strings.NewReader(""), "--endpoint", s.URL, "backup")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "gives no backup yet: upgrade it") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

// terminal gives both ends of one.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// On a terminal a person is asked, and only a yes changes anything; and only what
// was shown.
func TestRestoreAsks(t *testing.T) {
	for name, tc := range map[string]struct {
		answer    string
		meanwhile unit.Name // that somebody else creates
		code      int
		says      string
		units     int
	}{
		"yes":                      {"yes\n", "", 0, "", 2},
		"no":                       {"no\n", "", exitFailed, "Nothing was changed.\n", 0},
		"nothing":                  {"\n", "", exitFailed, "Nothing was changed.\n", 0},
		"yes, to what it was then": {"yes\n", "u001.service", exitFailed, "the cluster has changed meanwhile", 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := servertest.New(t)
			endpoint := c.Serve(t, server.Options{})
			person, program := terminal(t)
			asked, question := io.Pipe()
			var said bytes.Buffer
			var answering sync.WaitGroup
			answering.Go(func() {
				r := bufio.NewReader(io.TeeReader(asked, &said))
				if _, err := r.ReadString('?'); err != nil {
					t.Errorf("was not asked: %v", err)
				}
				if tc.meanwhile != "" {
					if _, _, err := c.SubmitUnit(t.Context(), tc.meanwhile, []byte("[Unit]\nDescription=a\n"), unit.TargetInactive); err != nil {
						t.Error(err)
					}
				}
				io.WriteString(person, tc.answer)
				_, _ = io.Copy(io.Discard, r)
			})
			var out bytes.Buffer
			cl := &cli{stdin: program, stdout: &out, stderr: question}
			code := cl.run([]string{"--endpoint", endpoint, "restore", backupOf(t, 2)})
			question.Close()
			answering.Wait()
			if code != tc.code || !strings.Contains(said.String(), tc.says) || len(c.View().Units) != tc.units {
				t.Errorf("exit %d with %d units: %s", code, len(c.View().Units), said.String())
			}
		})
	}
}

// Whatever a cluster was told, and whatever it is told later: a restore with
// --prune makes it what it was, and touches nothing that is so already.
func TestRestoreMakesTheClusterWhatItWas(t *testing.T) {
	machines := []machine.ID{"11111111111111111111111111111111", "22222222222222222222222222222222"}
	names := []unit.Name{"a.service", "b@.service", "b@1.service", "c.timer", `d\x2de.service`}
	texts := []string{"[Unit]\nDescription=one\n", "[Unit]\r\nDescription=two\r\n", "[Unit]\nDescription=three \t\n\n", " [Unit]\n#\u2028\nDescription=four"}
	rapid.Check(t, func(rt *rapid.T) {
		c := servertest.New(t)
		endpoint := c.Serve(t, server.Options{})
		live := func() {
			for range rapid.IntRange(0, 8).Draw(rt, "changes") {
				name := rapid.SampledFrom(names).Draw(rt, "name")
				id := rapid.SampledFrom(machines).Draw(rt, "machine")
				target := rapid.SampledFrom([]unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched}).Draw(rt, "target")
				if name.IsTemplate() {
					target = unit.TargetInactive
				}
				var err error
				switch rapid.SampledFrom([]string{"submit", "submit", "destroy", "say"}).Draw(rt, "what") {
				case "submit":
					_, _, err = c.SubmitUnit(context.Background(), name, []byte(rapid.SampledFrom(texts).Draw(rt, "text")), target)
				case "destroy":
					_, err = c.DestroyUnit(context.Background(), name)
				case "say":
					_, err = c.UpdateOverrides(context.Background(), []machine.ID{id}, func(_ machine.ID, o *record.Overrides) error {
						o.Cordoned = rapid.Bool().Draw(rt, "cordoned")
						o.Metadata = rapid.MapOfN(rapid.StringMatching("[a-z]{1,3}"), rapid.StringMatching("[a-z]{1,3}"), 0, 2).Draw(rt, "metadata")
						o.Removed = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"disk", "region"}), 0, 2, rapid.ID).Draw(rt, "removed")
						return nil
					})
				}
				if err != nil && !strings.Contains(err.Error(), "not found") {
					rt.Fatal(err)
				}
			}
		}
		path := filepath.Join(t.TempDir(), "b.yaml")
		do := func(args ...string) string {
			code, stdout, stderr := runFleetctl(strings.NewReader(""), append([]string{"--endpoint", endpoint}, args...)...)
			if code != 0 {
				rt.Fatalf("%v: exit %d: %s%s", args, code, stdout, stderr)
			}
			return stdout
		}
		live()
		do("backup", path)
		was := c.View()
		live()
		before := c.View()
		do("restore", "--yes", "--prune", path)
		if out := do("restore", "--dry-run", "--prune", path); !strings.HasPrefix(out, "0 to change") {
			rt.Fatalf("still to do: %s", out)
		}
		again := filepath.Join(t.TempDir(), "b.yaml")
		do("backup", again)
		if out := do("backup", path); !strings.Contains(out, "has that already") {
			rt.Fatalf("the state is another one: %s", out)
		}
		for name, u := range c.View().Units {
			if b, there := before.Units[name]; there && b.File == was.Units[name].File && b.Target == was.Units[name].Target && !b.Equal(u) {
				rt.Fatalf("%s was touched: %s", name, cmp.Diff(b, u))
			}
		}
	})
}

// Time goes into the file as it is read, and nothing of this process' zone.
func TestBackupsTimeIsUTC(t *testing.T) {
	c := servertest.New(t)
	cl := &cli{stdout: io.Discard, stderr: io.Discard, flags: globalFlags{endpoint: c.Serve(t, server.Options{}), requestTimeout: 5}}
	defer cl.close()
	f, _, err := cl.takeBackup(t.Context())
	if err != nil || f.Taken.Location() != time.UTC || f.Taken.Nanosecond() != 0 {
		t.Errorf("%v, %v", f, err)
	}
}
