package functional

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// proxyHost boots a fourth host, whose etcd2.service is a proxy of the others'.
func (w *world) proxyHost() *platform.Host {
	w.t.Helper()
	var members []string
	for _, h := range w.Hosts {
		members = append(members, fmt.Sprintf("%s=http://%s:2380", h.Name(), h.IP()))
	}
	specs, err := cluster.Specs(w.ctx, plat, cluster.Options{Size: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	spec := specs[0]
	spec.Name = "proxy"
	spec.Files["/etc/systemd/system/etcd2.service.d/20-proxy.conf"] = platform.File{Content: fmt.Sprintf(`[Service]
Environment=ETCD_PROXY=on
Environment=ETCD_INITIAL_CLUSTER=%s
Environment=ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379,http://0.0.0.0:4001
`, strings.Join(members, ","))}
	spec.Files["/etc/fleet/fleet.conf"] = platform.File{Content: "agent_ttl=" + agentTTL.String() + "\nmetadata=role=proxied\n"}
	h, err := plat.Boot(w.ctx, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(h, "systemctl start etcd2.service fleet.socket fleet.service")
	return h
}

// TestProxyAndReplacedMember: a host beyond the members runs units through its
// proxy. Each member in turn is gone for longer than a machine may be, and one
// loses its data and is replaced; the proxied host's units don't notice.
func TestProxyAndReplacedMember(t *testing.T) {
	w := use(t)
	w.openDiaries()
	h := w.proxyHost()
	t.Cleanup(func() { // before the cluster is looked at
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := h.Run(ctx, "systemctl", "stop", "fleet.socket", "fleet.service"); err != nil {
			t.Error(err)
		}
		if err := h.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := w.AwaitMachines(w.ctx, 4); err != nil {
		t.Fatal(err)
	}
	start := func(name string) {
		t.Helper()
		w.fleetctl("start", w.file(name, sleeper("MachineMetadata=role=proxied\n")))
	}
	pids := map[string]string{}
	for i := range 3 {
		name := fmt.Sprintf("behind%d.service", i)
		start(name)
		pids[name] = w.mainPID(h, name)
	}
	undisturbed := func(when string) {
		t.Helper()
		for name, pid := range pids {
			if got := w.mainPID(h, name); got != pid || got == "0" {
				t.Errorf("%s: %s has the main process %s, had %s", when, name, got, pid)
			}
		}
	}
	machine := w.run(h, "fleetctl list-machines --no-legend --full | grep role=proxied | cut -f1")

	for i, m := range w.Hosts {
		w.run(m, "systemctl kill -s KILL etcd2.service && systemctl stop etcd2.service")
		// The host's own fleetd, which is told of no other member, finds them.
		w.await(m.Name()+" to ask other members", func() (bool, string) {
			out := w.run(m, "journalctl -o cat -u fleet.service -n 50 --no-pager")
			_, last, asks := strings.Cut(out[max(0, strings.LastIndex(out, "etcd does not answer at")):], "asking its other members")
			return asks && !strings.Contains(last, "again: asking there"), out
		})
		w.await("all machines to be there", func() (bool, string) {
			out, err := h.Run(w.ctx, "fleetctl", "list-machines", "--no-legend", "--full")
			return err == nil && strings.Count(out, "\n") == 4 && strings.Contains(out, machine), out
		})
		undisturbed(m.Name() + "'s etcd is down")
		name := fmt.Sprintf("meanwhile%d.service", i)
		w.run(h, fmt.Sprintf("printf '[Service]\\nExecStart=/bin/sleep infinity\\n[X-Fleet]\\nMachineMetadata=role=proxied\\n' > /root/%s; fleetctl start /root/%[1]s", name))
		pids[name] = w.mainPID(h, name)
		w.run(m, "systemctl start etcd2.service")
		if err := w.AwaitMachines(w.ctx, 4); err != nil {
			t.Fatal(err)
		}
		undisturbed(m.Name() + "'s etcd is back")
	}

	lost := w.Hosts[2]
	w.run(lost, "systemctl stop etcd2.service; rm -rf /var/lib/etcd2/member; systemctl start etcd2.service")
	w.await("the refusal", func() (bool, string) {
		out := w.run(lost, "journalctl -u etcd2.service -n 30 --no-pager")
		return strings.Contains(out, "fleetd etcd replace") && strings.Contains(out, "member add "+lost.Name()+" --learner --peer-urls=http://"+lost.IP()+":2380"), out
	})
	if out := w.run(lost, "fleetd etcd replace --dry-run"); !strings.Contains(out, "take member") || !strings.Contains(out, "Nothing was done") {
		t.Error(out)
	}
	if out := w.run(lost, "fleetd etcd replace"); !strings.Contains(out, "is a full member, and well") {
		t.Error(out)
	}
	if err := w.AwaitMachines(w.ctx, 4); err != nil {
		t.Fatal(err)
	}
	undisturbed(lost.Name() + "'s etcd was replaced")
	w.run(lost, "systemctl restart etcd2.service") // as any member
	w.await("it to serve", func() (bool, string) {
		out, err := lost.Run(w.ctx, "curl", "-sf", "http://127.0.0.1:2379/health")
		return err == nil && strings.Contains(out, `"health":"true"`), out
	})
	if out, err := lost.Run(w.ctx, "fleetd", "etcd", "replace"); err == nil || !strings.Contains(err.Error()+out, "nothing to replace") {
		t.Errorf("again: %v %s", err, out)
	}
}
