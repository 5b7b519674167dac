package apply

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6/types"

	"github.com/fleet-project/fleet/cloudinit"
)

// plan is what an Apply does: changes on disk, then orders to the running host.
type plan struct {
	steps []step
	after []Change // the orders

	hostname string   // to be set; "" if it is already
	pending  []string // see pendingFile
}

func (p *plan) changes() []Change {
	all := make([]Change, 0, len(p.steps)+len(p.after))
	for _, s := range p.steps {
		all = append(all, s.change)
	}
	return append(all, p.after...)
}

// planner makes a plan. What can't be done is noted, so that all of it is told
// at once.
type planner struct {
	*tree
	ctx      context.Context
	opts     Options
	cfg      types.Config
	in       cloudinit.Result
	fetch    *fetcher
	accounts *accounts
	enabled  []string // units that the config enables
	problems []error
}

func (p *planner) refuse(format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf(format, args...))
}

func (p *planner) note(err error) {
	if err != nil {
		p.problems = append(p.problems, err)
	}
}

func (a *Applier) plan(ctx context.Context, in cloudinit.Result) (*plan, error) {
	p := &planner{tree: newTree(a.root), ctx: ctx, opts: a.opts, in: in}
	var err error
	if p.cfg, err = whole(ctx, in, a.opts.transport); err != nil {
		return nil, err
	}
	fetch, err := newFetcher(ctx, p.cfg.Ignition, a.opts.transport)
	if err != nil {
		return nil, err
	}
	p.fetch = fetch
	if err := p.importKeys(); err != nil {
		return nil, err
	}
	p.refuseDisks()
	if a.opts.Manager == nil {
		p.refuseOrders()
	}
	for _, part := range []func(){p.passwd, p.storage, p.merges, p.units, p.scripts} {
		if part(); p.accounts == nil {
			break // what owners' names mean isn't known
		}
	}
	steps, err := p.steps()
	p.note(err)
	if err := errors.Join(p.problems...); err != nil {
		return nil, fmt.Errorf("nothing was changed:\n%w", err)
	}
	out := &plan{steps: steps}
	return out, p.live(out)
}

// refuseDisks names what can be done only before a root is mounted.
func (p *planner) refuseDisks() {
	s, k := p.cfg.Storage, p.cfg.KernelArguments
	const why = "can be done only by Ignition, before the first boot"
	for _, d := range s.Disks {
		p.refuse("storage.disks: partitioning %s %s", d.Device, why)
	}
	for _, d := range s.Raid {
		p.refuse("storage.raid: making %s %s", d.Name, why)
	}
	for _, d := range s.Luks {
		p.refuse("storage.luks: encrypting %s %s", d.Name, why)
	}
	for _, d := range s.Filesystems {
		p.refuse("storage.filesystems: making a filesystem on %s %s", d.Device, why)
	}
	for _, arg := range append(k.ShouldExist[:len(k.ShouldExist):len(k.ShouldExist)], k.ShouldNotExist...) {
		p.refuse("kernelArguments: %s %s: set it with the boot loader", arg, why)
	}
}

// refuseOrders names what needs a running host.
func (p *planner) refuseOrders() {
	for _, o := range p.in.Orders() {
		p.refuse("line %d: %s", o.Line, o.Msg)
	}
}

// target checks a path of the config and finds its canonical one.
func (p *planner) target(of string) (string, error) {
	if !path.IsAbs(of) || path.Clean(of) != of {
		return "", fmt.Errorf("%q is no plain absolute path: write it without empty, dot and dot-dot parts", of)
	}
	if strings.HasPrefix(path.Base(of), tempPrefix) {
		return "", fmt.Errorf("%s: names that begin with %s are for files that are being written", of, tempPrefix)
	}
	return p.place(of)
}

// resource gets what a config names by URL.
func (p *planner) resource(r types.Resource) ([]byte, error) {
	return p.fetch.get(p.ctx, r, maxResource)
}

// orEmpty gives what a config leaves out as "".
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
