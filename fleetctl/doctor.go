package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/fleetctl/ssh"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// lastWords is how many lines of a service's log are shown where it doesn't run.
const lastWords = "5"

type doctorOptions struct {
	listing
	all  bool // findings that are fine, too
	port int
}

func (c *cli) doctorCommand() *cobra.Command {
	var opts doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [MACHINE...]",
		Short: "Examine a host and the cluster, and say what to do",
		Long: `Has the fleetd that is asked examine its host, and the cluster as it sees it: whether
etcd's members answer, how soon, and how full they are; the hosts' clocks; the
cluster's key and schema; who leads; the host's lease; hosts with one machine-id,
name or address; versions; systemd; disks. It works without etcd, too; where
fleetd itself doesn't run, it shows what systemd and the log say of it. It changes
nothing.

What is not fine is printed, with what to do; --all prints the rest as well. With
machines (by the beginning of the id, address or name) it is run on those, by SSH,
and by sudo unless as root; a host that is not in the cluster by now, by its name or
address.
--output json or yaml prints an array with an object for each host: machineID,
hostname, version, and findings: check, subject, level (ok, warning or error),
found, remedy.`,
		Example: `  fleetctl doctor
  fleetctl doctor --all
  fleetctl doctor web-1 web-2
  fleetctl doctor -o json | jq -r '.[].findings[] | select(.level == "error").found'`,
		Annotations:       exits("0 if there is no error (there may be warnings); 1 if there is one, or a host could not be examined."),
		ValidArgsFunction: c.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.check(); err != nil {
				return err
			}
			return c.doctor(cmd.Context(), args, opts)
		},
	}
	cmd.Flags().BoolVarP(&opts.all, "all", "a", false, "print what is fine, too")
	cmd.Flags().IntVar(&opts.port, "ssh-port", 22, "port of the hosts' SSH servers")
	opts.addOutput(cmd)
	return cmd
}

func (c *cli) doctor(ctx context.Context, machines []string, opts doctorOptions) error {
	var all []api.Diagnosis
	failed := false
	if len(machines) == 0 {
		client, err := c.client(ctx)
		if err != nil {
			return err
		}
		d, err := client.Doctor(ctx)
		if err != nil {
			if errors.As(err, new(*api.UnreachableError)) {
				to := c.stdout
				if opts.output != "" { // which is for programs
					to = c.stderr
				}
				c.firstAid(ctx, to)
			}
			return err
		}
		all = append(all, *d)
	}
	for _, name := range machines {
		d, err := c.doctorOn(ctx, name, opts.port)
		if err != nil {
			c.errorf("%s: %v", name, err)
			failed = true
			continue
		}
		all = append(all, d...)
	}
	for _, d := range all {
		for _, f := range d.Findings {
			failed = failed || f.Level == api.LevelError
		}
	}
	if opts.output != "" {
		if err := c.printData(opts.output, append([]api.Diagnosis{}, all...)); err != nil {
			return err
		}
	} else if err := c.diagnosed(all, opts.all); err != nil {
		return err
	}
	if failed {
		return &exitError{code: 1}
	}
	return nil
}

// doctorOn runs this command on a machine. One that needs it most is not in the
// cluster any more, or nobody can tell: it is reached by what it was called.
func (c *cli) doctorOn(ctx context.Context, name string, port int) ([]api.Diagnosis, error) {
	found, err := c.findMachines(ctx, name)
	if len(found) > 1 {
		return nil, failf("%d machines match: give more of the machine's id", len(found))
	}
	unknown := err
	if err == nil && len(found) == 0 {
		unknown = failf("there is no such machine in the cluster")
	}
	on := onHost{machine: api.Machine{PrimaryIP: name}, sshPort: port, sudo: c.flags.sshUser != "root"}
	if unknown == nil {
		on.machine = found[0]
	}
	if c.isLocal(on.machine.ID) {
		on.sudo = os.Geteuid() != 0
	}
	var out, complaint bytes.Buffer
	code, err := c.runOn(ctx, on, []string{"fleetctl", "doctor", "--output", "json"}, ssh.Streams{Stdout: &out, Stderr: &complaint})
	switch {
	case err != nil && unknown != nil:
		return nil, failf("%v; and by that name: %v", unknown, err)
	case err != nil:
		return nil, err
	}
	var d []api.Diagnosis
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		return nil, failf("fleetctl doctor there ended with %d: %s", code, strings.TrimSpace(complaint.String()))
	}
	return d, nil
}

// diagnosed prints what was found, host by host.
func (c *cli) diagnosed(all []api.Diagnosis, fine bool) error {
	for _, d := range all {
		rows := [][]string{}
		count := map[api.Level]int{}
		var todo []api.Finding
		for _, f := range d.Findings {
			count[f.Level]++
			if f.Level != api.LevelOK {
				todo = append(todo, f)
			}
			if fine || f.Level != api.LevelOK {
				rows = append(rows, []string{string(f.Level), cellText(f.Check), cellText(f.Subject), cellText(f.Found)})
			}
		}
		c.printf("%s, fleetd %s: fine %d, warnings %d, errors %d", legend(d.MachineID, d.Hostname, false), d.Version,
			count[api.LevelOK], count[api.LevelWarning], count[api.LevelError])
		if len(rows) > 0 {
			if err := printAligned(c.stdout, &alignment{}, append([][]string{headers([]string{"level", "check", "subject", "found"})}, rows...)); err != nil {
				return err
			}
		}
		if len(todo) > 0 {
			c.printf("\nWhat to do:")
		}
		for len(todo) > 0 { // what is to be done for several is said once
			first, subjects := todo[0], ""
			todo = slices.DeleteFunc(todo, func(f api.Finding) bool {
				same := f.Check == first.Check && f.Remedy == first.Remedy
				if same {
					subjects += ", " + f.Subject
				}
				return same
			})
			c.printf("  %s%s: %s", first.Check, subjects, first.Remedy)
		}
	}
	return nil
}

// firstAid shows what systemd and the log say of fleet where fleetd doesn't
// answer: the reason is most often in its last words.
func (c *cli) firstAid(ctx context.Context, to io.Writer) {
	socket, local := strings.CutPrefix(c.flags.endpoint, "unix://")
	if c.flags.tunnel != "" || !local || errors.Is(unix.Access(socket, unix.W_OK), unix.EACCES) {
		return // it is another host's, or the user may not ask
	}
	for _, service := range []string{"fleet.service", "etcd2.service"} {
		var state, words bytes.Buffer
		_, err := c.runHere(ctx, []string{"systemctl", "is-active", service}, ssh.Streams{Stdout: &state, Stderr: &state})
		if err != nil {
			return // systemd doesn't run this machine
		}
		fmt.Fprintf(to, "%s is %s\n", service, strings.TrimSpace(state.String()))
		if strings.TrimSpace(state.String()) == "active" {
			continue
		}
		argv := []string{"journalctl", "--unit", service, "--no-pager", "--quiet", "-n", lastWords, "--output", "cat"}
		// What systemd says of its starting it again and again would be all that is seen.
		for _, from := range [][]string{{"SYSLOG_IDENTIFIER=fleetd", "SYSLOG_IDENTIFIER=(fleetd)"}, nil} {
			if _, err := c.runHere(ctx, with(argv, from...), ssh.Streams{Stdout: &words, Stderr: &words}); err == nil && words.Len() > 0 {
				lines := slices.Compact(strings.Split(strings.TrimSpace(words.String()), "\n"))
				fmt.Fprintf(to, "  %s\n", strings.Join(lines, "\n  "))
				break
			}
		}
	}
}
