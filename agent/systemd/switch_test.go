package systemd

import (
	"testing"
	"time"
)

// A program that has begun, or is about to, keeps no switch from ending.
func TestSwitchEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		kill bool // the sleeper, so that the program begins
	}{
		{"the program begins with the end", false},
		{"the program may have begun", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, ctx := dial(t)
			s := c.NewSwitch("switch.service", "Never lets go", "/bin/sleep", "infinity")
			if err := s.begin(ctx, time.Hour); err != nil {
				t.Fatal(err)
			}
			if tt.kill {
				if err := c.Kill(ctx, s.name); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Disarm(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
