package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// parallel is how many requests are under way at a time: fleetd writes together
// what it is asked for at the same time.
const parallel = 64

// step is what one unit needs to get into the state that a command wants.
type step struct {
	subject
	before api.UnitStatus
	// send is what to send; nil if the unit is as it should be.
	send *api.Unit
	// restart: rather than sending, have it started again.
	restart bool
	// created: it was not in the registry.
	created bool
	// await: what it takes to be done may take a while.
	await bool
	// only is the one machine that is to restart it; nil: all are.
	only *api.Machine
	// restarts is the count that a restart led to.
	restarts uint64
}

// ensureOptions say what submit, load and start differ in.
type ensureOptions struct {
	verb    string
	target  unit.Target
	replace bool
}

// plan finds out what each unit needs, and refuses before anything is sent if
// that cannot be.
func (c *cli) plan(ctx context.Context, s *session, all []subject, opts ensureOptions) ([]*step, error) {
	var steps []*step
	var problems []string
	for _, subj := range all {
		st := &step{subject: subj, before: s.latest[subj.name]}
		if opts.target != unit.TargetInactive && subj.name.IsTemplate() {
			return nil, failf("Unable to %s template %s: %s an instance of it, such as %s", opts.verb, subj.name, opts.verb,
				strings.Replace(string(subj.name), "@.", "@1.", 1))
		}
		file, err := st.find(ctx, s)
		if err != nil {
			return nil, err
		}
		if st.before.Exists {
			file, err = c.planExisting(st, file, opts)
		} else {
			st.created = true
		}
		if err != nil {
			return nil, err
		}
		if file != nil {
			if p := file.check(subj.name); p != "" {
				problems = append(problems, p)
			}
			st.send = &api.Unit{Name: subj.name, Text: string(file.text), DesiredState: opts.target}
			st.await = true
		}
		steps = append(steps, st)
	}
	if len(problems) > 0 {
		return nil, failf("%s", strings.Join(problems, "\n"))
	}
	return steps, nil
}

// find gives the unit's text if it is not in the registry, or the local file to
// compare if it is; nil if there is none of that.
func (st *step) find(ctx context.Context, s *session) (*localFile, error) {
	file, err := readUnit(st.file)
	if err != nil || file != nil {
		return file, err
	}
	template, isInstance := st.name.Template()
	if isInstance && !st.before.Exists {
		if file, err = s.template(ctx, template); err != nil || file != nil {
			return file, err
		}
	}
	if file, err = readUnit(st.template); err != nil || file != nil || st.before.Exists {
		return file, err
	}
	return nil, st.notFound()
}

// textOf is a unit's text; one that the API has only options of is written out
// of these.
func textOf(u *api.Unit) []byte {
	if u.Text == "" {
		return unit.FromOptions(u.Options).Text()
	}
	return []byte(u.Text)
}

// planExisting finds out what a unit of the registry needs. It returns the file
// to replace it by, if that is wanted.
func (c *cli) planExisting(st *step, file *localFile, opts ensureOptions) (*localFile, error) {
	was := st.before
	differs := file != nil && !was.IsOf(file.text)
	switch {
	case opts.replace && file == nil:
		return nil, failf("Unable to replace unit %s: there is no local unit file %s", st.name, st.file)
	case opts.replace && differs:
		if err := mayReplace(st.name, was.DesiredState, opts.verb); err != nil {
			return nil, err
		}
		return file, nil
	case differs:
		kind := "unit file"
		if file.path == st.template {
			kind = "template unit file"
		}
		c.errorf("WARNING: Unit %s in registry differs from local %s %s. Add --replace to override.", st.name, kind, file.path)
	}
	switch {
	case opts.target == unit.TargetInactive: // submitted it is
	case opts.target == unit.TargetLoaded && was.DesiredState.Wanted():
		// A unit that is launched is loaded, too: load stops nothing.
		st.await = !was.Global && !loadOutcome(was).done
	case was.DesiredState != opts.target:
		st.send = &api.Unit{Name: st.name, DesiredState: opts.target}
		st.await = true
	default:
		// Wanted already. One that has failed is started again; one that has come
		// to rest may be a job that is done, so that is left to who asks.
		o := launchOutcome(was)
		st.restart = o.failed != "" && !was.Global
		st.await = !was.Global && (st.restart || !o.done && o.settle == 0)
		if o.idle && !was.Global && was.Lag == 0 {
			c.errorf("Unit %s was started on %s, but does not run now: it has ended or was stopped there. To start it again: fleetctl restart %s", st.name, o.on, st.name)
		}
	}
	return nil, nil
}

// mayReplace holds replacing to what the command is for: none of them stops a
// unit on the way.
func mayReplace(name unit.Name, state unit.Target, verb string) error {
	allowed := map[string][]unit.Target{
		"submit": {unit.TargetInactive},
		"load":   {unit.TargetInactive, unit.TargetLoaded},
		"start":  {unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched},
	}
	if slices.Contains(allowed[verb], state) {
		return nil
	}
	use := "load"
	if state == unit.TargetLaunched {
		use = "start"
	}
	return failf("Unable to replace unit %s in state %s: use fleetctl %s --replace", name, state, use)
}

// carryOut sends what is to be sent, several at a time. What one unit is refused
// is said, and keeps no other from going on.
func (c *cli) carryOut(ctx context.Context, s *session, steps []*step) error {
	return c.inParallel(steps, func(st *step) (string, error) {
		switch {
		case st.restart:
			var r api.Restarted
			var err error
			if st.only == nil {
				r, err = s.client.RestartUnit(ctx, st.name)
			} else {
				r, err = s.client.RestartUnitOn(ctx, st.name, st.only.ID)
			}
			st.restarts = r.Restart
			return "", err
		case st.send == nil:
			return "", nil
		}
		if _, err := s.client.SetUnit(ctx, *st.send); err != nil {
			return "", st.refused(err)
		}
		if st.created || st.send.Text != "" && st.send.DesiredState == unit.TargetInactive {
			return fmt.Sprintf("Unit %s inactive", st.name), nil
		}
		return "", nil
	})
}

// refused says what the API found wrong, by file and line where it can.
func (st *step) refused(err error) error {
	var e *api.Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		return fmt.Errorf("Error creating units: %w", err) //nolint:staticcheck,revive // fleet 1.0's message
	}
	var all unit.Problems
	for _, p := range e.Problems {
		all = append(all, unit.Problem{Line: p.Line, Option: p.Option, Msg: p.Message, Remedy: p.Remedy})
	}
	return errors.New(all.InFile(st.file))
}

// inParallel does something for each unit, and says what came out in the order
// of the command line. An error of one keeps no other from going on; the error
// returned says that there were some.
func (c *cli) inParallel(steps []*step, do func(*step) (say string, err error)) error {
	type result struct {
		say string
		err error
	}
	results := make([]result, len(steps))
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i, st := range steps {
		slots <- struct{}{}
		all.Go(func() {
			results[i].say, results[i].err = do(st)
			<-slots
		})
	}
	all.Wait()
	var err error
	for i, r := range results {
		if r.say != "" {
			c.printf("%s", r.say)
		}
		if r.err != nil {
			steps[i].await = false
			var exit *exitError
			if !errors.As(r.err, &exit) || exit.msg != "" {
				c.errorf("%v", r.err)
			}
			err = failed
		}
	}
	return err
}
