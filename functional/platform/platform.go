package platform

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options say what a new platform is like.
type Options struct {
	Name string    // default: a random one
	Dir  string    // where the hosts' disks go, in a directory of their own; default: beside the platform's description
	Out  io.Writer // progress, for people to read; default: none
}

// Platform is a private network and the hosts on it.
type Platform struct {
	desc   description
	out    io.Writer
	reaper *os.File // open: the reaper waits; nil: not this process's platform
	owner  *os.File // the lock that says that the owner lives

	sshKeyPath string
	sshPublic  string

	layers  sync.Mutex // one is made at a time
	booting sync.WaitGroup
	closing context.Context // done: no host may boot any more
	close   context.CancelFunc

	mu     sync.Mutex // guards what follows
	hosts  map[string]*Host
	closed bool
}

func newPlatform(out io.Writer) *Platform {
	p := &Platform{out: out, hosts: map[string]*Host{}}
	p.closing, p.close = context.WithCancel(context.Background())
	return p
}

// New makes a platform without hosts. It installs packages and builds the
// hosts' root filesystem where that hasn't been done on this machine yet.
func New(ctx context.Context, opts Options) (*Platform, error) {
	out := opts.Out
	if out == nil {
		out = io.Discard
	}
	if opts.Name == "" {
		opts.Name = "p-" + randomHex(4)
	}
	if err := checkName("platform", opts.Name); err != nil {
		return nil, err
	}
	if err := Check(); err != nil {
		return nil, err
	}
	if err := Install(ctx, out); err != nil {
		return nil, err
	}
	raiseLimits(out)
	rootfs, err := RootFS(ctx, out)
	if err != nil {
		return nil, err
	}
	keyPath, public, err := sshKey(ctx)
	if err != nil {
		return nil, err
	}
	if err := Reap(ctx, out); err != nil {
		// It's in nobody's way; this platform has a name and a subnet of its own.
		fmt.Fprintf(out, "remains of an earlier platform: %v\n", err)
	}
	p := newPlatform(out)
	p.sshKeyPath, p.sshPublic = keyPath, public
	if err := p.claim(ctx, opts, rootfs); err != nil {
		return nil, err
	}
	if err := p.build(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// claim takes the name and a subnet, and sees to it that they're given back.
func (p *Platform) claim(ctx context.Context, opts Options, rootfs string) (err error) {
	lock, err := lockFile(ctx, filepath.Join(baseDir(), ".lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	dir := platformDir(opts.Name)
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("platform %s exists already (%s)", opts.Name, dir)
	} else if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = remove(context.WithoutCancel(ctx), opts.Name)
		}
	}()
	if p.owner, err = tryLockFile(filepath.Join(dir, "owner.lock")); err != nil {
		return err
	}
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "disks")
	if opts.Dir != "" {
		if data, err = filepath.Abs(filepath.Join(opts.Dir, opts.Name)); err != nil {
			return err
		}
		if _, err := os.Lstat(data); err == nil {
			// It will be removed with the platform, so it has to be ours.
			return fmt.Errorf("platform %s: %s exists already", opts.Name, data)
		}
	}
	net, err := claimNetwork(ctx)
	if err != nil {
		return err
	}
	p.desc = description{
		Name: opts.Name, Net: net, RootFS: rootfs, Data: data, Owner: os.Getpid(),
		Cgroup: filepath.Join(root, "fleet-platform", opts.Name),
	}
	if err := p.desc.writeRemover(); err != nil {
		return err
	}
	if p.reaper, err = startReaper(dir); err != nil {
		return err
	}
	return p.save()
}

