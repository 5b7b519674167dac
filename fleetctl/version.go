package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *cli) versionCommand() *cobra.Command {
	full := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Prints fleetctl's own version. That of each machine's fleetd is a column of list-machines.",
		Example: `  fleetctl version --full
  fleetctl list-machines --fields machine,version`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprint(c.stdout, versionText())
			if full {
				c.printf("commit %s\n%s %s/%s\nbuilt %s", commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, buildDate)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&full, "full", "l", false, "say also what it was built from, and when")
	return cmd
}

// versionText is fleet 1.0's one line: scripts cut the third word out of it.
func versionText() string { return fmt.Sprintf("fleetctl version %s\n", version) }
