package server_test

import (
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"github.com/google/go-cmp/cmp"
)

// A client that is generated from the description which the server serves
// compiles, and does what one does with fleet. It is examples/client, copied to
// where it may leave what it generates.
func TestGeneratedClient(t *testing.T) {
	const source = "../../examples/client"
	c := servertest.New(t)
	c.SetMachine(machine.Machine{ID: node1, IP: "10.0.0.1"})
	socket := strings.TrimPrefix(c.Serve(t, server.Options{}), "unix://")

	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "generate.go", "main.go"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	resp, err := clientOf(t, socket).Get("http://fleetd/fleet/v1/discovery")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "fleet"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, args := range [][]string{{"generate", "."}, {"run", ".", socket}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		// It is a module of its own, as it would be at a user's.
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		var problems strings.Builder
		cmd.Stderr = &problems
		if out, err = cmd.Output(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, problems.String())
		}
	}
	want := []string{"create", "refuse", "list", "get", "change", "machines", "destroy", "all", "is", "well"}
	if diff := cmp.Diff(want, strings.Fields(string(out))); diff != "" {
		t.Errorf("what the client did:\n%s", diff)
	}
	v := c.View()
	if units, words := slices.Collect(maps.Keys(v.Units)), v.Overrides[node1]; len(units) > 0 || len(words.Metadata) > 0 {
		t.Errorf("the client left %v and %v", units, words)
	}
}