// build makes what the hosts need; whatever fails, Close removes it.
func (p *Platform) build(ctx context.Context) error {
	if err := p.desc.Net.setUp(ctx); err != nil {
		return err
	}
	if err := makeCgroup(p.desc.Cgroup); err != nil {
		return err
	}
	for _, dir := range []string{p.desc.Data, p.hostsDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := p.probeOverlay(ctx); err != nil {
		// An overlay can't have its upper layer on another overlay, which is
		// what everything lies on inside of a container. Memory will do.
		if _, errMount := run(ctx, "mount", "-t", "tmpfs", "-o", "mode=0755", "fleet-platform", p.desc.Data); errMount != nil {
			return errors.Join(err, errMount)
		}
		p.desc.Tmpfs = true
		if err := p.probeOverlay(ctx); err != nil {
			return err
		}
		return p.save()
	}
	return nil
}

// probeOverlay tries whether hosts' disks can lie in the data directory.
func (p *Platform) probeOverlay(ctx context.Context) error {
	dir, err := os.MkdirTemp(p.desc.Data, "probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	disk := disk{dir}
	if err := disk.make(); err != nil {
		return err
	}
	options, err := disk.overlay(p.desc.RootFS, nil)
	if err != nil {
		return err
	}
	// Removing a file of the lower layer needs what not every filesystem has.
	const try = `mount -t overlay overlay -o "$1" "$2" && touch "$2/probe" && rm "$2/etc/hosts"`
	_, err = run(ctx, "unshare", "--mount", "--propagation", "private", "sh", "-c", try, "sh", options, disk.root())
	return err
}

func (p *Platform) save() error {
	return writeJSON(filepath.Join(platformDir(p.desc.Name), "platform.json"), &p.desc)
}

func (p *Platform) hostsDir() string { return filepath.Join(platformDir(p.desc.Name), "hosts") }

// Open finds a platform that another process made. Closing it removes it.
func Open(name string) (*Platform, error) {
	if err := checkName("platform", name); err != nil {
		return nil, err
	}
	p := newPlatform(io.Discard)
	err := readJSON(filepath.Join(platformDir(name), "platform.json"), &p.desc)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no platform %s: %w", name, err)
	}
	if err != nil {
		return nil, err
	}
	if p.sshKeyPath, p.sshPublic, err = sshKey(context.Background()); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(p.hostsDir(), "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		h := &Host{platform: p}
		if err := readJSON(file, &h.desc); err != nil {
			return nil, err
		}
		p.hosts[h.desc.Name] = h
	}
	return p, nil
}

// List opens every platform of this machine, by name.
func List() ([]*Platform, error) {
	names, err := platformNames()
	if err != nil {
		return nil, err
	}
	var found []*Platform
	for _, name := range names {
		p, err := Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // being made, or being removed
		}
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

// Name is the platform's name.
func (p *Platform) Name() string { return p.desc.Name }

// Detached says whether the platform stays when its owner goes.
func (p *Platform) Detached() bool { return p.desc.Detached }

// Gateway is this machine's address on the platform's network.
func (p *Platform) Gateway() netip.Addr { return p.desc.Net.gateway() }

// Subnet is the platform's network.
func (p *Platform) Subnet() netip.Prefix { return p.desc.Net.prefix() }

// Bridge is the name of the platform's bridge on this machine.
func (p *Platform) Bridge() string { return p.desc.Net.bridge() }

// SSHKey is the path of the private key that root and core accept on all hosts.
func (p *Platform) SSHKey() string { return p.sshKeyPath }

// Hosts are the platform's hosts in the order of their addresses.
func (p *Platform) Hosts() []*Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	hosts := make([]*Host, 0, len(p.hosts))
	for _, h := range p.hosts {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b *Host) int { return a.desc.Number - b.desc.Number })
	return hosts
}

// Host is the host of that name, or nil.
func (p *Platform) Host(name string) *Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[name]
}

// Detach lets the platform outlive this process. Remove it with Open and Close.
func (p *Platform) Detach() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.reaper == nil {
		return nil
	}
	// First on disk: a process killed between the two must not leave a
	// platform behind that nobody removes unless it says so itself.
	p.desc.Detached = true
	if err := p.save(); err != nil {
		return err
	}
	if _, err := p.reaper.WriteString("detached\n"); err != nil {
		return fmt.Errorf("detach platform %s: its reaper is gone: %w", p.desc.Name, err)
	}
	p.reaper.Close()
	p.owner.Close()
	p.reaper, p.owner = nil, nil
	return nil
}

// Close removes the platform: hosts, network, disks. A second call does nothing.
func (p *Platform) Close() error {
	// A host that is booting would make anew what is being removed.
	p.mu.Lock()
	p.close()
	p.mu.Unlock()
	p.booting.Wait()

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The script kills as well; from here it is seen without polling.
	if err := killCgroup(ctx, p.desc.Cgroup); err != nil {
		return err
	}
	if err := remove(ctx, p.desc.Name); err != nil {
		return err
	}
	p.closed = true
	if p.reaper != nil {
		// Its work is done: it finds nothing left to remove.
		p.reaper.Close()
		p.owner.Close()
	}
	return nil
}

// CollectJournals writes each host's journal and console output to files in
// dir, for people to find out what happened.
func (p *Platform) CollectJournals(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var failed []error
	for _, h := range p.Hosts() {
		journal, err := h.Journal(ctx)
		if err != nil {
			failed = append(failed, err)
		}
		if err := os.WriteFile(filepath.Join(dir, h.Name()+".journal"), []byte(journal), 0o644); err != nil {
			failed = append(failed, err)
		}
		console, err := os.ReadFile(h.disk().console())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, h.Name()+".console.log"), console, 0o644)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
