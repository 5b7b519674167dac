package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mustRun runs a shell script on the host and returns its trimmed output.
func mustRun(t *testing.T, h *Host, script string) string {
	t.Helper()
	out, err := h.Run(t.Context(), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestHostIsAHost(t *testing.T) {
	t.Parallel()
	layer := t.TempDir()
	writeTree(t, layer, map[string]string{
		"usr/local/bin/hello":              "#!/bin/sh\necho hello from the layer\n",
		"etc/systemd/system/hello.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/bin/hello\n[Install]\nWantedBy=multi-user.target\n",
		"etc/both":                         "layer",
	})
	const id = "0123456789abcdef0123456789abcdef"
	p := ForTest(t, HostSpec{
		Name: "n1", MachineID: id, Layers: []string{layer}, Enable: []string{"hello.service"},
		Files: map[string]File{
			"/etc/both":     {Content: "file"},
			"/lib/x/secret": {Content: "s", Mode: 0o600, UID: coreID, GID: coreID},
			"/etc/a-link":   {Link: "both"},
		},
	})
	h := p.Host("n1")

	for script, want := range map[string]string{
		"systemctl is-system-running":                       "running",
		"cat /proc/1/comm":                                  "systemd",
		"hostname":                                          "n1",
		"cat /etc/machine-id":                               id,
		"cat /proc/sys/kernel/random/boot_id":               h.BootID(),
		"ls /sys/class/net | xargs":                         "host0 lo",
		"cat /etc/a-link":                                   "file",
		"stat -c '%a %U' /usr/lib/x/secret":                 "600 core",
		"stat -c '%a' / /etc /root /tmp | xargs":            "755 755 700 1777",
		"readlink /lib":                                     "usr/lib",
		"systemctl show -P Result hello":                    "success",
		"systemctl is-active hello docker ssh dbus | xargs": "active inactive active active",
		"ip -4 -o addr show host0 | awk '{print $4}'":       h.IP() + "/24",
		"getent hosts n1 | awk '{print $1}'":                h.IP(),
		"ip route show default | awk '{print $3}'":          p.Gateway().String(),
		"timeout 5 curl -s http://192.0.2.1/; echo $?":      "7", // refused, not timed out
		// CAP_SYS_TIME, bit 25. Asked of the host's systemd, and never by trying:
		// the clock is this machine's, and commands run from outside could set it.
		"echo $(( 0x$(awk '/^CapBnd/ {print $2}' /proc/1/status) >> 25 & 1 ))": "0",
	} {
		if got := mustRun(t, h, script); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	if journal, err := h.Journal(t.Context(), "hello.service"); err != nil || !strings.Contains(journal, "hello from the layer") {
		t.Errorf("journal: %q, %v", journal, err)
	}
	if err := h.WriteFile(t.Context(), "/usr/local/bin/new/tool", File{Content: "#!/bin/sh\necho tool", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, h, "/usr/local/bin/new/tool"); got != "tool" {
		t.Errorf("a written file says %q", got)
	}
}

func TestUserSession(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"})
	h := p.Host("n1")
	for script, want := range map[string]string{
		"systemctl --user is-system-running --wait": "running",
		"pwd; id -nG": "/home/core\ncore sudo docker",
		"systemd-run --user --wait -q -P echo hi": "hi",
		"sudo id -u": "0",
	} {
		out, err := h.RunAs(t.Context(), "core", "sh", "-c", script)
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%s: got %q, %v, want %q", script, out, err, want)
		}
	}
	ssh := exec.Command("ssh", "-i", p.SSHKey(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "core@"+h.IP(), "systemctl --user is-active default.target")
	if out, err := ssh.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "active" {
		t.Errorf("ssh: %q, %v", out, err)
	}
}

func TestRunReportsFailure(t *testing.T) {
	t.Parallel()
	h := ForTest(t, HostSpec{Name: "n1"}).Host("n1")
	_, err := h.Run(t.Context(), "sh", "-c", "echo out; echo what went wrong >&2; exit 7")
	var failed *CommandError
	if !errors.As(err, &failed) || failed.Code != 7 || failed.Stdout != "out\n" {
		t.Fatalf("got %#v", err)
	}
	for _, want := range []string{"n1", "what went wrong", "7"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %q", err, want)
		}
	}

	// A command that is given up must not live on, on the host.
	ctx, cancel := context.WithCancel(t.Context())
	cmd := h.Command(ctx, "sh", "-c", "echo started; sleep 1234 & wait")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = cmd.Wait()
	if got := mustRun(t, h, "pgrep -x sleep || echo none"); got != "none" {
		t.Errorf("left running: %s", got)
	}
}

func TestKillPowerOffAndStart(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"})
	h := p.Host("n1")
	first, ip := h.BootID(), h.IP()
	mustRun(t, h, "echo kept >/root/kept")

	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if h.State() != Off || h.BootID() != "" {
		t.Errorf("after Kill: %s, boot %q", h.State(), h.BootID())
	}
	if _, err := h.Run(t.Context(), "true"); err == nil {
		t.Error("a command ran on a killed host")
	}
	if journal, err := h.Journal(t.Context(), "ssh.service"); err != nil || !strings.Contains(journal, "Server listening") {
		t.Errorf("a killed host's journal: %q, %v", journal, err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := h.BootID()
	if second == "" || second == first || h.IP() != ip {
		t.Errorf("second boot: id %q after %q, address %s after %s", second, first, h.IP(), ip)
	}
	if got := mustRun(t, h, "cat /root/kept /etc/machine-id; systemctl is-system-running"); got != "kept\n"+h.MachineID()+"\nrunning" {
		t.Errorf("second boot: %q", got)
	}
	if err := h.Start(t.Context()); err == nil {
		t.Error("a running host was started")
	}

	// Power off is orderly: services get to stop.
	mustRun(t, h, "systemd-run -q --unit=last -p ExecStop='/bin/touch /root/stopped' sleep 1000")
	if err := h.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.State() != Off {
		t.Errorf("after PowerOff: %s", h.State())
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustRun(t, h, "test -e /root/stopped")
}

func TestRebootFromWithin(t *testing.T) {
	t.Parallel()
	h := ForTest(t, HostSpec{Name: "n1"}).Host("n1")
	first := h.BootID()
	mustRun(t, h, "systemd-run -q --on-active=0 systemctl reboot")
	eventually(t, "another boot", func() bool { return h.BootID() != first && h.BootID() != "" })
	eventually(t, "a running system", func() bool {
		_, err := h.Run(t.Context(), "systemctl", "is-system-running", "--wait")
		return err == nil
	})
	if got := mustRun(t, h, "ip -4 -o addr show host0 | awk '{print $4}'"); got != h.IP()+"/24" {
		t.Errorf("address after the reboot: %q", got)
	}
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	h := ForTest(t, HostSpec{Name: "n1"}).Host("n1")
	if err := h.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.State() != Frozen {
		t.Errorf("state %s", h.State())
	}
	if got := mustRun(t, h, "awk '/^State/ {print $2}' /proc/1/status; timeout 0.3 systemctl is-system-running || echo $?"); got != "S\n124" {
		t.Errorf("on a frozen host: %q", got)
	}
	if err := h.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, h, "systemctl is-system-running"); got != "running" || h.State() != Running {
		t.Errorf("after Thaw: %q, %s", got, h.State())
	}
}

func TestDocker(t *testing.T) {
	t.Parallel()
	image := t.TempDir()
	writeTree(t, image, map[string]string{
		"go.mod":     "module server\n",
		"main.go":    serverSource,
		"Dockerfile": "FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\n",
	})
	build := exec.Command("go", "build", "-o", "server", ".")
	build.Dir, build.Env = image, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	layer := t.TempDir()
	if err := os.MkdirAll(filepath.Join(layer, "usr/share"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(image, filepath.Join(layer, "usr/share/image")); err != nil {
		t.Fatal(err)
	}

	p := ForTest(t, HostSpec{Name: "n1", Docker: true, Layers: []string{layer}}, HostSpec{Name: "n2"})
	h, other := p.Host("n1"), p.Host("n2")
	if got := mustRun(t, h, "docker info -f '{{.Driver}}' 2>/dev/null"); got != "overlay2" {
		t.Errorf("docker's storage driver is %s: images will be slow", got)
	}
	mustRun(t, h, "docker build -q -t server /usr/share/image && docker run -d --restart=always --name server -p 50000:50000 server")
	get := fmt.Sprintf("curl -s --max-time 20 --retry 20 --retry-connrefused --retry-delay 1 http://%s:50000/", h.IP())
	if got := mustRun(t, other, get); got != "hello" {
		t.Errorf("from another host: %q", got)
	}
	if got, err := fetch(t.Context(), "http://"+h.IP()+":50000/"); err != nil || got != "hello" {
		t.Errorf("from this machine: %q, %v", got, err)
	}
	// Images and containers are on the disk.
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, other, get); got != "hello" {
		t.Errorf("after a second boot: %q", got)
	}
}

const serverSource = `package main

import (
	"io"
	"net/http"
)

func main() {
	http.ListenAndServe(":50000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
}
`

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil { // TempDir's mode would be the host's /
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if bytes.HasPrefix([]byte(content), []byte("#!")) {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually is for what tells nobody when it happens.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s in vain for %s", what)
		}
	}
}

// fetch gets a page: this machine may have no curl.
func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
