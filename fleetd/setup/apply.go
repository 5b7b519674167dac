package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/cloudinit"
	"github.com/fleet-project/fleet/cloudinit/apply"
	"github.com/fleet-project/fleet/cloudinit/format"
	"github.com/fleet-project/fleet/cloudinit/source"
	"github.com/fleet-project/fleet/machine"
)

// outcome is what an apply or a --diff has to say, in JSON.
type outcome struct {
	Source   string    `json:"source,omitempty"`
	Changes  []change  `json:"changes"`
	Commands []command `json:"commands,omitempty"`
	Scripts  []command `json:"scripts,omitempty"`
	Later    []command `json:"later,omitempty"` // handed to fleet-cloudinit-commands.service
	Note     string    `json:"note,omitempty"`
}

type change struct {
	Verb    string `json:"verb"`
	Subject string `json:"subject"`
	Detail  string `json:"detail,omitempty"`
	Diff    string `json:"diff,omitempty"`
}

type command struct {
	Verb   string `json:"verb"`
	Unit   string `json:"unit"`
	Result string `json:"result,omitempty"`
}

// ignitionResult is where Ignition, and what came of it, notes that it has set
// the host up at its first boot.
const ignitionResult = "/etc/.ignition-result.json"

// apply makes a config true, or tells with --diff what that would change.
func (r *run) apply(ctx context.Context, found source.Found) error {
	kind, text := kindOf(found.UserData)
	switch {
	case len(found.UserData) == 0 && found.Metadata.Empty():
		return r.nothing(fmt.Sprintf("nothing to apply: %s has no config", found.From))
	case found.Shared && r.live() && r.ignitionRan() && (kind == format.Ignition || kind == format.Butane):
		return r.nothing(fmt.Sprintf("nothing to apply: Ignition has applied the config of %s at the first boot (%s)", found.From, ignitionResult))
	}
	opts := cloudinit.Options{
		Metadata:   cloudinit.Metadata{Hostname: found.Metadata.Hostname, SSHKeys: found.Metadata.SSHKeys},
		Persistent: !r.live(),
	}
	var err error
	if opts.Addresses, err = r.addresses(ctx, found, text); err != nil {
		return err
	}
	result, problems := cloudinit.Translate(found.UserData, opts)
	if !problems.Failed() && !r.live() {
		problems = append(problems, result.Orders()...)
	}
	if !r.quiet || problems.Failed() {
		fmt.Fprint(r.err, problems.InFile(found.From))
		r.remedy(text, opts.Addresses, problems)
	}
	if problems.Failed() {
		err := fmt.Errorf("%s can't be used as it is; nothing of it is applied", found.From)
		return r.ignoring(errors.Join(err, r.metadataAlone(ctx, found, opts)))
	}
	return r.ignoring(r.enact(ctx, found.From, result, kind, r.bootDone))
}

// ignoring takes a failure for what --ignore-failure says it is.
func (r *run) ignoring(err error) error {
	if err == nil || !r.ignoreFailure {
		return err
	}
	fmt.Fprintf(r.err, "fleetd: %v (ignored: --ignore-failure)\n", err)
	return nil
}

func (r *run) ignitionRan() bool {
	_, err := os.Stat(filepath.Join(r.host.Root, ignitionResult))
	return err == nil
}

