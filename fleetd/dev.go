package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/fleetd/manager"
	"github.com/fleet-project/fleet/machine"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

type devOptions struct {
	dataDir  string
	listen   string
	metadata string
	verbose  bool
}

func devCommand() *cobra.Command {
	var opts devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster of one host in one process: etcd, engine, agent and API",
		Long: `fleetd dev is for trying and developing: one process, nothing to configure.
As root it drives this machine's systemd; as an ordinary user your own
(systemd --user); where PID 1 isn't systemd, root gets a private one.
Stopping it stops its units; with --data-dir they start again next time.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), opts) },
	}
	cmd.Flags().StringVar(&opts.dataDir, "data-dir", "", "keep everything in this directory (default: nothing outlives the process)")
	cmd.Flags().StringVar(&opts.listen, "listen", "", "where the API listens: unix:///PATH or http://HOST:PORT (default: where fleetctl looks)")
	cmd.Flags().StringVar(&opts.metadata, "metadata", "", "this host's metadata: k=v,k=v")
	cmd.Flags().BoolVarP(&opts.verbose, "verbose", "v", false, "log more")
	return cmd
}

// devDirs are where fleetd dev keeps what; all are made for it.
type devDirs struct {
	data    string // etcd's; in runtime when nothing is to outlive the process
	runtime string // sockets, the agent's records: gone after a reboot
}

// runDev assembles the same node that fleetd runs, with an etcd of its own.
func runDev(ctx context.Context, opts devOptions) (err error) {
	began := time.Now()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	cfg := config.Default()
	if opts.verbose {
		cfg.Verbosity = 1
	}
	if cfg.Metadata, err = machine.ParseMetadata(opts.metadata); err != nil {
		return fmt.Errorf("--metadata: %w", err)
	}
	log := newLog(cfg)
	if os.Geteuid() != 0 {
		// First of all: a user without a systemd has no directories for us
		// either, and this says what to do about it.
		if _, err := manager.Find(ctx, ""); err != nil {
			return err
		}
	}
	dirs, err := openDevDirs(opts.dataDir)
	if err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(dirs.runtime, "dev.lock"), "fleetd dev")
	if err != nil {
		return err
	}
	defer lock.Close() // after the directories are gone: they might be the next one's
	defer func() { err = errors.Join(err, dirs.close(err == nil)) }()
	where := opts.listen
	if where == "" {
		where = "unix://" + devSocket()
	}
	listener, err := listen(where)
	if err != nil {
		return err
	}
	mgr, err := manager.Find(ctx, filepath.Join(dirs.runtime, "systemd"))
	if err != nil {
		listener.Close()
		return err
	}
	defer func() { err = errors.Join(err, mgr.Close()) }()
	etcd, err := startDevEtcd(ctx, dirs.data, dirs.runtime)
	if err != nil {
		listener.Close()
		return err
	}
	defer etcd.close()

	cfg.EtcdServers = []string{etcd.endpoint}
	cfg.UnitsDirectory = filepath.Join(dirs.runtime, "agent", "units")
	n, err := newNode(ctx, nodeOptions{
		cfg: cfg, log: log,
		systemd: systemd.Options{
			Address: mgr.BusAddress, UnitDir: mgr.UnitDir, UserScope: mgr.Scope == manager.User,
			Journalctl: mgr.Journalctl(), SyncJournal: mgr.SyncJournal(),
		},
		joined:   func() { announce(log, mgr, where, began) },
		identify: func(c *config.Config) (machine.Machine, error) { return identifyDev(c, mgr) },
	})
	if err != nil {
		listener.Close()
		return err
	}
	defer n.close()
	return runWith(ctx, n, mgr, listener)
}

// runWith runs the node while the manager lives: a private one can be killed,
// and then no unit is left to look after.
func runWith(ctx context.Context, n *node, mgr *manager.Manager, l net.Listener) error {
	errGone := errors.New("the private systemd has ended, and all units with it: run fleetd dev again")
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	watching.Go(func() {
		select {
		case <-ctx.Done():
		case <-mgr.Done():
			end(errGone)
		}
	})
	// Nobody would look after the units when this process is gone.
	err := n.run(ctx, []net.Listener{l}, control{
		handOver: func(context.Context) bool { return !errors.Is(context.Cause(ctx), errGone) },
	})
	if errors.Is(context.Cause(ctx), errGone) {
		return errGone
	}
	return err
}

func announce(log *logrus.Entry, mgr *manager.Manager, where string, began time.Time) {
	log.Infof("fleetd dev is ready after %s on %s; the API is at %s", time.Since(began).Round(time.Millisecond), mgr, where)
	if where != "unix://"+defaultSocket {
		log.Infof("for fleetctl: export FLEETCTL_ENDPOINT=%s", where)
	}
}

// identifyDev is identify for a host that nobody else must reach.
func identifyDev(c *config.Config, mgr *manager.Manager) (machine.Machine, error) {
	m, err := machine.Local(machine.Settings{
		PublicIP: c.PublicIP, Metadata: c.Metadata, Version: version,
		Manager: machine.Manager{Scope: string(mgr.Scope), Systemctl: mgr.Systemctl(), Journalctl: mgr.Journalctl()},
	})
	if errors.Is(err, machine.ErrNoAddress) {
		m.IP, err = "127.0.0.1", nil
	}
	return m, err
}

// devSocket is where fleetctl looks first that this user may write.
func devSocket() string {
	if os.Geteuid() == 0 {
		return defaultSocket
	}
	return filepath.Join(manager.UserRuntimeDir(), "fleet.sock")
}

// openDevDirs makes the directories. The runtime one must have a short path
// (sockets) and, with --data-dir, the same one each time, so that a fleetd dev
// that was killed is followed by one that adopts its units.
func openDevDirs(dataDir string) (devDirs, error) {
	var d devDirs
	base := "/run"
	if os.Geteuid() != 0 {
		base = manager.UserRuntimeDir()
	}
	if dataDir == "" {
		d.runtime = filepath.Join(base, "fleet-dev")
		d.data = filepath.Join(d.runtime, "etcd")
	} else {
		abs, err := filepath.Abs(dataDir)
		if err != nil {
			return d, fmt.Errorf("--data-dir: %w", err)
		}
		d.runtime = filepath.Join(base, strings.TrimPrefix(manager.StateDir(abs), "/run/"))
		d.data = filepath.Join(abs, "etcd")
	}
	for _, dir := range []string{d.runtime, d.data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return d, fmt.Errorf("fleetd dev's directories: %w", err)
		}
	}
	return d, nil
}

// close removes what must not stay: after a clean end nothing of the runtime
// directory is needed any more, after another the next fleetd dev takes over
// what is there.
func (d devDirs) close(clean bool) error {
	if !clean {
		return nil
	}
	return os.RemoveAll(d.runtime)
}
