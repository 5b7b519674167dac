package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
)

// An address that comes late is waited for, and told of once; anything else that is
// wrong with a host ends fleetd at once.
func TestAddressIsWaitedFor(t *testing.T) {
	none, other := fmt.Errorf("who is this host: %w", machine.ErrNoAddress), errors.New("no machine id")
	for name, tc := range map[string]struct {
		patience  time.Duration
		looks     []error // what is found; the last one from then on
		cancelled bool
		want      error
		told      int
	}{
		"there":        {time.Hour, []error{nil}, false, nil, 0},
		"comes late":   {time.Hour, []error{none, none, none, nil}, false, nil, 1},
		"another":      {time.Hour, []error{other}, false, other, 0},
		"then another": {time.Hour, []error{none, other}, false, other, 1},
		"never comes":  {time.Nanosecond, []error{none}, false, machine.ErrNoAddress, 1},
		"stopped":      {time.Hour, []error{none}, true, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.cancelled {
				cancel()
			}
			looks, told := 0, 0
			err := awaitAddress(ctx, time.Millisecond, tc.patience, func() error {
				looks++
				return tc.looks[min(looks, len(tc.looks))-1]
			}, func(error) { told++ })
			if !errors.Is(err, tc.want) || told != tc.told {
				t.Errorf("it ended with %v, having told %d times; want %v, %d", err, told, tc.want, tc.told)
			}
		})
	}
}
