package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprint(c.stdout, versionText())
			return nil
		},
	}
}

// versionText begins as fleet 1.0's did.
func versionText() string {
	return fmt.Sprintf("fleetctl version %s\ncommit %s\n%s %s/%s\nbuilt %s\n",
		version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, buildDate)
}