// addresses are the host's own: what the platform says of it, then what
// machine.FindAddresses finds. Of an image's host only the former is known, and
// what the environment says.
func (r *run) addresses(ctx context.Context, found source.Found, text []byte) (cloudinit.Addresses, error) {
	if !r.live() {
		return cloudinit.Addresses(machine.Addresses(environmentAddresses()).With(found.Metadata.Addresses)), nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.from.timeout)
	defer cancel()
	uses := cloudinit.Variables(text)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		own, err := r.findAddresses()
		if err != nil {
			return nil, err
		}
		all := cloudinit.Addresses(own.With(found.Metadata.Addresses))
		// A host that has another of the family lacks this one for good. One that has
		// none has no network yet: at boot, that comes.
		mayCome := slices.ContainsFunc(uses, func(name string) bool {
			_, family, _ := strings.Cut(name, "_")
			return all["private_"+family] == "" && all["public_"+family] == ""
		})
		if !mayCome || ctx.Err() != nil {
			return all, nil
		}
		if pause == 100*time.Millisecond {
			r.host.Log("waiting for the network: this host lacks addresses, and the config uses $" + strings.Join(uses, ", $"))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// remedy says what to do about addresses that the config uses and the host
// lacks.
func (r *run) remedy(text []byte, have cloudinit.Addresses, problems cloudinit.Problems) {
	if !problems.Failed() || !r.live() {
		return
	}
	for _, name := range cloudinit.Variables(text) {
		if have[name] == "" && strings.Contains(problems.InFile(""), "$"+name) {
			fmt.Fprintf(r.err, "fleetd: $%s: %v\n", name, machine.NoAddress(name))
		}
	}
}

// metadataAlone applies what the platform says of the host, its name and its
// keys, when the user-data can't be used: somebody must be able to log in to see
// why.
func (r *run) metadataAlone(ctx context.Context, found source.Found, opts cloudinit.Options) error {
	if !r.live() || r.diff || found.Metadata.Hostname == "" && len(found.Metadata.SSHKeys) == 0 {
		return nil
	}
	result, problems := cloudinit.Translate(nil, opts)
	if problems.Failed() {
		return fmt.Errorf("its metadata can't be used either:\n%s", problems.InFile("metadata"))
	}
	if err := r.enact(ctx, found.From+"'s metadata", result, format.CloudConfig, nil); err != nil {
		return err
	}
	fmt.Fprintln(r.err, "fleetd: the platform's own SSH keys and host name are applied, so that one can log in")
	return nil
}

// enact plans or applies. placed is called when a running host's files are in
// place, before anything is started.
func (r *run) enact(ctx context.Context, from string, result cloudinit.Result, kind format.Kind, placed func() error) error {
	manager, done, err := r.openManager(ctx, result)
	if err != nil {
		return err
	}
	defer done()
	opts := apply.Options{
		Root: r.root, Manager: manager, CommandsLater: r.later, Workspace: r.workspace, Placed: placed,
		StartEnabled: kind == format.Ignition || kind == format.Butane,
	}
	if !r.quiet {
		opts.Warn = func(what string) { fmt.Fprintf(r.err, "%s: warning: %s\n", from, what) }
	}
	if !r.quiet && r.output == "text" && !r.diff {
		opts.Progress = func(c apply.Change) { fmt.Fprintln(r.out, c) }
		opts.Outcome = func(o apply.Outcome) { fmt.Fprintln(r.out, o) }
	}
	applier, err := apply.New(opts)
	if err != nil {
		return err
	}
	defer func() { _ = applier.Close() }() // a directory that was read
	if r.diff {
		changes, err := applier.Plan(ctx, result)
		if err != nil {
			return err
		}
		return r.tellPlan(from, changes)
	}
	report, err := applier.Apply(ctx, result)
	if err != nil {
		return r.tellFailed(from, report, err)
	}
	if r.later {
		left := leftover{Commands: append(report.Later, result.Commands...), Scripts: result.Scripts}
		if err := leave(ctx, manager, left); err != nil {
			return err
		}
		report.Later = left.Commands
	}
	return errors.Join(r.tellReport(from, report), report.Err())
}

func (r *run) tellPlan(from string, changes []apply.Change) error {
	if r.output == "json" {
		return r.json(outcome{Source: from, Changes: changesOf(changes)})
	}
	for _, c := range changes {
		fmt.Fprintf(r.out, "%s\n%s", c, c.Diff)
	}
	if len(changes) == 0 && !r.quiet {
		fmt.Fprintf(r.out, "nothing would be changed: %s is as %s says\n", r.where(), from)
	}
	return nil
}

func (r *run) tellReport(from string, report apply.Report) error {
	if r.output == "json" {
		out := outcome{Source: from, Changes: changesOf(report.Changes), Commands: commandsOf(report.Commands), Scripts: commandsOf(report.Scripts)}
		for _, c := range report.Later {
			out.Later = append(out.Later, command{Verb: c.Verb, Unit: c.Unit})
		}
		return r.json(out)
	}
	if r.quiet {
		return nil
	}
	for _, c := range report.Later {
		fmt.Fprintf(r.out, "%s %s: left to %s\n", c.Verb, c.Unit, commandsUnit)
	}
	if !report.Changed() {
		fmt.Fprintf(r.out, "nothing to change: %s is as %s says\n", r.where(), from)
	}
	return nil
}

// tellFailed says to who reads JSON what was done before a run failed; others have
// been told.
func (r *run) tellFailed(from string, report apply.Report, err error) error {
	var partial *apply.PartialError
	if errors.As(err, &partial) {
		report.Changes = partial.Done
	}
	if r.output != "json" || len(report.Changes)+len(report.Commands)+len(report.Scripts) == 0 {
		return err
	}
	return errors.Join(err, r.tellReport(from, report))
}

func (r *run) where() string {
	if r.live() {
		return "this host"
	}
	return r.root
}

func changesOf(all []apply.Change) []change {
	out := []change{}
	for _, c := range all {
		out = append(out, change{c.Verb, c.Subject, c.Detail, c.Diff})
	}
	return out
}

func commandsOf(all []apply.Outcome) (out []command) {
	for _, o := range all {
		out = append(out, command{o.Verb, o.Unit, o.Result})
	}
	return out
}
