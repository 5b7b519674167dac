package member

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Lookup gives an address of this host, by the name that stands behind the
// dollar sign, or says why there is none.
type Lookup func(name string) (string, error)

// addresses are what can be looked up.
var addresses = []string{"private_ipv4", "public_ipv4", "private_ipv6", "public_ipv6"}

// AddressError says that an address is wanted that this host has not. It may
// have it soon: at boot, the network takes its time.
type AddressError struct {
	Variable, Address string
	Err               error
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s uses $%s, which cannot be determined: %v", e.Variable, e.Address, e.Err)
}

// Unwrap gives the reason.
func (e *AddressError) Unwrap() error { return e.Err }

// substitute puts this host's addresses where the environment asks for them. A
// cloud-config's have been put there already; Butane and Ignition have no such
// thing of their own.
func (v *values) substitute(lookup Lookup) error {
	for _, name := range slices.Sorted(maps.Keys(v.env)) {
		for _, address := range addresses {
			for _, form := range []string{"${" + address + "}", "$" + address} {
				if !strings.Contains(v.env[name], form) {
					continue
				}
				ip, err := lookup(address)
				if err != nil {
					return &AddressError{Variable: variable(name), Address: address, Err: err}
				}
				v.env[name] = strings.ReplaceAll(v.env[name], form, ip)
			}
		}
	}
	return nil
}
