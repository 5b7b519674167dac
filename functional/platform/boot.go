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
	"sync"
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
	hosts, err := p.BootAll(ctx, spec)
	if err != nil {
		return nil, err
	}
	return hosts[0], nil
}

// BootAll boots hosts in parallel; their addresses are in the order of specs.
// If one fails, those of them that booted are still there.
func (p *Platform) BootAll(ctx context.Context, specs ...HostSpec) ([]*Host, error) {
	hosts := make([]*Host, len(specs))
	errs := make([]error, len(specs))
	var booting sync.WaitGroup
	for i, spec := range specs {
		if spec.MachineID == "" {
			spec.MachineID = randomHex(16)
		}
		archive, err := p.firstFiles(spec)
		if err == nil {
			hosts[i], err = p.addHost(spec)
		}
		if err != nil {
			errs[i] = fmt.Errorf("boot %s: %w", spec.Name, err)
			continue
		}
		booting.Go(func() {
			if err := hosts[i].boot(ctx, archive); err != nil {
				err = fmt.Errorf("boot %s: %w", spec.Name, err)
				errs[i] = errors.Join(err, hosts[i].Remove())
			}
		})
	}
	booting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return hosts, nil
}

// addHost gives the host a number, and so an address, and a disk.
func (p *Platform) addHost(spec HostSpec) (*Host, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkName("host", spec.Name); err != nil {
		return nil, err
	}
	if !validMachineID.MatchString(spec.MachineID) {
		return nil, fmt.Errorf("machine id %q: want 32 hex digits", spec.MachineID)
	}
	if p.closing.Err() != nil {
		return nil, p.errClosed()
	}
	if p.hosts[spec.Name] != nil {
		return nil, fmt.Errorf("platform %s has a host of that name", p.desc.Name)
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
		return nil, fmt.Errorf("platform %s is full", p.desc.Name)
	}
	layers := make([]string, 0, len(spec.Layers))
	for _, layer := range spec.Layers {
		abs, err := filepath.Abs(layer)
		if err != nil {
			return nil, err
		}
		if !isDir(abs) {
			return nil, fmt.Errorf("layer %s is not a directory", layer)
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
	if err := h.platform.beginBoot(); err != nil {
		return err
	}
	defer h.platform.booting.Done()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	defer context.AfterFunc(h.platform.closing, cancel)()
	notify := filepath.Join(h.platform.hostsDir(), h.desc.Name+".notify")
	_ = os.Remove(notify)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()

	exited, err := h.launch(ctx, archive, notify)
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
	if err := h.platform.spreadNames(ctx); err != nil {
		return err
	}
	fmt.Fprintf(h.platform.out, "%s is up at %s after %s\n", h.desc.Name, h.IP(), elapsed(began))
	return nil
}

// beginBoot keeps Close waiting, or refuses.
func (p *Platform) beginBoot() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing.Err() != nil {
		return p.errClosed()
	}
	p.booting.Add(1)
	return nil
}

func (p *Platform) errClosed() error { return fmt.Errorf("platform %s is closed", p.desc.Name) }

const bootTimeout = 2 * time.Minute

// bootFailed adds to an error what the console shows, and leaves nothing running.
func (h *Host) bootFailed(err error) error {
	if console, errRead := os.ReadFile(h.disk().console()); errRead == nil && len(console) > 0 {
		err = fmt.Errorf("%w\nits console says:\n%s", err, tail(string(console), 2000))
	}
	return errors.Join(err, h.Kill())
}

// launch starts the host's processes. What ends them is reported once.
func (h *Host) launch(ctx context.Context, archive []byte, notify string) (<-chan error, error) {
	disk, network := h.disk(), h.platform.desc.Net
	overlay, err := disk.overlay(h.platform.desc.RootFS, h.desc.Layers)
	if err != nil {
		return nil, err
	}
	if err := h.renewCgroups(); err != nil {
		return nil, err
	}
	cgroup, err := os.Open(h.launchCgroup())
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
		"CGROUP=" + h.nspawnCgroup(), "OVERLAY=" + overlay, "ROOT=" + disk.root(), "HOST=" + h.desc.Name, "PEERS=" + h.platform.hostsFile(),
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

// renewCgroups makes the host's cgroups anew: Linux 6.18, for one, kills whatever
// is started directly in a cgroup that has ever been killed (clone3 compares
// the new process's kill_seq with that of the wrong cgroup).
func (h *Host) renewCgroups() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.execDir != nil {
		h.execDir.Close()
		h.execDir = nil
	}
	for _, dir := range []string{h.launchCgroup(), h.nspawnCgroup(), h.execCgroup()} {
		if err := removeCgroup(dir); err != nil {
			return err
		}
		if err := makeCgroup(dir); err != nil {
			return err
		}
	}
	return nil
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

// spreadNames tells every running host of all hosts: of those that were added
// since it started.
func (p *Platform) spreadNames(ctx context.Context) error {
	names := p.hostsFile()
	var telling sync.WaitGroup
	hosts := p.Hosts()
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		telling.Go(func() { errs[i] = h.learnNames(ctx, names) })
	}
	telling.Wait()
	return errors.Join(errs...)
}

// learnNames adds lines to the host's /etc/hosts. A host that isn't running is
// told when it starts.
func (h *Host) learnNames(ctx context.Context, lines string) error {
	h.names.Lock()
	defer h.names.Unlock()
	if h.told == lines || h.BootID() == "" {
		return nil
	}
	const add = `while read -r line; do grep -qxF "$line" /etc/hosts || echo "$line" >>/etc/hosts; done`
	_, err := h.runStdin(ctx, strings.NewReader(lines), "sh", "-c", add)
	if err != nil && h.BootID() == "" {
		return nil // it has just been killed
	}
	h.told = lines
	return err
}
