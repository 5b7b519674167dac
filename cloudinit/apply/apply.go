package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/fleet-project/fleet/cloudinit"
)

// Options say what to apply to.
type Options struct {
	// Root is the root directory: / (the default), or an image's.
	Root string
	// Manager is the running systemd; nil if Root is of an image that doesn't run.
	Manager Manager
	// StartEnabled starts the units that the config enables, once all is in place,
	// as a boot with Ignition would have. A cloud-config doesn't want it: it has
	// commands.
	StartEnabled bool
	// CommandsLater leaves commands and scripts to the caller, who runs those of
	// the Result, and before them the report's, with Run: at boot, something that
	// is ordered after the caller can't be waited for by it.
	CommandsLater bool
	// Workspace is where scripts are kept: /var/lib/coreos-cloudinit by default.
	Workspace string
	// Progress is told of each change, Outcome of each command and script, once
	// it is done; nil: nobody.
	Progress func(Change)
	Outcome  func(Outcome)
	// Placed is called on a running host when its files are as the config says and
	// its systemd knows them, before anything is started; nil: nothing.
	Placed func() error
	// Warn is told, while planning, of what the config says in vain; nil: nobody.
	Warn func(string)

	// For tests:
	now       func() time.Time
	noOwners  bool            // ordinary users may not give files away
	hook      func(op string) // before each write
	transport http.RoundTripper
}

// Manager is the running host's systemd.
type Manager interface {
	// Reload makes it read all unit files anew.
	Reload(ctx context.Context) error
	// Do runs a verb of systemctl for a unit and waits for the job's result: done,
	// failed, timeout and so on. The error is of asking; if it is that there is no
	// such unit, its method NoSuchUnit says so.
	Do(ctx context.Context, unit, verb string) (result string, err error)
	// Run runs a program as a service of its own, whose output is in the journal,
	// and waits for the job's result: done if the program ended well.
	Run(ctx context.Context, unit string, argv []string) (result string, err error)
	// Hostname is the name that the kernel has.
	Hostname() (string, error)
	SetHostname(name string) error
}

// Report tells what an Apply did.
type Report struct {
	Changes  []Change            // what was different
	Commands []Outcome           // the units' commands, as they ended
	Scripts  []Outcome           // as they ended
	Later    []cloudinit.Command // with CommandsLater and StartEnabled: what to start
}

// Outcome is how a command or a script ended.
type Outcome struct {
	Unit, Verb string
	Result     string // systemd's word: done, failed...
	OK         bool
}

// String tells it on a line.
func (o Outcome) String() string { return fmt.Sprintf("%s %s: %s", o.Verb, o.Unit, o.Result) }

// Changed says whether anything was different from what the config says.
func (r Report) Changed() bool { return len(r.Changes) > 0 }

// Err tells what didn't end well among what was run; nil if all did.
func (r Report) Err() error {
	var failed []error
	for _, o := range append(r.Scripts[:len(r.Scripts):len(r.Scripts)], r.Commands...) {
		if !o.OK {
			failed = append(failed, fmt.Errorf("%s: look at `journalctl -u %s`", o, o.Unit))
		}
	}
	return errors.Join(failed...)
}

// PartialError is what an Apply that could not go on says: what was done, what
// failed, what is left.
type PartialError struct {
	Done, Left []Change
	Failed     Change
	Err        error
}

// Error tells it in lines.
func (e *PartialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Failed, e.Err)
	list := func(title string, changes []Change) {
		fmt.Fprintf(&b, "\n%s:", title)
		for _, c := range changes {
			fmt.Fprintf(&b, "\n  %s", c)
		}
		if len(changes) == 0 {
			b.WriteString(" nothing")
		}
	}
	list("done before", e.Done)
	list("not done", e.Left)
	b.WriteString("\nrun it again once the cause is gone: it goes on where it stopped")
	return b.String()
}

// Unwrap gives the cause.
func (e *PartialError) Unwrap() error { return e.Err }

// Applier applies configs to one root.
type Applier struct {
	opts Options
	root *root
}

// New opens a root. Close the applier when done.
func New(opts Options) (*Applier, error) {
	if opts.Root == "" {
		opts.Root = "/"
	}
	if opts.Progress == nil {
		opts.Progress = func(Change) {}
	}
	if opts.Outcome == nil {
		opts.Outcome = func(Outcome) {}
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Workspace == "" {
		opts.Workspace = "/var/lib/coreos-cloudinit"
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	r, err := openRoot(opts.Root)
	if err != nil {
		return nil, err
	}
	r.hook, r.noOwners = opts.hook, opts.noOwners
	return &Applier{opts: opts, root: r}, nil
}

// Close closes the root.
func (a *Applier) Close() error { return a.root.close() }

// Plan tells what Apply would change, in order, and changes nothing. A config
// that can't be applied is an error that names every reason.
func (a *Applier) Plan(ctx context.Context, in cloudinit.Result) ([]Change, error) {
	p, err := a.plan(ctx, in)
	if err != nil {
		return nil, err
	}
	return p.changes(), nil
}

// Apply makes a config true. If it can't be applied, nothing is changed; if
// something fails on the way, the error is a PartialError. How commands and
// scripts ended is in the report: see Report.Err.
func (a *Applier) Apply(ctx context.Context, in cloudinit.Result) (Report, error) {
	if os.Geteuid() != 0 && !a.opts.noOwners {
		return Report{}, errors.New("applying a config needs root: files are given to their owners")
	}
	p, err := a.lockedFiles(ctx, in)
	if err != nil {
		return Report{}, err
	}
	report := Report{Changes: p.changes()}
	if a.opts.Manager == nil {
		return report, nil
	}
	if err := a.tell(ctx, p, &report); err != nil {
		return report, err
	}
	if a.opts.CommandsLater {
		return report, nil
	}
	return report, a.run(ctx, in.Commands, in.Scripts, &report)
}

// lockedFiles plans and changes the root's files while nobody else does.
func (a *Applier) lockedFiles(ctx context.Context, in cloudinit.Result) (*plan, error) {
	unlock, err := a.root.lock(ctx, a.opts.Manager != nil && len(in.Config.Passwd.Users)+len(in.Config.Passwd.Groups) > 0)
	if err != nil {
		return nil, err
	}
	defer unlock()
	p, err := a.plan(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := a.notePending(p.pending); err != nil {
		return nil, err
	}
	for i, s := range p.steps {
		err := ctx.Err()
		if err == nil {
			err = a.root.do(s)
		}
		if err != nil {
			return nil, &PartialError{Done: p.changes()[:i], Failed: s.change, Left: p.changes()[i+1:], Err: err}
		}
		a.opts.Progress(s.change)
	}
	return p, nil
}
