package manual_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/manual"
	"github.com/spf13/cobra"
)

func TestMisquoted(t *testing.T) {
	tests := []struct {
		name, text string
		wrong      []string // a word of each complaint
		looked     int
	}{
		{"in a block", "    tool do x\n    $ sudo bin/tool do -q x | cat --no\n    other --no\n", nil, 2},
		{"in a fence", "```sh\nA=b tool --patience 2 do x; tool no\n```\n", []string{"no"}, 2},
		{"in a line", "Say `tool do --loud` or `tool do -q`, not `toolbox no`.", []string{"--loud"}, 2},
		{"not in prose", "a tool no one knows\n", nil, 0},
		{"a flag of another command", "    tool -q do x\n", []string{"-q"}, 1},
		{"no command", "    tool --patience 3 # a remark\n    tool\n", nil, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wrong, looked := manual.Misquoted(func() *cobra.Command { return program().Root }, tt.text)
			if looked != tt.looked {
				t.Errorf("looked at %d commands, want %d", looked, tt.looked)
			}
			if !slices.EqualFunc(wrong, tt.wrong, strings.Contains) {
				t.Errorf("%q, want %q", wrong, tt.wrong)
			}
		})
	}
}
