package functional

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// What hosts of fleet 1.0 have in /etc, as CoreOS shipped it and as the old
// documentation told people to write it.
const (
	deployedService = `[Unit]
Description=fleet daemon
Wants=etcd2.service
After=etcd.service
After=etcd2.service
Wants=fleet.socket
After=fleet.socket

[Service]
Environment=GOMAXPROCS=1
ExecStart=/usr/bin/fleetd
Restart=always
RestartSec=1s

[Install]
WantedBy=multi-user.target
`
	deployedSocket = `[Unit]
Description=Fleet API Socket
PartOf=fleet.service

[Socket]
ListenStream=/var/run/fleet.sock
`
	deployedTCPSocket = `[Unit]
Description=Fleet API over TCP

[Socket]
ListenStream=49153
BindIPv6Only=both
Service=fleet.service

[Install]
WantedBy=sockets.target
`
)

// deploy puts files on a host, restarts fleet as whoever wrote them would, and
// takes them away again at the test's end.
func (w *world) deploy(h *platform.Host, files map[string]string, start string) {
	w.t.Helper()
	w.t.Cleanup(func() {
		lines := "systemctl stop fleet.socket fleet-tcp.socket fleet.service 2>/dev/null || true\n"
		for path := range files {
			lines += fmt.Sprintf("if [ -e %[1]s.before ]; then mv %[1]s.before %[1]s; else rm -f %[1]s; fi\n", path)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own is over
		defer cancel()
		if _, err := h.Run(ctx, "sh", "-ec", lines+"systemctl daemon-reload; systemctl reset-failed; systemctl start fleet.socket fleet.service"); err != nil {
			w.t.Error(err)
		}
	})
	for path, text := range files {
		w.run(h, fmt.Sprintf("if [ -e %[1]s ]; then cp -p %[1]s %[1]s.before; fi", path))
		if err := h.WriteFile(w.ctx, path, platform.File{Content: text}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.run(h, "systemctl daemon-reload; "+start)
}

// machine is a host as list-machines shows it, "" if it isn't in the cluster.
func (w *world) machine(h *platform.Host) string {
	w.t.Helper()
	for line := range strings.Lines(w.fleetctl("list-machines", "--no-legend", "--full")) {
		if strings.HasPrefix(line, h.MachineID()) {
			return line
		}
	}
	return ""
}

// awaitMachine waits until a host is in the cluster, with such words.
func (w *world) awaitMachine(h *platform.Host, words string) {
	w.t.Helper()
	w.await(h.Name()+" with "+words, func() (bool, string) {
		m := w.machine(h)
		return strings.Contains(m, words), m
	})
}

// fleetLog is what the present fleetd has logged.
func (w *world) fleetLog(h *platform.Host) string {
	w.t.Helper()
	return w.run(h, "journalctl -o cat _PID="+w.mainPID(h, "fleet.service")+" || true")
}

func (w *world) awaitLog(h *platform.Host, words string) {
	w.t.Helper()
	w.await("fleetd to log "+words, func() (bool, string) {
		log := w.fleetLog(h)
		return strings.Contains(log, words), log
	})
}

// asked is what the API says on a socket: curl's arguments and the HTTP code.
func (w *world) asked(h *platform.Host, curl string) string {
	w.t.Helper()
	return w.run(h, "curl -s -o /dev/null -w '%{http_code}' --max-time 5 "+curl+"/fleet/v1/machines || true")
}

func TestCompatFleetdDeployedFilesRunUnchanged(t *testing.T) {
	w := use(t)
	h := w.Hosts[2]
	quoted := []string{}
	for _, other := range w.Hosts {
		quoted = append(quoted, fmt.Sprintf("%q", "http://"+other.IP()+":2379"))
	}
	w.run(h, "systemctl stop fleet.service fleet.socket")
	w.deploy(h, map[string]string{
		"/etc/systemd/system/fleet.service":    deployedService,
		"/etc/systemd/system/fleet.socket":     deployedSocket,
		"/etc/systemd/system/fleet-tcp.socket": deployedTCPSocket,
		"/etc/systemd/system/fleet.service.d/20-cloudinit.conf": "[Service]\nEnvironment=\"FLEET_METADATA=role=deployed,rack=7\"\n" +
			"Environment=\"FLEET_PUBLIC_IP=" + h.IP() + "\"\nEnvironment=FLEET_VERBOSITY=\n",
		"/etc/fleet/fleet.conf": "# This config file is INI-formatted\n\n; verbosity=0\netcd_servers=[" + strings.Join(quoted, ", ") + "]\n" +
			"metadata=\"role=overruled\"\nagent_ttl=\"5s\"\nVerify_Units = true\netcd_request_timeout=3.0\nfrobnicate='x' ; who knows\n",
	}, "systemctl start fleet.socket fleet-tcp.socket fleet.service")
	w.awaitMachine(h, "rack=7,role=deployed")
	log := w.fleetLog(h)
	for _, want := range []string{"/etc/fleet/fleet.conf:7: verify_units has no effect", "/etc/fleet/fleet.conf:9: unknown key frobnicate"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("%q is not said once:\n%s", want, log)
		}
	}
	for _, curl := range []string{"--unix-socket /var/run/fleet.sock http://x", "http://127.0.0.1:49153", "'http://[::1]:49153'", "http://" + h.IP() + ":49153"} {
		if code := w.asked(h, curl); code != "200" {
			t.Errorf("%s: %s", curl, code)
		}
	}

	t.Run("units", func(t *testing.T) {
		w.fleetctl("start", w.file("leads.service", sleeper("X-ConditionMachineMetadata=role=deployed\nX-Conflicts=other*.service\n")))
		w.fleetctl("start", w.file("follows.service", sleeper("X-ConditionMachineOf=leads.service\n")))
		w.fleetctl("start", w.file("pinned.service", sleeper("X-ConditionMachineID="+h.MachineID()+"\n")))
		w.fleetctl("start", w.file("other1.service", sleeper("")))
		for unit, there := range map[string]bool{"leads.service": true, "follows.service": true, "pinned.service": true, "other1.service": false} {
			if on := w.host(unit); (on == h) != there {
				t.Errorf("%s is on %s", unit, on.Name())
			}
		}
	})
	t.Run("restart", func(t *testing.T) {
		pid := w.mainPID(h, "pinned.service")
		// Whoever asks meanwhile waits: the socket that takes the connection is
		// systemd's, unless PartOf= restarts it too.
		w.run(h, "systemctl restart fleet.service")
		for _, curl := range []string{"--unix-socket /var/run/fleet.sock http://x", "http://127.0.0.1:49153"} {
			w.await("an answer from "+curl, func() (bool, string) {
				code := w.asked(h, curl)
				return code == "200", code
			})
		}
		if now := w.mainPID(h, "pinned.service"); now != pid {
			t.Errorf("pinned.service was process %s, is %s", pid, now)
		}
	})
	t.Run("drop-in with -config", func(t *testing.T) {
		w.run(h, "mkdir -p /etc/systemd/system/fleet.service.d; cat > /etc/systemd/system/fleet.service.d/30-config.conf <<E\n"+
			"[Service]\nEnvironment=FLEET_METADATA=\nExecStart=\nExecStart=/usr/bin/fleetd -config /etc/fleet/other.conf\nE\n"+
			"printf \"agent_ttl=5s\\nmetadata='role=deployed,file=other'\\n\" > /etc/fleet/other.conf; systemctl daemon-reload; systemctl restart fleet.service")
		defer w.run(h, "rm /etc/systemd/system/fleet.service.d/30-config.conf /etc/fleet/other.conf")
		w.awaitMachine(h, "file=other")
	})
}

func TestCompatFleetdFlags(t *testing.T) {
	w := use(t)
	h := w.Hosts[0]
	if err := h.WriteFile(w.ctx, "/root/bad.conf", platform.File{Content: "metadata='a=b'\nagent_ttl=soon\n"}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ args, want, code string }{
		{"-version", "fleetd version", "0"},
		{"--version", "fleetd version", "0"},
		{"version", "fleetd version", "0"},
		{"-help", "FLEET_<KEY>", "0"},
		{"-config /root/bad.conf", "/root/bad.conf:2: agent_ttl: \"soon\" is no duration", "1"},
		{"-config=/root/bad.conf", "/root/bad.conf:2: agent_ttl", "1"},
		{"--config /root/bad.conf", "/root/bad.conf:2: agent_ttl", "1"},
		{"--config=/nowhere.conf", "/nowhere.conf: no such file", "1"},
		{"-bogus", "unknown flag", "2"},
		{"list-units", "unknown command", "2"},
	} {
		out := w.run(h, "fleetd "+tc.args+" 2>&1 && echo exit 0 || echo exit $?")
		if !strings.Contains(out, tc.want) || !strings.HasSuffix(out, "exit "+tc.code) {
			t.Errorf("fleetd %s:\n%s", tc.args, out)
		}
	}
}

func TestCompatFleetdSockets(t *testing.T) {
	w := use(t)
	h := w.Hosts[1]
	const unix = "--unix-socket /run/fleet.sock http://x"
	t.Run("several of fleet.socket's", func(t *testing.T) {
		w := &world{Cluster: w.Cluster, t: t, ctx: w.ctx}
		w.run(h, "systemctl stop fleet.service fleet.socket")
		w.deploy(h, map[string]string{
			"/etc/systemd/system/fleet.socket.d/30-listen.conf": "[Socket]\nListenStream=127.0.0.1:49153\nListenStream=[::1]:49154\nFileDescriptorName=api\n",
		}, "systemctl start fleet.socket fleet.service")
		for _, curl := range []string{unix, "http://127.0.0.1:49153", "'http://[::1]:49154'"} {
			w.await("an answer from "+curl, func() (bool, string) {
				code := w.asked(h, curl)
				return code == "200", code
			})
		}
		// No connection is refused while fleetd restarts: systemd holds the sockets.
		out := w.run(h, "(for i in $(seq 40); do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 20 http://127.0.0.1:49153/fleet/v1/discovery; done) & "+
			"systemctl restart fleet.service; wait")
		if strings.Count(out, "200") != 40 {
			t.Errorf("40 requests during a restart: %s", out)
		}
	})
	t.Run("none", func(t *testing.T) {
		w := &world{Cluster: w.Cluster, t: t, ctx: w.ctx}
		w.run(h, "systemctl stop fleet.service fleet.socket")
		// fleet.service wants its socket: without one, fleetd makes its own, in
		// the place of a stale file.
		w.deploy(h, map[string]string{"/etc/systemd/system/fleet.service": strings.ReplaceAll(deployedService, "fleet.socket", "network.target")},
			"touch /run/fleet.sock; systemctl start fleet.service")
		w.await("an answer", func() (bool, string) {
			code := w.asked(h, unix)
			return code == "200", code
		})
		if mode := w.run(h, "stat -c '%a %U %F' /run/fleet.sock"); mode != "660 root socket" {
			t.Errorf("the socket is %s", mode)
		}
	})
}

func TestCompatFleetdReload(t *testing.T) {
	w := use(t)
	h := w.Hosts[2]
	conf := w.run(h, "cat /etc/fleet/fleet.conf") + "\n"
	w.deploy(h, map[string]string{"/etc/fleet/fleet.conf": conf}, "true")
	write := func(conf string) {
		t.Helper()
		if err := h.WriteFile(w.ctx, "/etc/fleet/fleet.conf", platform.File{Content: conf}); err != nil {
			t.Fatal(err)
		}
	}
	reload := func(conf string) {
		t.Helper()
		write(conf)
		w.run(h, "systemctl reload fleet.service")
	}
	pid := w.mainPID(h, "fleet.service")
	w.fleetctl("start", w.file("movable.service", sleeper("MachineMetadata=region=us\n")), w.file("anywhere.service", sleeper("MachineMetadata=region=eu\nMachineMetadata=region=us\n")))
	if on := w.host("movable.service"); on != h {
		t.Fatalf("it began on %s", on.Name())
	}
	asking := make(chan string, 1)
	go func() { // no request is dropped meanwhile
		out, err := h.Run(w.ctx, "sh", "-c", "for i in $(seq 100); do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 5 --unix-socket /run/fleet.sock http://x/fleet/v1/machines; done")
		asking <- fmt.Sprint(out, err)
	}()
	reload(strings.Replace(conf, "region=us", "region=eu", 1) + "verbosity=1\n")
	w.awaitMachine(h, "region=eu")
	w.awaitLog(h, "reloaded: metadata is index=2,region=eu now (was index=2,region=us)")
	w.awaitLog(h, "reloaded: verbosity is 1 now (was 0)")
	w.await("the unit to have nowhere to go", func() (bool, string) {
		return !w.active(h, "movable.service"), w.fleetctl("list-units")
	})
	reload(strings.Replace(conf, "agent_ttl=5s", "agent_ttl=7s", 1) + "etcd_username=u\netcd_password=s3cret\n")
	w.awaitLog(h, "agent_ttl changed to 7s, which needs a restart; until then it stays 5s")
	w.awaitLog(h, "etcd_password changed to (hidden), which needs a restart")
	w.await("the unit to be back", func() (bool, string) { return w.active(h, "movable.service"), w.fleetctl("list-units") })
	write("verbosity=loud\n")
	if out, err := h.Run(w.ctx, "systemctl", "reload", "fleet.service"); err == nil {
		t.Errorf("a reload that is refused has ended well: %s", out)
	}
	w.await("the journal to say why", func() (bool, string) {
		log := w.run(h, "journalctl -o cat -u fleet.service")
		return strings.Contains(log, "\nfleetd: /etc/fleet/fleet.conf:1: verbosity: \"loud\" is not a whole number\n"), log
	})
	w.awaitLog(h, `reload refused: the running configuration stays" error="/etc/fleet/fleet.conf:1: verbosity: \"loud\" is not a whole number`)
	if log := w.fleetLog(h); strings.Contains(log, "s3cret") {
		t.Error("the password was logged")
	}
	if out := <-asking; strings.Count(out, "200") != 100 {
		t.Errorf("100 requests during reloads: %s", out)
	}
	if now := w.mainPID(h, "fleet.service"); now != pid {
		t.Errorf("fleetd was process %s, is %s", pid, now)
	}
	w.await("systemd to have it running", func() (bool, string) {
		s := w.run(h, "systemctl show -P SubState fleet.service")
		return s == "running", s
	})
}

func TestCompatFleetdStateDump(t *testing.T) {
	w := use(t)
	h := w.Hosts[0]
	w.fleetctl("start", w.file("dumped.service", sleeper("MachineMetadata=index=0\n")))
	w.run(h, "rm -f /run/fleet/state-dump.json; systemctl kill --signal=USR1 --kill-whom=main fleet.service")
	w.awaitLog(h, "the state is in /run/fleet/state-dump.json")
	var d struct {
		Status string
		Config []struct{ Key, Value, Source string }
		Leader string
		Lease  struct{ ID string }
		Etcd   struct {
			Endpoints []struct{ URL, Version, Error string }
		}
		Agent struct {
			Units []struct{ Name, Target, Done, Active string }
		}
		API struct{ Machines int }
	}
	text := w.run(h, "stat -c %a /run/fleet/state-dump.json; cat /run/fleet/state-dump.json")
	mode, text, _ := strings.Cut(text, "\n")
	if err := json.Unmarshal([]byte(text), &d); err != nil || mode != "600" {
		t.Fatalf("%v, mode %s:\n%s", err, mode, text)
	}
	if len(d.Agent.Units) != 1 || d.Agent.Units[0].Name != "dumped.service" || d.Agent.Units[0].Done != "launched" || d.Agent.Units[0].Active != "active" {
		t.Errorf("units: %+v", d.Agent.Units)
	}
	if len(d.Leader) != 32 || d.Lease.ID == "" || d.API.Machines != 3 || !strings.Contains(d.Status, "joined as "+h.MachineID()[:8]) {
		t.Errorf("%s", text)
	}
	if len(d.Etcd.Endpoints) != 2 || d.Etcd.Endpoints[0].Version == "" || d.Etcd.Endpoints[1].Error == "" {
		t.Errorf("etcd: %+v", d.Etcd.Endpoints)
	}
	for _, v := range d.Config {
		if v.Key == "agent_ttl" && (v.Value != "5s" || v.Source != "/etc/fleet/fleet.conf:1") {
			t.Errorf("%+v", v)
		}
	}
}
