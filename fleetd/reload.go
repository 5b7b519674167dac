package main

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/fleetd/config"
)

// obey does what signals ask for, until ctx ends.
func (n *node) obey(ctx context.Context, c control) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.reload:
			ready := c.supervisor.reloading()
			n.reload(ctx, c.load)
			ready()
		case <-c.dump:
			n.dump(ctx)
		}
	}
}

// reload reads the configuration again and applies what can be applied. One
// that cannot be read changes nothing.
func (n *node) reload(ctx context.Context, load func() (*config.Config, error)) {
	newer, err := load()
	if err != nil {
		n.reloads.refused()
		n.log.WithError(err).Error("reload refused: the running configuration stays")
		return
	}
	n.mu.Lock()
	warned := n.cfg.Warnings
	changes := n.cfg.Reload(newer)
	n.mu.Unlock()
	for _, w := range newer.Warnings {
		if !slices.Contains(warned, w) {
			n.log.Warn(w)
		}
	}
	restart := false
	for _, c := range changes {
		if c.Live {
			n.log.Infof("reloaded: %s is %s now (was %s)", c.Key, orNothing(c.New), orNothing(c.Old))
		} else {
			n.log.Warnf("reloaded: %s changed to %s, which needs a restart; until then it stays %s", c.Key, orNothing(c.New), orNothing(c.Old))
			restart = true
		}
	}
	switch {
	case restart:
		n.log.Warn("restart fleetd for these: systemctl restart fleet (it touches no unit)")
	case len(changes) == 0:
		n.log.Info("reloaded: the configuration is as it was")
	}
	n.reloads.taken(restart)
	n.apply(ctx)
	if slices.ContainsFunc(changes, func(c config.Change) bool { return strings.HasPrefix(c.Key, "api_") }) {
		n.tls.tell(n.listeners)
	}
}

func orNothing(s string) string {
	if s == "" {
		return "empty"
	}
	return s
}

// apply makes the configuration true where it can be while fleetd runs.
func (n *node) apply(ctx context.Context) {
	n.applying.Lock()
	defer n.applying.Unlock()
	n.mu.Lock()
	cfg, presence, paths := *n.cfg, n.presence, apiPathsOf(n.cfg)
	n.mu.Unlock()
	setVerbosity(n.log.Logger, &cfg)
	n.tls.use(paths)
	n.registry.SetRequestTimeout(cfg.EtcdRequestTimeout)
	n.server.SetPageSize(cfg.TokenLimit)
	if n.engine != nil {
		n.engine.SetSafetyNet(cfg.EngineReconcileInterval)
	}
	m, err := n.identify(&cfg)
	if err != nil {
		n.log.WithError(err).Error("reloading: this host stays as it presents itself")
		return
	}
	if presence == nil {
		return // it will be presented as it is once it has joined
	}
	was := presence.Machine()
	if m.Leaving = was.Leaving; reflect.DeepEqual(m, was) {
		return
	}
	if err := presence.Update(ctx, m); err != nil && ctx.Err() == nil {
		n.log.WithError(err).Warn("reloaded, but the cluster can't be told yet: it will be once etcd answers")
	}
}
