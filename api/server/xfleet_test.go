package server_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
)

// TestCompatXFleetRefused: what can't work is a 400 that names line, option and
// remedy, as text and as options alike, and nothing of it is stored.
func TestCompatXFleetRefused(t *testing.T) {
	f := newFixture(t, server.Options{})
	const id = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	for _, tt := range []struct {
		name, first, second string // two assignments of [X-Fleet], in lines 3 and 4; first may be empty
		option              string // that the problem is about
	}{
		{"MachineID and MachineOf", "MachineID=" + id, "MachineOf=a.service", "MachineOf"},
		{"MachineID and Conflicts", "MachineID=" + id, "Conflicts=a*", "Conflicts"},
		{"MachineID and Global", "MachineID=" + id, "Global=true", "Global"},
		{"MachineID and Replaces", "MachineID=" + id, "Replaces=a*", "Replaces"},
		{"Global and MachineOf", "Global=true", "MachineOf=a.service", "MachineOf"},
		{"Global and Replaces", "Global=true", "Replaces=a*", "Replaces"},
		{"Conflicts and Replaces", "Conflicts=a*", "Replaces=b*", "Replaces"},
		{"old names", "X-ConditionMachineID=" + id, "X-Conflicts=a*", "X-Conflicts"},
		{"a boot and Global", "X-ConditionMachineBootID=" + id, "Global=1", "Global"},
		{"MachineOf what conflicts", "MachineOf=a.service", "Conflicts=[ab].*", "Conflicts"},
		{"MachineOf what is replaced", "MachineOf=a.service", "Replaces=*", "Replaces"},
		{"MachineOf of itself", "", "MachineOf=%n", "MachineOf"},
		{"an unknown option", "", "Machine=a", "Machine"},
		{"a malformed pair", "", "MachineMetadata=a=b=c", "MachineMetadata"},
		{"an order of words", "", "MachineMetadata=a>b", "MachineMetadata"},
		{"a specifier", "", "MachineMetadata=a=%H", "MachineMetadata"},
		{"a boolean", "", "Global=perhaps", "Global"},
		{"a pattern", "", "Conflicts=a[", "Conflicts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, cluster: f.cluster, client: f.client}
			text := "[Service]\n[X-Fleet]\n" + tt.first + "\n" + tt.second + "\n"
			options := []m{option("Service", "ExecStart", "/bin/true")}
			for _, o := range []string{tt.first, tt.second} {
				if o != "" {
					options = append(options, optionOf(o))
				}
			}
			for line, in := range map[int]m{
				4: {"text": text, "desiredState": "launched"},
				0: {"options": options, "desiredState": "launched"}, // nobody has seen lines
			} {
				var got struct {
					Error struct {
						Problems []struct {
							Line                    int
							Option, Message, Remedy string
						}
					}
				}
				answer := f.want(400, "PUT", "units/x.service", body(in), "")
				if err := json.Unmarshal([]byte(answer), &got); err != nil || len(got.Error.Problems) != 1 {
					t.Fatalf("want one problem: %s", answer)
				}
				p := got.Error.Problems[0]
				if p.Line != line || p.Option != "[X-Fleet] "+tt.option || p.Message == "" || p.Remedy == "" {
					t.Errorf("got %+v, want line %d, %s and a remedy", p, line, tt.option)
				}
			}
			if v := f.cluster.View(); len(v.Units)+len(v.Files) > 0 {
				t.Errorf("stored: %v", v.Units)
			}
		})
	}
}

// optionOf is an option of [X-Fleet], as a client sends it.
func optionOf(assignment string) m {
	name, value, _ := strings.Cut(assignment, "=")
	return option("X-Fleet", name, value)
}
