package apply

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"

	"github.com/fleet-project/fleet/cloudinit"
	"github.com/fleet-project/fleet/cloudinit/format"
)

// Configs may name configs that name configs. These bounds end a circle.
const (
	maxDepth   = 10
	maxConfigs = 100
)

// references puts together a config and those that it names, as Ignition does:
// one that replaces it is all there is, those to merge come one after the other,
// and the later one wins.
type references struct {
	ctx     context.Context
	instead http.RoundTripper
	fetched int
}

func (r *references) render(cfg types.Config, depth int) (types.Config, error) {
	if depth > maxDepth {
		return cfg, fmt.Errorf("ignition.config: configs name each other more than %d deep: they go in a circle", maxDepth)
	}
	if ref := cfg.Ignition.Config.Replace; ref.Source != nil {
		next, err := r.get(ref, cfg.Ignition)
		if err != nil {
			return cfg, err
		}
		return r.render(next, depth+1)
	}
	merged := cfg
	for _, ref := range cfg.Ignition.Config.Merge {
		next, err := r.get(ref, merged.Ignition)
		if err != nil {
			return cfg, err
		}
		// What it names is fetched with its settings over ours.
		settings := v3.Merge(types.Config{Ignition: merged.Ignition}, types.Config{Ignition: next.Ignition}).Ignition
		settings.Config = next.Ignition.Config
		next.Ignition = settings
		if next, err = r.render(next, depth+1); err != nil {
			return cfg, err
		}
		merged = v3.Merge(merged, next)
	}
	merged.Ignition.Config = types.IgnitionConfig{}
	return merged, nil
}

func (r *references) get(ref types.Resource, settings types.Ignition) (types.Config, error) {
	if r.fetched++; r.fetched > maxConfigs {
		return types.Config{}, fmt.Errorf("ignition.config: more than %d configs are named: they go in a circle", maxConfigs)
	}
	f, err := newFetcher(r.ctx, settings, r.instead)
	if err != nil {
		return types.Config{}, err
	}
	raw, err := f.get(r.ctx, ref, maxConfig)
	if err != nil {
		return types.Config{}, fmt.Errorf("ignition.config: %w", err)
	}
	if format.Detect(raw) != format.Ignition {
		return types.Config{}, fmt.Errorf("ignition.config: %s is no Ignition config", shown(ref))
	}
	out, problems := cloudinit.Translate(raw, cloudinit.Options{Persistent: true})
	if problems.Failed() {
		return types.Config{}, fmt.Errorf("ignition.config: it can't be used as it is:\n%s", strings.TrimSpace(problems.InFile(shown(ref))))
	}
	return out.Config, nil
}

// whole gives the config that a config and those it names are. Put together,
// they must still be one.
func whole(ctx context.Context, in cloudinit.Result, instead http.RoundTripper) (types.Config, error) {
	if c := in.Config.Ignition.Config; c.Replace.Source == nil && len(c.Merge) == 0 {
		return in.Config, nil
	}
	r := &references{ctx: ctx, instead: instead}
	cfg, err := r.render(in.Config, 0)
	if err != nil {
		return cfg, err
	}
	raw, err := cloudinit.Result{Config: cfg}.JSON()
	if err != nil {
		return cfg, err
	}
	if _, said, err := v3.Parse(raw); err != nil {
		return cfg, fmt.Errorf("ignition.config: put together, the configs are none: %w\n%s", err, said.String())
	}
	return cfg, nil
}
