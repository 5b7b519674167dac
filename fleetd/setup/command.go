// Package setup is the command fleetd cloudinit: it has a host's config found,
// translated, checked, compared, converted and applied, and says how that went. What
// each of these means is for the rooms of cloudinit/ to know; here is what joins them,
// to each other, to the host and to the person at the terminal.
package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fleet-project/fleet/cloudinit/source"
	"github.com/fleet-project/fleet/machine"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// options are the flags of fleetd cloudinit.
type options struct {
	from     fromFlags
	validate bool
	diff     bool
	to       string
	root     string
	later    bool
	leftover string

	strict, quiet, ignoreFailure bool
	output                       string
	convertNetconf               string
	workspace, sshKeyName        string

	host *source.Host // where sources are looked for
}

// UsageError is for a flag that doesn't exist, has a bad value, or makes no sense
// beside another.
type UsageError struct{ error }

// Command makes the command.
func Command(version string) *cobra.Command {
	opts := options{host: &source.Host{}}
	cmd := &cobra.Command{
		Use:   "cloudinit [--from-SOURCE...] [--validate [FILE...] | --diff | --to=FORMAT] [--root DIR]",
		Short: "Make this host what its cloud-config, Butane or Ignition says",
		Long: `fleetd cloudinit finds what the host is given to boot with (a cloud-config, Butane,
Ignition 3.x, a script, or MIME multipart of these, gzipped or not) and makes it
true: files, directories, links, users, keys, units, the host's name. Run again, it
changes what differs, and says so if nothing does.

The config is read from the first source that is there. Sources on this host are
looked at first, in the order below; then all are looked for at the same time, for
as long as --timeout. Without any, it is the first of: the URL on the kernel's
command line, /var/lib/coreos-install/user_data, a config drive, QEMU's fw_cfg,
/usr/share/oem/cloud-config.yml. If none of these is there, nothing is done.

  --from-file        a file, a pipe, or - for standard input
  --from-configdrive OpenStack's config drive or cloud-init's NoCloud (auto: by its label)
  --from-waagent     the directory of Azure's agent: /var/lib/waagent
  --from-proc-cmdline, --from-vmware-guestinfo, --from-vmware-ovf-env
  --from-url         http or https; it may end in #sha256=DIGITS
  --from-ec2-metadata, --from-metadata-service, --from-gce-metadata,
  --from-digitalocean-metadata, --from-packet-metadata

--validate prints what is wrong with it, as FILE:LINE: LEVEL: MESSAGE, and ends
with 1 if an error is among it. Nothing is ignored in silence: unknown keys and
wrong types are errors, and the unit files inside are checked.

--diff prints what would be changed, and changes nothing. --root DIR changes the
image in DIR, which doesn't run, instead of this host. --to=ignition and
--to=cloud-config print the config in that format; what it has no words for is named.

coreos-cloudinit's flags are all taken, with one dash too. A link named
coreos-cloudinit to fleetd is fleetd cloudinit.`,
		Example: `  fleetd cloudinit --validate user-data *.yaml
  fleetd cloudinit --from-file user-data --diff
  fleetd cloudinit --from-url https://example.com/web.yaml --sha256 DIGITS
  fleetd cloudinit --oem ec2-compat
  fleetd cloudinit --from-file user-data --root /mnt/image
  fleetd cloudinit --from-file user-data --to=ignition > config.ign`,
		Args:    cobra.ArbitraryArgs,
		Version: version,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return runCommand(ctx, cmd, &opts, args)
		},
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	o.from.add(f)
	f.BoolVar(&o.validate, "validate", false, "only check the config, or these files and all in these directories")
	f.BoolVar(&o.strict, "strict", false, "with --validate: warnings are errors")
	f.BoolVar(&o.diff, "diff", false, "print what would be changed, and change nothing")
	f.StringVar(&o.to, "to", "", "print the config in another `FORMAT`: ignition or cloud-config")
	f.StringVar(&o.root, "root", "/", "change the image in this `DIR`, which doesn't run, instead of this host")
	f.StringVarP(&o.output, "output", "o", "text", "print what was found or done as `FORMAT`: text or json")
	f.BoolVar(&o.quiet, "quiet", false, "print only what fails")
	f.BoolVar(&o.later, "commands-later", false, "have the units' commands carried out by fleet-cloudinit-commands.service, and don't wait for them: for a boot, which they are part of")
	f.BoolVar(&o.ignoreFailure, "ignore-failure", false, "end with 0 even if the config is malformed or can't be applied")
	f.StringVar(&o.convertNetconf, "convert-netconf", "", "refused: networks are configured by units named *.network")
	f.StringVar(&o.workspace, "workspace", "/var/lib/coreos-cloudinit", "keep scripts below this `DIR`")
	f.StringVar(&o.sshKeyName, "ssh-key-name", "", "taken from coreos-cloudinit's units; a user's keys have no common name")
	f.StringVar(&o.leftover, "carry-out", "", "what "+commandsUnit+" does")
	for _, hidden := range []string{"carry-out", "convert-netconf", "ssh-key-name"} {
		f.Lookup(hidden).Hidden = true
	}
}

