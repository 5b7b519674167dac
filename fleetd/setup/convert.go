package setup

import (
	"bytes"
	"fmt"

	"github.com/fleet-project/fleet/cloudinit"
	"github.com/fleet-project/fleet/cloudinit/cloudconfig"
	"github.com/fleet-project/fleet/cloudinit/source"
)

// The formats that a config can be printed in.
const (
	toIgnition    = "ignition"
	toCloudConfig = "cloud-config"
)

var targets = []string{toIgnition, toCloudConfig}

// convert prints a config in another format. Metadata isn't part of it: that is
// this host's, and the config may be for others.
func (r *run) convert(found source.Found) error {
	opts := cloudinit.Options{Addresses: environmentAddresses(), Persistent: r.to == toIgnition}
	result, problems := cloudinit.Translate(found.UserData, opts)
	var out []byte
	if !problems.Failed() {
		var unsayable cloudinit.Problems
		var err error
		if r.to == toIgnition {
			unsayable = result.Unsayable()
			out, err = result.JSON()
		} else {
			_, text := kindOf(found.UserData)
			out, unsayable = cloudconfig.Write(result, text)
		}
		if err != nil {
			return err
		}
		problems = append(problems, unsayable...)
	}
	fmt.Fprint(r.err, problems.InFile(found.From))
	if problems.Failed() {
		return fmt.Errorf("%s can't be said in %s", found.From, r.to)
	}
	_, err := fmt.Fprintf(r.out, "%s\n", bytes.TrimRight(out, "\n"))
	return err
}
