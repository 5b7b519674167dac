package planner

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the answers in testdata/*.txt anew")

// TestStories plays testdata/*.txt: lines that begin with ">" are commands, the
// lines indented after them belong to the command, what follows is what the
// planner answered. Everything before the first command is prose.
//
//	> machine ID k=v ...         the machine joins, or presents itself anew
//	> back ID                    a lost machine joins again, with what it still runs
//	> lose ID, > die ID          its lease is gone: it runs on, or it doesn't
//	> leave ID                   it hands its units over
//	> cordon ID, > override ID k=v ..., > uncordon ID (ends an override as well)
//	> submit UNIT TARGET         with the [X-Fleet] options in the lines after it
//	> target UNIT TARGET, > restart UNIT, > restart UNIT ID
//	> vanish unit UNIT | file UNIT | placement ID UNIT | cluster
//	> cluster                    the cluster's key is back
//	> ack ID UNIT                the agent does what it is told, and says so
//	> agents                     all agents do
//	> leader                     another leader takes over
//	> step +1s                   plan
//	> settle                     plan and let agents work until all is done
//	> explain UNIT
func TestStories(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(want))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("the story went another way (-update accepts it):\n%s", d)
			}
		})
	}
}

// play runs a story's commands and gives it back with the answers as they are
// now.
func play(text string) (string, error) {
	var out strings.Builder
	s := newSim()
	lines := bufio.NewScanner(strings.NewReader(text))
	var command string
	var body []string
	begun, inBody := false, false
	flush := func() error {
		if command == "" {
			return nil
		}
		fmt.Fprintf(&out, "> %s\n", command)
		for _, l := range body {
			fmt.Fprintln(&out, l)
		}
		answer, err := s.command(strings.Fields(command), strings.Join(body, "\n"))
		if err != nil {
			return fmt.Errorf("> %s: %w", command, err)
		}
		out.WriteString(answer)
		command, body = "", nil
		return nil
	}
	for lines.Scan() {
		l := lines.Text()
		switch {
		case strings.HasPrefix(l, "> "):
			if err := flush(); err != nil {
				return "", err
			}
			command, begun, inBody = l[2:], true, true
		case !begun:
			fmt.Fprintln(&out, l)
		case strings.HasPrefix(l, "#"): // a comment goes before the command after it
			if err := flush(); err != nil {
				return "", err
			}
			fmt.Fprintf(&out, "\n%s\n", l)
		case inBody && strings.HasPrefix(l, "    "):
			body = append(body, l)
		default:
			inBody = false
		}
	}
	err := flush()
	return out.String(), err
}

func (s *sim) command(words []string, body string) (string, error) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	id := func(i int) machine.ID { return id(arg(i)) }
	name := func(i int) unit.Name { return unit.Name(arg(i)) }
	switch words[0] {
	case "machine":
		m := machine.Machine{ID: id(1), Hostname: "host-" + arg(1), Metadata: pairs(words[2:])}
		s.machine(m)
	case "back":
		s.comeBack(id(1))
	case "lose", "die":
		s.lose(id(1), words[0] == "die")
	case "leave":
		m := s.hosts[id(1)]
		m.Leaving = true
		s.machine(m)
	case "cordon":
		s.overrides(id(1), &record.Overrides{Cordoned: true})
	case "override":
		s.overrides(id(1), &record.Overrides{Metadata: pairs(words[2:])})
	case "uncordon":
		s.overrides(id(1), nil)
	case "submit":
		text := "[Service]\nExecStart=/bin/true\n"
		if body != "" {
			text += "[X-Fleet]\n" + strings.ReplaceAll(body, "    ", "") + "\n"
		}
		s.submit(name(1), unit.Target(arg(2)), text)
	case "target":
		s.edit(name(1), func(u *record.Unit) { u.Target = unit.Target(arg(2)) })
	case "restart":
		s.edit(name(1), func(u *record.Unit) {
			if arg(2) == "" {
				*u = u.Restarted()
			} else {
				*u = u.RestartedOn(id(2), s.knows(name(1)))
			}
		})
	case "vanish":
		return "", s.vanish(words[1:])
	case "cluster":
		s.cluster(true)
	case "ack":
		if !s.agent(record.Key{Machine: id(1), Unit: name(2)}) {
			return "", fmt.Errorf("there is nothing to do")
		}
	case "agents":
		s.agents()
	case "leader":
		s.newLeader()
	case "step":
		d, err := time.ParseDuration(strings.TrimPrefix(arg(1), "+"))
		if err != nil {
			return "", err
		}
		return s.tell(s.step(d)), nil
	case "settle":
		return lines(s.settle()), nil
	case "explain":
		return s.explain(name(1))
	default:
		return "", fmt.Errorf("unknown command")
	}
	return "", nil
}

// pairs reads metadata: k=v.
func pairs(words []string) map[string]string {
	out := map[string]string{}
	for _, pair := range words {
		k, v, _ := strings.Cut(pair, "=")
		out[k] = v
	}
	return out
}

func (s *sim) vanish(words []string) error {
	switch words[0] {
	case "unit":
		s.unit(unit.Name(words[1]), nil)
	case "file":
		s.file(s.view.Units[unit.Name(words[1])].File, nil)
	case "placement":
		s.placement(record.Key{Machine: id(words[1]), Unit: unit.Name(words[2])}, nil)
	case "cluster":
		s.cluster(false)
	default:
		return fmt.Errorf("unknown thing")
	}
	return nil
}

func lines(decisions []Decision) string {
	if len(decisions) == 0 {
		return "nothing to do\n"
	}
	var b strings.Builder
	for _, d := range decisions {
		fmt.Fprintln(&b, d)
	}
	return b.String()
}

func (s *sim) tell(plan Plan) string {
	out := lines(plan.Decisions)
	for _, w := range plan.Warnings {
		out += "warning: " + w + "\n"
	}
	if !plan.Wake.IsZero() {
		out += "wake in " + plan.Wake.Sub(s.now).String() + "\n"
	}
	return out
}

func (s *sim) explain(name unit.Name) (string, error) {
	e, ok := s.planner.Explain(name)
	if !ok {
		return "no such unit\n", nil
	}
	out := e.Summary + " fits=" + strconv.FormatBool(e.Fits) + "\n"
	for _, v := range e.Machines {
		out += fmt.Sprintf("%s %s", v.ID.Short(), v.Hostname)
		switch {
		case v.Placed:
			out += " has it"
		case v.Fits:
			out += " fits"
		}
		for _, r := range v.Reasons {
			out += "\n  " + r
		}
		out += "\n"
	}
	return out, nil
}
