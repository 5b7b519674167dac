package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// defaultEndpoint is where fleetd listens.
const defaultEndpoint = "unix:///var/run/fleet.sock"

// globalFlags are the flags of every command.
type globalFlags struct {
	endpoint       string
	tunnel         string
	sshUser        string
	sshTimeout     float64
	knownHosts     string
	strictHostKeys bool
	requestTimeout float64
	caFile         string
	certFile       string
	keyFile        string
	debug          bool
}

// retired are fleet 1.0's flags that have no meaning any more. Scripts that set
// them go on.
var retired = map[string]string{
	"driver":           "the API is the only way in",
	"etcd-key-prefix":  "fleetctl speaks to fleetd, not to etcd",
	"experimental-api": "the API is the only way in",
	"etcd-cafile":      "fleetctl speaks to fleetd, not to etcd",
	"etcd-certfile":    "fleetctl speaks to fleetd, not to etcd",
	"etcd-keyfile":     "fleetctl speaks to fleetd, not to etcd",
}

func (c *cli) addGlobalFlags(flags *pflag.FlagSet) {
	f := &c.flags
	flags.StringVar(&f.endpoint, "endpoint", defaultEndpoint, "where fleetd is: unix:///PATH, http://HOST:PORT or https://HOST:PORT")
	flags.StringVar(&f.tunnel, "tunnel", "", "reach fleetd and all hosts through this host, by SSH: HOST or HOST:PORT")
	flags.StringVar(&f.sshUser, "ssh-username", "core", "user name on the hosts, for SSH")
	flags.Float64Var(&f.sshTimeout, "ssh-timeout", 10, "seconds that connecting by SSH may take")
	flags.StringVar(&f.knownHosts, "known-hosts-file", "~/.fleetctl/known_hosts", "file of the hosts' SSH keys")
	flags.BoolVar(&f.strictHostKeys, "strict-host-key-checking", true, "refuse hosts whose SSH key isn't the known one")
	flags.Float64Var(&f.requestTimeout, "request-timeout", 3, "seconds that one request to fleetd may take")
	flags.StringVar(&f.caFile, "ca-file", "", "file of the CA by which fleetd's certificate is checked (https)")
	flags.StringVar(&f.certFile, "cert-file", "", "file of the certificate to show to fleetd (https)")
	flags.StringVar(&f.keyFile, "key-file", "", "file of the key of that certificate (https)")
	flags.BoolVar(&f.debug, "debug", false, "say on standard error what is asked of fleetd")
	for name, why := range retired {
		flags.String(name, "", "ignored: "+why)
		if name == "experimental-api" {
			flags.Lookup(name).NoOptDefVal = "true" // it was a switch
		}
		_ = flags.MarkHidden(name) // it has just been made
	}
}

// settle completes the flags from the environment. The command line wins.
func (c *cli) settle(cmd *cobra.Command) error {
	var err error
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		env := "FLEETCTL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, set := os.LookupEnv(env); set && !f.Changed && f.Name != "help" && f.Name != "version" && value != "" {
			if e := f.Value.Set(value); e != nil && err == nil {
				err = usagef("%s=%s: %v", env, value, e)
			}
			f.Changed = true
		}
		if why := retired[f.Name]; f.Changed && why != "" {
			c.errorf("WARNING: --%s is ignored: %s", f.Name, why)
		}
	})
	if !cmd.Root().PersistentFlags().Changed("endpoint") {
		c.flags.endpoint = findEndpoint()
	}
	if rest, ok := strings.CutPrefix(c.flags.knownHosts, "~/"); ok {
		if home, e := os.UserHomeDir(); e == nil {
			c.flags.knownHosts = filepath.Join(home, rest)
		}
	}
	return err
}

// findEndpoint looks for a fleetd of this user's own (fleetd dev) if the user
// couldn't use the host's.
func findEndpoint() string {
	if os.Geteuid() == 0 {
		return defaultEndpoint
	}
	// `su` and `nsenter` don't set the variable.
	dir := cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", os.Geteuid()))
	own := filepath.Join(dir, "fleet.sock")
	if _, err := os.Stat(own); err != nil {
		return defaultEndpoint
	}
	return "unix://" + own
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// flagError is for a flag that doesn't exist or has a bad value.
func flagError(cmd *cobra.Command, err error) error {
	if given := cmd.Flags().Args(); cmd == cmd.Root() && len(given) > 0 {
		return unknownCommand(cmd, given[0]) // whose flag it would be
	}
	msg := err.Error()
	name := ""
	if rest, ok := strings.CutPrefix(msg, "unknown flag: --"); ok {
		name = rest
	}
	if name != "" {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		})
		if near := nearest(name, known); near != "" {
			msg += " (did you mean --" + near + "?)"
		}
	}
	return usagef("%s\nRun '%s --help' for its flags.", msg, cmd.CommandPath())
}

// unknownCommand suggests what may have been meant.
func unknownCommand(root *cobra.Command, given string) error {
	msg := "unknown command \"" + given + "\""
	var known, completions []string
	for _, sub := range root.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		known = append(known, sub.Name())
		if strings.HasPrefix(sub.Name(), given) {
			completions = append(completions, sub.Name())
		}
	}
	near := nearest(given, known)
	if len(completions) == 1 { // a hidden one begins so, too
		near = completions[0]
	}
	if len(completions) > 1 {
		msg += ": it could be " + strings.Join(completions, " or ")
	} else if near != "" {
		msg += ": did you mean " + near + "?"
	}
	return usagef("%s\nRun 'fleetctl help' for all commands.", msg)
}

// nearest gives the word that is most like the one given, or "" if none is.
func nearest(given string, known []string) string {
	best, distance := "", max(len(given)/2, 1)+1
	for _, k := range known {
		if d := editDistance(given, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// editDistance is how many letters must be put in, taken out or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
