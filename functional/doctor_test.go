package functional

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/functional/platform"
)

// A doctor finds what is wrong on real hosts, by a check's name, and finds
// nothing else.
func TestDoctor(t *testing.T) {
	w := use(t)
	w.checkup(w.Hosts[0], 0, "")

	ill := w.Hosts[2]
	w.run(ill, "systemctl stop etcd2")
	w.await("the doctor to find the dead member", func() (bool, string) {
		out, _ := w.Hosts[0].Run(w.ctx, "fleetctl", "doctor")
		return strings.Contains(out, ill.IP()+":2379") && strings.Contains(out, "What to do:"), out
	})
	w.checkup(w.Hosts[0], 1, "etcd member")
	w.run(ill, "systemctl start etcd2")

	// Without most of etcd the host still answers, and says why.
	w.run(w.Hosts[1], "systemctl stop etcd2")
	w.run(ill, "systemctl stop etcd2")
	d := w.checkup(w.Hosts[0], 1, "cluster")
	for _, f := range d.Findings {
		if f.Level != api.LevelOK && f.Remedy == "" {
			t.Errorf("%+v says nothing of what to do", f)
		}
	}
	w.run(w.Hosts[1], "systemctl start etcd2")
	w.run(ill, "systemctl start etcd2")
	w.await("all to be well again", func() (bool, string) {
		out, err := w.Hosts[0].Run(w.ctx, "fleetctl", "doctor")
		return err == nil, out
	})

	// Where fleetd doesn't run, its last words are shown.
	conf := w.run(ill, "cat /etc/fleet/fleet.conf")
	w.run(ill, "systemctl stop fleet.socket fleet.service; echo agent_ttl=soon >>/etc/fleet/fleet.conf; systemctl start --no-block fleet.service")
	t.Cleanup(func() {
		ctx := context.Background() // the test's own is over
		if err := ill.WriteFile(ctx, "/etc/fleet/fleet.conf", platform.File{Content: conf}); err != nil {
			t.Error(err)
		}
		if _, err := ill.Run(ctx, "systemctl", "start", "fleet.socket", "fleet.service"); err != nil {
			t.Error(err)
		}
	})
	w.await("fleetd's last words", func() (bool, string) {
		out, err := ill.Run(w.ctx, "fleetctl", "doctor")
		return err != nil && strings.Contains(out, "fleet.service is ") && strings.Contains(out, "agent_ttl"), out
	})
}

// checkup runs the doctor on a host; it must end with the code, and name an
// error of that check (empty: no error at all).
func (w *world) checkup(h *platform.Host, code int, check string) api.Diagnosis {
	w.t.Helper()
	out := w.run(h, "fleetctl doctor -o json && echo 0 || echo 1")
	text, ended, _ := strings.Cut(strings.TrimSpace(out), "\n]\n")
	var all []api.Diagnosis
	if err := json.Unmarshal([]byte(text+"\n]"), &all); err != nil || len(all) != 1 {
		w.t.Fatalf("%v in %q", err, out)
	}
	failed := map[string]bool{"": true}
	for _, f := range all[0].Findings {
		if f.Level == api.LevelError {
			failed[f.Check] = true
			if check == "" {
				w.t.Errorf("%+v", f)
			}
		}
	}
	if !failed[check] || ended != []string{"0", "1"}[code] {
		w.t.Errorf("ended with %s, want %d and an error of %q; %+v", ended, code, check, all[0])
	}
	return all[0]
}
