package functional

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
)

// example puts a file of examples/ on every host, and gives its path.
func (w *world) example(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "examples", name))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.file(name, string(text))
}

// The examples do what they say. Those that need docker are left out: make demo
// runs one.
func TestExamples(t *testing.T) {
	w := use(t)
	at := "/root/units/"
	for _, name := range []string{"hello.service", "web@.service", "announce@.service", "heartbeat.service", "tidy.timer", "tidy.service", "ledger.service", "urgent.service"} {
		w.example(name)
	}
	w.fleetctl("start", at+"web@1", at+"web@2", at+"web@3", at+"announce@2")
	if hosts := []string{w.host("web@1.service").Name(), w.host("web@2.service").Name(), w.host("web@3.service").Name()}; hosts[0] == hosts[1] || hosts[1] == hosts[2] || hosts[0] == hosts[2] {
		t.Errorf("three of web@ are on %v", hosts)
	}
	if follower, leader := w.host("announce@2.service"), w.host("web@2.service"); follower != leader {
		t.Errorf("announce@2 is on %s, web@2 on %s", follower.Name(), leader.Name())
	}
	w.fleetctl("start", at+"heartbeat.service")
	for _, h := range w.Hosts {
		w.await("heartbeat to run on "+h.Name(), func() (bool, string) { return w.active(h, "heartbeat.service"), "" })
	}
	w.fleetctl("load", at+"tidy.service")
	w.fleetctl("start", at+"tidy.timer")
	timer := w.host("tidy.timer")
	w.await("the timer to run its service", func() (bool, string) {
		out := w.run(timer, "journalctl --unit tidy.service --no-pager -o cat")
		return strings.Contains(out, "tidied at"), out
	})
	w.fleetctl("start", at+"hello.service")
	taken := w.host("hello.service")
	w.fleetctl("start", at+"urgent.service")
	if h := w.host("urgent.service"); h != taken {
		t.Errorf("urgent is on %s, hello was on %s", h.Name(), taken.Name())
	}
	w.await("hello to run elsewhere", func() (bool, string) {
		out := w.fleetctl("list-units", "--full")
		h := w.HostOf(w.ctx, "hello.service")
		return h != nil && h != taken && w.active(h, "hello.service"), out
	})
	w.fleetctl("start", "--no-block", at+"ledger.service")
	w.await("ledger to say why it waits", func() (bool, string) {
		out := w.fleetctl("explain", "ledger")
		return strings.Contains(out, "MachineMetadata=disk=ssd"), out
	})
}
