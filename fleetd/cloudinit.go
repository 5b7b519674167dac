package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/fleet-project/fleet/cloudinit"
	"github.com/spf13/cobra"
)

type cloudinitOptions struct {
	fromFile string
	validate bool
	to       string
}

func cloudinitCommand() *cobra.Command {
	var opts cloudinitOptions
	cmd := &cobra.Command{
		Use:   "cloudinit --from-file FILE (--validate | --to=ignition)",
		Short: "Check what a host is to boot with: cloud-config, Butane or Ignition",
		Long: `fleetd cloudinit reads a cloud-config, Butane, Ignition 3.x, a script, or MIME
multipart of these, gzipped or not.

--validate prints what is wrong with it, as FILE:LINE: LEVEL: MESSAGE, and ends
with 1 if an error is among it. Nothing is ignored in silence: unknown keys and
wrong types are errors, and the unit files inside are checked.

--to=ignition prints it as an Ignition config. $private_ipv4 and its like come
from COREOS_PRIVATE_IPV4 and so on in the environment.`,
		Example: `  fleetd cloudinit --validate --from-file user-data
  fleetd cloudinit --to=ignition --from-file user-data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runCloudinit(cmd, opts) },
	}
	cmd.Flags().StringVar(&opts.fromFile, "from-file", "", "read the config from this file")
	cmd.Flags().BoolVar(&opts.validate, "validate", false, "only check the config, and print what is wrong with it")
	cmd.Flags().StringVar(&opts.to, "to", "", "print the config in another format: ignition")
	return cmd
}

func runCloudinit(cmd *cobra.Command, opts cloudinitOptions) error {
	switch {
	case opts.fromFile == "":
		return usageError{errors.New("--from-file is missing")}
	case opts.validate == (opts.to != ""):
		return usageError{errors.New("give either --validate or --to=ignition")}
	case opts.to != "" && opts.to != "ignition":
		return usageError{fmt.Errorf("--to=%s: there is ignition only", opts.to)}
	}
	data, err := os.ReadFile(opts.fromFile)
	if err != nil {
		return err
	}
	result, problems := cloudinit.Translate(data, cloudinit.Options{Addresses: addressesFromEnvironment(), Check: opts.validate, Persistent: true})
	fmt.Fprint(cmd.ErrOrStderr(), problems.InFile(opts.fromFile))
	if problems.Failed() {
		return fmt.Errorf("%s can't be used as it is", opts.fromFile)
	}
	if opts.validate {
		return nil
	}
	unsayable := result.Unsayable()
	fmt.Fprint(cmd.ErrOrStderr(), unsayable.InFile(opts.fromFile))
	if unsayable.Failed() {
		return fmt.Errorf("%s can't be said in Ignition", opts.fromFile)
	}
	out, err := result.JSON()
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n", out)
	return nil
}

func addressesFromEnvironment() cloudinit.Addresses {
	return cloudinit.Addresses{
		"private_ipv4": os.Getenv("COREOS_PRIVATE_IPV4"), "public_ipv4": os.Getenv("COREOS_PUBLIC_IPV4"),
		"private_ipv6": os.Getenv("COREOS_PRIVATE_IPV6"), "public_ipv6": os.Getenv("COREOS_PUBLIC_IPV6"),
	}
}
