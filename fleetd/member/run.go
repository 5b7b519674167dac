package member

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/sirupsen/logrus"
)

// Options are what Run needs.
type Options struct {
	Args, Environ []string
	Lookup        Lookup     // this host's addresses
	Proxy         ServeProxy // when this host is none of the members
	// Etcd runs etcd's main program, with changes to the environment: "" unsets a
	// variable. It ends with the process.
	Etcd func(args []string, environ map[string]string)
	// Configured says why this host may lack the configuration that it is to have;
	// nil if it has it. A host without it doesn't begin a cluster of its own.
	Configured func() error
	Log        logrus.FieldLogger
	// Status is told in a line what this host does.
	Status func(string)
	// Patience is how long to wait for an address that the environment uses: 1
	// minute. At boot, the network takes its time.
	Patience time.Duration
	// Promotion is how long a learner waits before it asks again to become a full
	// member: 1 second.
	Promotion time.Duration
}

type runner struct{ Options }

// Run does what this host is to do in its etcd cluster, until ctx ends, or the
// process if it is etcd.
func Run(ctx context.Context, opts Options) error {
	r := &runner{opts}
	s, err := r.settings(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	disk := Disk{}
	if s.ConfigFile == "" {
		if disk, err = s.ReadDisk(); err != nil {
			return err
		}
	}
	role, err := Decide(s, disk)
	if err != nil {
		return err
	}
	switch role {
	case RunNoted:
		if err := s.clear(); err != nil {
			return err
		}
		if s, err = s.noted(disk.Note); err == nil && disk.Proxy {
			err = s.noLongerProxy()
		}
	case RunProxy:
		return stopped(ctx, r.proxy(ctx, s, disk))
	case RunJoin:
		s, err = r.join(ctx, s, disk.Note)
		if full := (*discovery.FullError)(nil); errors.As(err, &full) {
			return stopped(ctx, r.full(ctx, s, full))
		}
	case RunEtcd:
		if err = r.lostData(ctx, s, disk); err == nil && disk.Log {
			err = r.moved(ctx, s)
		}
	case RunAlone:
		if err := r.Configured(); err != nil {
			return refuse("nothing says who the members are (ETCD_DISCOVERY, ETCD_INITIAL_CLUSTER, ETCD_DISCOVERY_SRV), and a cluster of its own may not be what this host is to be: %w", err)
		}
		r.Log.Warn("nothing says who the members are (ETCD_DISCOVERY, ETCD_INITIAL_CLUSTER, ETCD_DISCOVERY_SRV): this host is a cluster of its own")
	}
	if err != nil {
		return stopped(ctx, err)
	}
	return r.etcd(ctx, s, disk)
}

// stopped is no error.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// progress tells the log and systemd's status.
func (r *runner) progress(text string) {
	r.Log.Info(text)
	r.Status(text)
}

// settings reads the environment, and waits if it needs an address that isn't
// there yet.
func (r *runner) settings(ctx context.Context) (Settings, error) {
	end := time.After(cmp.Or(r.Patience, time.Minute))
	for said := ""; ; {
		s, warnings, err := Parse(r.Args, r.Environ, r.Lookup)
		var missing *AddressError
		if !errors.As(err, &missing) {
			for _, w := range warnings {
				r.Log.Warn(w)
			}
			return s, err
		}
		if text := err.Error(); text != said {
			said = text
			r.progress(text + "; waiting for it")
		}
		select {
		case <-time.After(time.Second): // routes come without a word
		case <-end:
			return s, err
		case <-ctx.Done():
			return s, err
		}
	}
}

// noted are the settings with the members that the note tells.
func (s Settings) noted(n *Note) (Settings, error) {
	if me := s.peer().Value(); n.Phase == PhaseComplete && n.Peer != me {
		return s, refuse("this host has joined a cluster as %s, and is now %s: the others know the first. Give it back what it had", n.Peer, me)
	}
	return s.WithMembers(n.InitialCluster, n.Token, n.Phase == PhaseLearner), nil
}

// etcd runs etcd, and sees to it that a host that has run it once isn't taken
// for one that never did.
func (r *runner) etcd(ctx context.Context, s Settings, disk Disk) error {
	args, environ := s.Command()
	r.Status("etcd runs") // before anybody says more, as a learner does
	if s.ConfigFile == "" {
		if disk.Log && disk.Note != nil && disk.Note.Phase != PhaseLearner {
			if err := s.RemoveNote(); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // whose end is etcd's business now
		var beside sync.WaitGroup
		beside.Go(func() { r.endDead(ctx, s.servedPorts()) })
		beside.Go(func() {
			if disk.Note != nil && disk.Note.Phase == PhaseLearner {
				r.promote(ctx, s, disk.Note)
				return
			}
			r.forget(ctx, s)
		})
		defer func() { cancel(); beside.Wait() }()
	}
	r.Etcd(args, environ)
	return nil
}

// forget removes the note as soon as etcd has its own log, with something in it.
func (r *runner) forget(ctx context.Context, s Settings) {
	for {
		if begun, err := s.begun(); begun && err == nil {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond): // etcd doesn't tell
		case <-ctx.Done():
			return
		}
	}
	if disk, err := s.ReadDisk(); err != nil || disk.Note == nil {
		return
	}
	if err := s.RemoveNote(); err != nil {
		r.Log.WithError(err).Warn("cannot forget how this host joined")
	}
}
