package functional

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// fleet1Units are the unit files that fleet 1.0's fleetctl is given.
var fleet1Units = map[string]string{
	"a.service":   "# a comment\n[Unit]\nDescription=hello\n\n[Service]\nExecStart=/bin/sh -c \"echo said by a; \\\n    exec sleep infinity\"\n",
	"t@.service":  "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nConflicts=%p@*.service\n",
	"g.service":   "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nGlobal=true\n",
	"bad.service": "[Service]\nExecStart=/bin/false\n",
}

// fleet1Step is a command of fleet 1.0's fleetctl that must say the same to
// either server.
type fleet1Step struct {
	args string
	// ready is what list-units must say before the command is run, for fleet 1.0
	// takes its time: a unit, and how it is, a line.
	ready string
	// here and there are what the command says (regular expressions) where the
	// two servers differ on purpose.
	here, there string
	// unplaced: where units are is not compared. fleet 1.0's fleetctl forgets to
	// say so now and then when it is given several, and its fleetd takes a while
	// to take a unit's place away.
	unplaced bool
}

var fleet1Session = []fleet1Step{
	{args: "list-machines --no-legend --fields machine,ip"},
	{args: "list-machines --full --fields machine,ip"},
	{args: "list-machines --fields bogus"},
	{args: "submit a.service"},
	{args: "submit a.service"},
	{args: "list-unit-files"},
	{args: "load a.service"},
	{args: "list-unit-files --no-legend"},
	{args: "list-units"},
	{args: "start a.service"},
	{args: "start a.service"},
	{args: "list-units"},
	{args: "list-units --full --no-legend --fields unit,machine,load,active,sub"},
	{args: "list-unit-files --full --fields unit,hash,dstate,state,target,global,desc"},
	{args: "list-units --fields bogus"},
	{args: "list-unit-files --fields bogus"},
	{args: "cat a.service"},
	{args: "stop a"},
	{args: "stop a"},
	{args: "list-units --no-legend", ready: "a.service inactive dead\n"},
	{args: "start a"},
	{args: "unload a"},
	{args: "start --no-block a"},
	{args: "start changed/a.service", ready: "a.service active running\n"},
	{args: "load --replace changed/a.service"},
	{args: "start --replace changed/a.service", unplaced: true},
	{args: "cat a"},
	{args: "start changed/a.service"},
	{args: "submit t@.service"},
	{args: "start t@1 t@2.service", unplaced: true},
	{args: "load t@.service", there: `cannot activate template "t@.service"\n`, here: "cannot activate template t@.service: load or start an instance of it"},
	{args: "list-unit-files --no-legend", ready: "a.service active running\nt@1.service active running\nt@2.service active running\n"},
	// fleet 1.0 has no word for a global unit's state.
	{args: "start g.service", there: `^Triggered global unit g.service start\nUnit g.service \n$`, here: `^Triggered global unit g.service start\nUnit g.service inactive\n$`},
	{args: "list-units", ready: "a.service active running\ng.service active running\nt@1.service active running\nt@2.service active running\n"},
	{args: "list-unit-files --no-legend"},
	{args: "stop t@1 t@2", unplaced: true},
	{args: "unload t@1"},
	{args: "start nosuch"},
	{args: "load nosuch"},
	{args: "stop nosuch"},
	{args: "unload nosuch"},
	{args: "destroy nosuch"},
	{args: "cat nosuch"},
	{args: "status nosuch"},
	{args: "journal nosuch"},
	{args: "start bad.service"},
	{args: "destroy a t@1 t@2 t@.service g bad"},
	{args: "list-unit-files"},
}

// fleet1GaveUp is in what fleet 1.0's fleetctl says of a start that its own fleetd
// takes longer to tell of than the two seconds that it waits: usually it takes one
// or two. What it says of a start in time is what this fleet is held against.
const fleet1GaveUp = "Failed to find an active unit a.service within 2s"

// fleet 1.0's fleetctl says the same to this fleet as to fleet 1.0, over the
// socket and over TCP.
func TestFleetctl1_0(t *testing.T) {
	w, old := useWithFleet1(t), useFleet1(t)
	w.listenTCP("8320")
	tcp := "http://" + w.Hosts[0].IP() + ":8320"
	// One after the other: fleet 1.0 waits for itself by the clock, and is to have
	// the processors to itself.
	there := playFleet1(t.Context(), old.Cluster, "unix:///var/run/fleet.sock", true)
	here := playFleet1(t.Context(), w.Cluster, "unix:///var/run/fleet.sock", false)
	far := playFleet1(t.Context(), w.Cluster, tcp, false)
	for i, step := range fleet1Session {
		if i >= len(there) || i >= len(here) || i >= len(far) {
			t.Fatalf("it went no further than: %v", last(there, here, far))
		}
		if d := cmp.Diff(here[i], far[i]); d != "" {
			t.Errorf("fleetctl %s says over the socket (-) and over TCP (+):\n%s", step.args, d)
		}
		if step.here != "" {
			if !regexp.MustCompile(step.here).MatchString(here[i]) || !regexp.MustCompile(step.there).MatchString(there[i]) {
				t.Errorf("fleetctl %s: fleet 1.0 answers\n%s\nand this fleet\n%s", step.args, there[i], here[i])
			}
			continue
		}
		if d := cmp.Diff(there[i], here[i]); d != "" {
			t.Errorf("fleetctl %s: fleet 1.0 answers (-), this fleet (+):\n%s", step.args, d)
		}
	}
}

