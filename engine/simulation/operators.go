package simulation

import (
	"context"
	"fmt"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// operators are people who do everything at once, each a thing at a time.
func (w *world) operators() {
	for i := range w.plan.operators {
		p := w.user(fmt.Sprint("operator", i))
		p.Go(func(ctx context.Context) {
			for !w.faults.over {
				p.sleep(w.around(w.plan.pause))
				if !w.faults.over {
					w.operate(ctx, p)
				}
			}
		})
	}
}

// settle starts what is to run through all faults untouched.
func (w *world) settle() {
	p := w.user("founder")
	p.Go(func(ctx context.Context) {
		start := func(name unit.Name, t text) {
			for {
				if w.submit(ctx, p, name, t, unit.TargetLaunched) == nil {
					return
				}
				p.sleep(requestTimeout)
			}
		}
		for i := range 2 + w.plan.machines/2 {
			start(unit.Name(fmt.Sprintf(steadyPlain, i)), w.text("", Behaviour{}, 0))
		}
		for i := range 2 {
			start(unit.Name(fmt.Sprintf(steadyAlone, i)), w.text("Isolation=stop", Behaviour{}, 0))
		}
	})
}

func (w *world) submit(ctx context.Context, p *process, name unit.Name, t text, target unit.Target) error {
	done := w.judge.submits(name)
	_, _, err := p.registry.SubmitUnit(ctx, name, t.raw, target)
	w.note(name, "", "%s submits it as %s (%q): %v", p.name, target, t.req, err)
	done(err == nil)
	return err
}

// operate does one thing.
func (w *world) operate(ctx context.Context, p *process) {
	name, k := w.drawUnit(w.rand)
	r := p.registry
	var err error
	var what string
	switch w.rand.IntN(13) {
	case 0, 1, 2, 3:
		_ = w.submit(ctx, p, name, w.drawText(w.rand, k), unit.TargetLaunched)
		return
	case 4:
		_ = w.submit(ctx, p, name, w.drawText(w.rand, k), unit.TargetInactive)
		return
	case 5:
		what = "load"
		_, err = r.SetTarget(ctx, name, unit.TargetLoaded)
	case 6:
		what = "stop"
		_, err = r.SetTarget(ctx, name, unit.TargetLoaded)
	case 7:
		what = "start"
		_, err = r.SetTarget(ctx, name, unit.TargetLaunched)
	case 8:
		what = "restart"
		_, err = r.RestartUnit(ctx, name)
	case 9:
		what = "restart on one"
		_, err = r.RestartUnitOn(ctx, name, w.hosts[w.rand.IntN(len(w.hosts))].Machine().ID, func(machine.ID) bool { return true })
	case 10:
		what = "destroy"
		w.judge.destroys(name)
		_, err = r.DestroyUnit(ctx, name)
	case 11:
		what = "unload"
		_, err = r.SetTarget(ctx, name, unit.TargetInactive)
	default:
		w.override(ctx, p)
		return
	}
	w.count("operator: " + what)
	w.note(name, "", "%s: %s: %v", p.name, what, err)
}

// override says something about a machine.
func (w *world) override(ctx context.Context, p *process) {
	id := w.hosts[w.rand.IntN(len(w.hosts))].Machine().ID
	deed := w.rand.IntN(4)
	what := []string{"cordon", "uncordon", "set metadata", "clear metadata"}[deed]
	_, err := p.registry.UpdateOverrides(ctx, []machine.ID{id}, func(_ machine.ID, o *record.Overrides) error {
		switch deed {
		case 0:
			o.Cordoned = true
		case 1:
			o.Cordoned = false
		case 2:
			o.Metadata = map[string]string{"region": "eu"}
		default:
			o.Metadata = nil
		}
		return nil
	})
	w.count("operator: " + what)
	w.note("", id, "%s: %s: %v", p.name, what, err)
}