// check finds what makes no sense together.
func (o *options) check(args []string) error {
	modes := 0
	for _, mode := range []bool{o.validate, o.diff, o.to != "", o.leftover != ""} {
		if mode {
			modes++
		}
	}
	switch {
	case modes > 1:
		return UsageError{errors.New("--validate, --diff and --to exclude each other")}
	case len(args) > 0 && !o.validate:
		return UsageError{fmt.Errorf("%q: files without --from-file are for --validate", args[0])}
	case o.output != "text" && o.output != "json":
		return UsageError{fmt.Errorf("--output=%s: there is text and json", o.output)}
	case o.output == "json" && o.to != "":
		return UsageError{errors.New("--to prints the config: --output has no say in it")}
	case o.strict && !o.validate:
		return UsageError{errors.New("--strict is for --validate")}
	case o.to != "" && !slices.Contains(targets, o.to):
		return UsageError{fmt.Errorf("--to=%s: there is %s only", o.to, strings.Join(targets, " and "))}
	case o.later && !o.live():
		return UsageError{errors.New("--commands-later is for a running host: an image runs no commands")}
	case o.later && (modes > 0):
		return UsageError{errors.New("--commands-later is for applying a config")}
	case slices.Contains([]string{"debian", "packet", "vmware"}, o.convertNetconf):
		return UsageError{fmt.Errorf("--convert-netconf=%s: a platform's network config is not converted: write coreos.units named NAME.network, or files in /etc/systemd/network, and leave the flag out", o.convertNetconf)}
	case o.convertNetconf != "":
		return UsageError{fmt.Errorf("--convert-netconf=%s: there was debian, packet and vmware, and none is converted here", o.convertNetconf)}
	case o.root == "":
		return UsageError{errors.New("--root is empty: name the image's directory, or leave --root out for this host")}
	case !o.live() && isThisHost(o.root):
		return UsageError{fmt.Errorf("--root=%s: that is this host's own root: name the image's directory, or leave --root out", o.root)}
	case o.from.timeout < 0:
		return UsageError{fmt.Errorf("--timeout=%s: it must not be negative", o.from.timeout)}
	}
	return nil
}

// live says whether the running host is meant, not an image.
func (o *options) live() bool { return filepath.Clean(o.root) == "/" }

// isThisHost says whether a directory is the running host's root by another name.
func isThisHost(dir string) bool {
	own, err := os.Stat("/")
	if err != nil {
		return false
	}
	other, err := os.Stat(dir)
	return err == nil && os.SameFile(own, other)
}

func runCommand(ctx context.Context, cmd *cobra.Command, opts *options, args []string) error {
	if err := opts.check(args); err != nil {
		return err
	}
	r := &run{
		options: opts, out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(),
		findAddresses: func() (machine.Addresses, error) { return machine.FindAddresses("", os.Getenv) },
	}
	if opts.sshKeyName != "" {
		fmt.Fprintln(r.err, "fleetd: --ssh-key-name has no effect: all keys of a config are kept together, and none is left behind")
	}
	opts.host.Log = func(text string) { fmt.Fprintf(r.err, "fleetd: %s\n", text) }
	if opts.later {
		if err := r.bootBegins(); err != nil {
			return err
		}
	}
	switch {
	case opts.leftover != "":
		return r.carryOut(ctx)
	case opts.validate && (len(args) > 0 || len(opts.from.files) > 1):
		return r.validateFiles(ctx, append(slices.Clone(opts.from.files), args...))
	}
	found, err := r.find(ctx)
	var none *source.NoneError
	if errors.As(err, &none) && opts.from.none() && opts.from.sha256+opts.from.sha512 == "" && !opts.validate && opts.to == "" {
		return r.nothing("nothing to apply: this host is given no config (" + places(none) + ")")
	}
	if err != nil {
		return err
	}
	switch {
	case opts.validate:
		return r.report([]checked{r.check(found.From, found.UserData)})
	case opts.to != "":
		return r.convert(found)
	}
	return r.apply(ctx, found)
}

// places are where a config was looked for, and why it isn't there, in one line.
func places(none *source.NoneError) string {
	var all []string
	for i, s := range none.Sources {
		all = append(all, fmt.Sprintf("%s: %v", s.Name, none.Why[i]))
	}
	return strings.Join(all, "; ")
}

// find reads the first source that is there.
func (r *run) find(ctx context.Context) (source.Found, error) {
	sources, err := r.from.sources(r.host)
	if err != nil {
		return source.Found{}, err
	}
	wait := r.from.timeout
	if len(sources) == 0 {
		sources, wait = r.host.Defaults(), 0
	}
	found, err := r.host.First(ctx, wait, sources...)
	if err != nil {
		return source.Found{}, err
	}
	for _, note := range found.Notes {
		fmt.Fprintf(r.err, "fleetd: %s: %s\n", found.From, note)
	}
	return found, nil
}