// status and journal work by SSH, or, where the unit is, without.
func TestFleetctl1_0OnTheUnitsHost(t *testing.T) {
	w := useWithFleet1(t)
	w.fleetctl("start", "/root/fleet1/a.service")
	h := w.host("a.service")
	out := fleet1Says(w.ctx, h, "unix:///var/run/fleet.sock", "status a")
	if !strings.Contains(out, "active (running)") {
		t.Errorf("status: %s", out)
	}
	w.await("the journal", func() (bool, string) {
		out := fleet1Says(w.ctx, h, "unix:///var/run/fleet.sock", "journal --lines=100 a")
		return strings.Contains(out, "said by a\n"), out
	})
	w.fleetctl("stop", "a")
	if out := fleet1Says(w.ctx, h, "unix:///var/run/fleet.sock", "status a"); !strings.Contains(out, "inactive (dead)") || !strings.HasSuffix(out, "[exit 3]\n") {
		t.Errorf("status of a stopped unit: %s", out)
	}
}

// useWithFleet1 is use, with fleet 1.0's fleetctl and units on every host.
func useWithFleet1(t *testing.T) *world {
	t.Helper()
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	// Before the test's time begins: building them may take minutes.
	programs, err := fleet1Programs()
	if err != nil {
		t.Fatal(err)
	}
	w := use(t)
	files := fleet1Files()
	files[fleet1Dir+"fleetctl"] = programs[fleet1Dir+"fleetctl"]
	for _, h := range w.Hosts {
		if err := h.WriteFiles(w.ctx, files); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func fleet1Files() map[string]platform.File {
	files := map[string]platform.File{}
	for name, text := range fleet1Units {
		files["/root/fleet1/"+name] = platform.File{Content: text}
	}
	files["/root/fleet1/changed/a.service"] = platform.File{Content: strings.Replace(fleet1Units["a.service"], "hello", "changed", 1)}
	return files
}

// listenTCP has the first host's fleetd serve TCP too, as on CoreOS by a drop-in
// of fleet.socket, until the test ends.
func (w *world) listenTCP(port string) {
	w.t.Helper()
	h := w.Hosts[0]
	const again = "systemctl daemon-reload; systemctl stop fleet.service fleet.socket; systemctl start fleet.socket fleet.service"
	w.t.Cleanup(func() {
		if _, err := h.Run(context.Background(), "sh", "-ec", "rm -r /etc/systemd/system/fleet.socket.d; "+again); err != nil {
			w.t.Error(err)
		}
	})
	if err := h.WriteFile(w.ctx, "/etc/systemd/system/fleet.socket.d/30-tcp.conf", platform.File{Content: "[Socket]\nListenStream=" + port + "\n"}); err != nil {
		w.t.Fatal(err)
	}
	w.run(h, again)
	if err := w.AwaitMachines(w.ctx, len(w.Hosts)); err != nil {
		w.t.Fatal(err)
	}
}

// playFleet1 runs the session on a cluster's first host and gives what each
// step said, comparably; it ends early with what went wrong. The peer, fleet 1.0
// itself, is asked again where it was too slow for its own fleetctl.
func playFleet1(ctx context.Context, c *cluster.Cluster, endpoint string, peer bool) (said []string) {
	h := c.Hosts[0]
	if err := h.WriteFiles(ctx, fleet1Files()); err != nil {
		return []string{err.Error()}
	}
	for _, step := range fleet1Session {
		if step.ready != "" {
			err := cluster.Await(ctx, fmt.Sprintf("%q before fleetctl %s", step.ready, step.args), func() (bool, string) {
				out := fleet1Comparable(fleet1Says(ctx, h, endpoint, "list-units --no-legend --fields unit,active,sub"), c, true)
				return out == step.ready, out
			})
			if err != nil {
				return append(said, err.Error())
			}
		}
		out := fleet1Says(ctx, h, endpoint, step.args)
		if peer && strings.Contains(out, fleet1GaveUp) {
			fleet1Says(ctx, h, endpoint, "stop a")
			out = fleet1Says(ctx, h, endpoint, step.args)
		}
		said = append(said, fleet1Comparable(out, c, step.unplaced))
	}
	return said
}

// fleet1Says is what fleet 1.0's fleetctl prints, and its exit code.
func fleet1Says(ctx context.Context, h *platform.Host, endpoint, args string) string {
	cmd := h.Command(ctx, "sh", "-c", "cd /root/fleet1 && exec timeout 60 "+fleet1Dir+"fleetctl --endpoint="+endpoint+" "+args)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprintf("%s[exit %d]\n", out, exit.ExitCode())
	} else if err != nil {
		return err.Error()
	}
	return string(out)
}

var (
	spaces = regexp.MustCompile(`[ \t]+`)
	at     = regexp.MustCompile(` on M/IP`)
)

// fleet1Comparable takes out of an output what differs from cluster to cluster:
// who the machines are, and how many; and the order in which it says of several
// units that they got there.
func fleet1Comparable(out string, c *cluster.Cluster, unplaced bool) string {
	for _, h := range c.Hosts {
		out = strings.NewReplacer(h.MachineID(), "MACHINE", h.MachineID()[:8]+"...", "M", h.IP(), "IP").Replace(out)
	}
	out = spaces.ReplaceAllString(out, " ")
	if unplaced {
		out = at.ReplaceAllString(out, "")
	}
	lines := map[string]bool{}
	for _, line := range strings.SplitAfter(out, "\n") {
		lines[line] = true
	}
	if strings.Contains(out, "[Service]") { // a unit file
		return out
	}
	return strings.Join(slices.Sorted(maps.Keys(lines)), "")
}

// last is the last thing that the shortest session said.
func last(sessions ...[]string) string {
	shortest := slices.MinFunc(sessions, func(a, b []string) int { return len(a) - len(b) })
	return shortest[len(shortest)-1]
}
