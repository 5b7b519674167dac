package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
)

// completionTime is how long a shell may be kept waiting for a suggestion.
const completionTime = 500 * time.Millisecond

// shells are those that completion scripts can be had for.
var shells = map[string]func(root *cobra.Command, out io.Writer) error{
	"bash": func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) },
	"zsh":  (*cobra.Command).GenZshCompletion,
	"fish": func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) },
}

func (c *cli) completionCommand() *cobra.Command {
	names := slices.Sorted(maps.Keys(shells))
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that has a shell complete fleetctl's arguments",
		Long: `Prints a script for bash, zsh or fish: with it, the shell completes commands,
flags, and the names of units and machines, which it asks fleetd for. For bash, the
package bash-completion must be there.`,
		Example: `  echo 'source <(fleetctl completion bash)' >>~/.bashrc
  fleetctl completion zsh >"${fpath[1]}/_fleetctl"
  fleetctl completion fish >~/.config/fish/completions/fleetctl.fish`,
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || shells[args[0]] == nil {
				return usagef("Name one shell of: %s", strings.Join(names, ", "))
			}
			return shells[args[0]](cmd.Root(), c.stdout)
		},
	}
}

// completeUnits suggests the cluster's units.
func (c *cli) completeUnits(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, client := c.forCompletion(cmd)
	defer cancel()
	if client == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	units, err := client.Units(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, u := range units {
		if !slices.Contains(given, string(u.Name)) {
			names = append(names, string(u.Name))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFiles suggests unit files; directories lead to more.
func (c *cli) completeFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// completeFilesAndUnits suggests the cluster's units, and files where none of
// these begins so.
func (c *cli) completeFilesAndUnits(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(begun, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	units, _ := c.completeUnits(cmd, given, begun)
	for _, u := range units {
		if strings.HasPrefix(u, begun) && begun != "" {
			return units, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeMachines suggests the cluster's machines, with their addresses.
func (c *cli) completeMachines(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, client := c.forCompletion(cmd)
	defer cancel()
	if client == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	machines, err := client.Machines(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, m := range machines {
		ids = append(ids, m.ID+"\t"+strings.TrimSpace(m.PrimaryIP+" "+m.Hostname))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeFields suggests columns, those that are not chosen yet.
func completeFields(known []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		chosen := strings.Split(begun, ",")
		chosen = chosen[:len(chosen)-1]
		var out []string
		for _, f := range known {
			if !slices.Contains(chosen, f) {
				out = append(out, strings.Join(append(slices.Clone(chosen), f), ","))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// forCompletion gives a client that answers soon or not at all; nil if there is
// none.
func (c *cli) forCompletion(cmd *cobra.Command) (context.Context, context.CancelFunc, *api.Client) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	c.completing = true
	if c.settle(cmd) != nil {
		return ctx, cancel, nil
	}
	client, err := c.client(ctx)
	if err != nil {
		return ctx, cancel, nil
	}
	return ctx, cancel, client
}
