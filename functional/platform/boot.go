package platform

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed launch.sh
var launchScript string

// toolPath is where tools are looked for, here and on the hosts.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// HostSpec says what a host is like.
type HostSpec struct {
	Name      string // its host name too
	Docker    bool   // start docker at boot
	MachineID string // 32 hex digits; default: random

	// Layers are directories stacked, read-only, over the root filesystem; of a
	// file in several layers the last one's is seen. That's how binaries, unit
	// files and configurations get in. Their directories' modes count too, and
	// they must use /usr/bin rather than /bin, which is a symlink to it.
	Layers []string

	// Files are this host's own, by absolute path, written before its first boot.
	Files map[string]File

	// Enable names units to start at boot, as `systemctl enable` would.
	Enable []string
}

var validMachineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Boot adds a host and returns when it has booted. Several may boot at a time.
func (p *Platform) Boot(ctx context.Context, spec HostSpec) (*Host, error) {
	if err := checkName("host", spec.Name); err != nil {
		return nil, err
	}
	if spec.MachineID == "" {
		spec.MachineID = randomHex(16)
	}
	if !validMachineID.MatchString(spec.MachineID) {
		return nil, fmt.Errorf("boot %s: machine id %q: want 32 hex digits", spec.Name, spec.MachineID)
	}
	archive, err := p.firstFiles(spec)
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", spec.Name, err)
	}
	h, err := p.addHost(spec)
	if err != nil {
		return nil, err
	}
	if err := h.boot(ctx, archive); err != nil {
		err = fmt.Errorf("boot %s: %w", spec.Name, err)
		return nil, errors.Join(err, h.Remove(context.WithoutCancel(ctx)))
	}
	return h, nil
}

// addHost gives the host a number, and so an address, and a disk.
func (p *Platform) addHost(spec HostSpec) (*Host, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("boot %s: platform %s is closed", spec.Name, p.desc.Name)
	}
	if p.hosts[spec.Name] != nil {
		return nil, fmt.Errorf("boot %s: platform %s has a host of that name", spec.Name, p.desc.Name)
	}
	used := map[int]bool{}
	for _, h := range p.hosts {
		used[h.desc.Number] = true
	}
	number := 0
	for used[number] {
		number++
	}
	if number >= maxHosts {
		return nil, fmt.Errorf("boot %s: platform %s is full", spec.Name, p.desc.Name)
	}
	layers := make([]string, 0, len(spec.Layers))
	for _, layer := range spec.Layers {
		abs, err := filepath.Abs(layer)
		if err != nil {
			return nil, err
		}
		if !isDir(abs) {
			return nil, fmt.Errorf("boot %s: layer %s is not a directory", spec.Name, layer)
		}
		layers = append(layers, abs)
	}
	h := &Host{platform: p, desc: hostDescription{
		Name: spec.Name, Number: number, MachineID: spec.MachineID, Docker: spec.Docker, Layers: layers,
	}}
	if err := h.disk().make(); err != nil {
		return nil, err
	}
	if err := h.save(); err != nil {
		return nil, err
	}
	p.hosts[spec.Name] = h
	return h, nil
}

// boot starts the host and waits until its systemd says that it has booted.
func (h *Host) boot(ctx context.Context, archive []byte) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	notify := filepath.Join(h.platform.hostsDir(), h.desc.Name+".notify")
	_ = os.Remove(notify)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()

	peers := h.platform.hostsFile()
	exited, err := h.launch(ctx, archive, notify, peers)
	if err != nil {
		return h.bootFailed(err)
	}
	ready := make(chan error, 1)
	go func() { ready <- waitReady(conn) }()
	select {
	case err = <-ready:
	case err = <-exited:
		err = fmt.Errorf("systemd-nspawn ended: %w", err)
	case <-ctx.Done():
		err = fmt.Errorf("not booted after %s: %w", elapsed(began), ctx.Err())
	}
	if err != nil {
		return h.bootFailed(err)
	}
	// Hosts that were added while this one booted haven't told it their names.
	if now := h.platform.hostsFile(); now != peers {
		if err := h.learnNames(ctx, now); err != nil {
			return err
		}
	}
	fmt.Fprintf(h.platform.out, "%s is up at %s after %s\n", h.desc.Name, h.IP(), elapsed(began))
	return nil
}

