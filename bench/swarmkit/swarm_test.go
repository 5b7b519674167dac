package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/state/store"
)

// What SwarmKit is measured at must be what fleet's planner does: every rule
// kept, and spread out.
func TestAssignsByTheRules(t *testing.T) {
	s := size{services: 40, replicas: 20, nodes: 40}
	swarm, err := s.swarm()
	if err != nil {
		t.Fatal(err)
	}
	defer swarm.Close()
	if err := s.check(swarm); err == nil {
		t.Error("check finds everything assigned before anything is")
	}
	if _, err := assign(swarm); err != nil {
		t.Fatal(err)
	}
	if err := s.check(swarm); err != nil {
		t.Error(err)
	}
	onNode, apart := map[string]int{}, map[string]bool{}
	swarm.View(func(tx store.ReadTx) {
		tasks, err := store.FindTasks(tx, store.All)
		if err != nil || len(tasks) != s.tasks() {
			t.Errorf("%d tasks: %v", len(tasks), err)
		}
		for _, task := range tasks {
			onNode[task.NodeID]++
			checkPlacement(t, task, store.GetNode(tx, task.NodeID), apart)
		}
	})
	if len(onNode) != s.nodes || len(apart) != 2*s.replicas {
		t.Errorf("tasks on %d nodes, %d of them apart", len(onNode), len(apart))
	}
}

// checkPlacement holds a task against its service's rule, and notes who wants to
// be apart where.
func checkPlacement(t *testing.T, task *api.Task, on *api.Node, apart map[string]bool) {
	placement := task.Spec.Placement
	if placement == nil {
		return
	}
	for _, rule := range placement.Constraints {
		key, value, _ := strings.Cut(strings.TrimPrefix(rule, "node.labels."), "==")
		if on.Spec.Annotations.Labels[key] != value {
			t.Errorf("%s is on %s, against %s", task.ID, on.ID, rule)
		}
	}
	if placement.MaxReplicas == 1 {
		if apart[task.ServiceID+on.ID] {
			t.Errorf("two tasks of %s are on %s", task.ServiceID, on.ID)
		}
		apart[task.ServiceID+on.ID] = true
	}
}

func TestComparesSizeBySize(t *testing.T) {
	planner := filepath.Join(t.TempDir(), "planner.json")
	text := `{"Series": [{"Subject": "planner", "Name": "` + sweep + `", "Points": [{"X": 1000, "Y": 0.01}, {"X": 10000, "Y": 0.1}]}]}`
	if err := os.WriteFile(planner, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	points, err := readSweep(planner)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	var swarm took
	swarm.decided.cpu, swarm.all.cpu = 2e8, 1e9
	for _, s := range sizes[:3] {
		r.compare(s, swarm, points)
	}
	if len(r.Figures) != 6 {
		t.Fatalf("%d figures", len(r.Figures))
	}
	if f := r.Figures[2]; f.Name != "10000 units on 1000 machines" || f.Value != 100000 || f.Beside == nil || f.Beside.Value != 50000 {
		t.Errorf("%+v %+v", f, f.Beside)
	}
	if f := r.Figures[3]; f.Beside == nil || f.Beside.Value != 10000 {
		t.Errorf("%+v %+v", f, f.Beside)
	}
	// A size that the planner didn't do stands alone.
	if f := r.Figures[4]; !strings.HasPrefix(f.Name, "SwarmKit: ") || f.Value != 500000 || f.Beside != nil {
		t.Errorf("%+v", f)
	}
}

func TestReadsThePlannersReport(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, text, want string }{
		{"not JSON", "figure", "invalid character"},
		{"no sweep", "{}", "has no series"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := readSweep(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("not there", func(t *testing.T) {
		if points, err := readSweep(filepath.Join(dir, "nothing")); err != nil || points != nil {
			t.Error(points, err)
		}
	})
}
