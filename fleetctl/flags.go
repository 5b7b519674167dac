package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	flags.Float64Var(&f.sshTimeout, "ssh-timeout", 10, "seconds that a host may be silent over SSH; 0: no limit")
	flags.StringVar(&f.knownHosts, "known-hosts-file", "~/.fleetctl/known_hosts", "file of the hosts' SSH keys")
	flags.BoolVar(&f.strictHostKeys, "strict-host-key-checking", true, "refuse hosts whose SSH key isn't the known one")
	flags.Float64Var(&f.requestTimeout, "request-timeout", 3, "seconds that one request to fleetd may take; 0: no limit")
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
				err = usagef("%s=%s: want %s", env, value, wanted(f))
			}
			f.Changed = true
		}
		if why := retired[f.Name]; f.Changed && why != "" {
			c.errorf("WARNING: --%s is ignored: %s", f.Name, why)
		}
	})
	if !cmd.Root().PersistentFlags().Changed("endpoint") {
		c.flags.endpoint = findEndpoint(c.flags.tunnel, os.Geteuid(), os.Getenv("XDG_RUNTIME_DIR"))
	}
	if rest, ok := strings.CutPrefix(c.flags.knownHosts, "~/"); ok {
		if home, e := os.UserHomeDir(); e == nil {
			c.flags.knownHosts = filepath.Join(home, rest)
		}
	}
	if err == nil {
		err = checkNumbers(cmd.Flags())
	}
	return err
}

// findEndpoint looks for a fleetd of this user's own (fleetd dev) if the user
// couldn't use the host's. Through a tunnel it would be looked for over there.
func findEndpoint(tunnel string, uid int, runtimeDir string) string {
	if tunnel != "" || uid == 0 {
		return defaultEndpoint
	}
	// su and nsenter don't set XDG_RUNTIME_DIR, or leave it another user's.
	if !isOf(uid, runtimeDir) {
		runtimeDir = fmt.Sprintf("/run/user/%d", uid)
	}
	own := filepath.Join(runtimeDir, "fleet.sock")
	if _, err := os.Stat(own); err != nil {
		return defaultEndpoint
	}
	return "unix://" + own
}

// isOf reports whether a directory is a user's.
func isOf(uid int, dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