const bootTimeout = 2 * time.Minute

// bootFailed adds to an error what the console shows, and leaves nothing running.
func (h *Host) bootFailed(err error) error {
	if console, errRead := os.ReadFile(h.disk().console()); errRead == nil && len(console) > 0 {
		err = fmt.Errorf("%w\nits console says:\n%s", err, tail(string(console), 2000))
	}
	return errors.Join(err, h.Kill())
}

// launch starts the host's processes. What ends them is reported once.
func (h *Host) launch(ctx context.Context, archive []byte, notify, peers string) (<-chan error, error) {
	disk, network := h.disk(), h.platform.desc.Net
	overlay, err := disk.overlay(h.platform.desc.RootFS, h.desc.Layers)
	if err != nil {
		return nil, err
	}
	// nspawn divides its cgroup; a clean one each time keeps that simple.
	if err := removeCgroup(h.nspawnCgroup()); err != nil {
		return nil, err
	}
	for _, dir := range []string{h.nspawnCgroup(), h.execCgroup()} {
		if err := makeCgroup(dir); err != nil {
			return nil, err
		}
	}
	cgroup, err := os.Open(h.nspawnCgroup())
	if err != nil {
		return nil, err
	}
	defer cgroup.Close()
	console, err := os.OpenFile(disk.console(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer console.Close()

	argv := []string{"-c", launchScript, "launch"}
	if h.desc.Docker {
		// Docker's own overlays can't lie on an overlay; its copying fallback
		// is slow.
		argv = append(argv, "--bind="+disk.docker()+":/var/lib/docker")
	}
	cmd := exec.Command("sh", argv...)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=" + toolPath,
		"OVERLAY=" + overlay, "ROOT=" + disk.root(), "HOST=" + h.desc.Name, "PEERS=" + peers,
		"ADDRESS=" + h.IP() + "/24", "GATEWAY=" + network.gateway().String(),
		"NOTIFY_SOCKET=" + notify,
	}
	cmd.Stdout, cmd.Stderr = console, console
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:       true, // Ctrl-C is for the owner, and a detached host stays
		UseCgroupFD:  true,
		CgroupFD:     int(cgroup.Fd()),
		Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start host: %w", err)
	}
	exited := make(chan error, 1)
	waited := make(chan struct{})
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("it was powered off")
		}
		close(waited)
		exited <- err
	}()
	h.mu.Lock()
	h.desc.Supervisor = cmd.Process.Pid
	err = h.save()
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := network.plug(ctx, h.desc.Number, cmd.Process.Pid); err != nil {
		return nil, err
	}
	if _, err := stdin.Write(archive); err != nil {
		<-waited // it ended early: then its console has the reason
		return nil, fmt.Errorf("set up host: %w", err)
	}
	return exited, stdin.Close()
}

// waitReady reads what nspawn notifies of until the host's systemd is ready.
func waitReady(conn *net.UnixConn) error {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(buf[:n]) {
			if string(bytes.TrimSpace(line)) == "READY=1" {
				return nil
			}
		}
	}
}

// hostsFile is what /etc/hosts says of the platform's hosts.
func (p *Platform) hostsFile() string {
	var b strings.Builder
	for _, h := range p.Hosts() {
		fmt.Fprintf(&b, "%s %s\n", h.IP(), h.Name())
	}
	return b.String()
}

// learnNames adds lines to the host's /etc/hosts.
func (h *Host) learnNames(ctx context.Context, lines string) error {
	const add = `while read -r line; do grep -qxF "$line" /etc/hosts || echo "$line" >>/etc/hosts; done`
	_, err := h.runStdin(ctx, strings.NewReader(lines), "sh", "-c", add)
	return err
}
