package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
)

// completionTime is how long a shell may be kept waiting for a suggestion.
const completionTime = 500 * time.Millisecond

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
	if c.settle(cmd) != nil {
		return ctx, cancel, nil
	}
	client, err := c.client()
	if err != nil {
		return ctx, cancel, nil
	}
	return ctx, cancel, client
}
