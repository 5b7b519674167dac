// Package fleet_test holds the policy of the house: which room may import
// which. See docs/architecture.md.
package fleet_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fleet-project/fleet/"

// mayImport lists, for each room, the rooms below it that it may import. A
// room is named by its path; one that is missing here fails the test.
var mayImport = map[string][]string{
	"unit":                      {},
	"machine":                   {"unit"},
	"registry/record":           {"unit", "machine"},
	"registry":                  {"unit", "machine", "registry/record"},
	"registry/etcdtest":         {},
	"registry/etcdmodel":        {},
	"engine/planner":            {"unit", "machine", "registry/record"},
	"engine":                    {"unit", "machine", "registry", "registry/record", "engine/planner"},
	"engine/simulation":         {"unit", "machine", "registry", "registry/record", "registry/etcdmodel", "engine", "engine/planner", "agent", "agent/systemd"},
	"engine/simulation/mutants": {"engine/simulation"},
	"agent/systemd":             {"unit", "machine"},
	"agent":                     {"unit", "machine", "registry", "registry/record", "agent/systemd"},
	"api":                       {"unit"},
	"api/server":                {"unit", "machine", "registry", "registry/record", "engine/planner", "api"},
	"api/server/servertest":     {"unit", "machine", "registry", "registry/record", "engine/planner", "api/server"},
	"cloudinit":                 {"unit", "cloudinit/format"},
	"cloudinit/apply":           {"unit", "cloudinit", "cloudinit/format"},
	"cloudinit/cloudconfig":     {"cloudinit"},
	"cloudinit/format":          {},
	"cloudinit/source":          {"cloudinit/format"},
	"discovery/token":           {},
	"discovery":                 {"discovery/token"},
	"discovery/server":          {"discovery", "discovery/token"},
	"fleetctl/ssh":              {},
	"fleetctl/backup":           {"unit", "machine"},
	"fleetctl":                  {"unit", "api", "fleetctl/backup", "fleetctl/ssh"},
	"fleetd/config":             {"unit", "machine", "registry"},
	"fleetd/doctor":             {"machine", "registry", "registry/record", "agent/systemd", "api"},
	"fleetd/manager":            {},
	"fleetd/member":             {"discovery", "discovery/token", "fleetd/durable", "fleetd/peers"},
	"fleetd/durable":            {},
	"fleetd/peers":              {},
	"fleetd/proxy":              {"fleetd/durable", "fleetd/peers"},
	"fleetd/replace":            {"discovery", "discovery/token", "fleetd/durable", "fleetd/member", "fleetd/peers", "fleetd/proxy"},
	"fleetd/rescue":             {"machine", "registry", "registry/record", "fleetd/member", "fleetd/peers"},
	"fleetd/setup":              {"agent/systemd", "cloudinit", "cloudinit/apply", "cloudinit/cloudconfig", "cloudinit/format", "cloudinit/source", "machine"},
	"fleetd":                    {"unit", "machine", "registry", "registry/record", "engine", "agent", "agent/systemd", "api", "api/server", "discovery/server", "fleetd/config", "fleetd/doctor", "fleetd/durable", "fleetd/manager", "fleetd/member", "fleetd/proxy", "fleetd/replace", "fleetd/rescue", "fleetd/setup"},
	"functional/bare":           {},
	"functional/platform":       {},
	"functional/cluster":        {"functional/platform"},
	"functional/history":        {},
	"functional/faults":         {"bench/figure", "functional/history", "functional/platform", "functional/cluster"},
	"functional/faults/table":   {"bench/figure", "functional/cluster", "functional/faults"},
	"functional/soak":           {"unit", "bench/figure", "functional/faults", "functional/platform", "functional/cluster"},
	"functional/demo":           {"functional/platform", "functional/cluster"},
	"functional":                {"api", "functional/platform", "functional/cluster"},
	"examples/echo":             {},
	"bench/figure":              {},
	"bench/table":               {"bench/figure"},
	"bench/load":                {"unit", "machine", "registry/record"},
	"bench/planner":             {"unit", "machine", "registry/record", "engine/planner", "bench/load", "bench/figure"},
	"bench/hosts":               {"bench/figure", "functional/cluster", "functional/platform"},
	"bench/hosts/floor":         {},
	"bench/cluster":             {"unit", "machine", "registry", "registry/record", "engine", "agent", "agent/systemd", "api", "api/server", "bench/load", "bench/figure"},
	"bench/fleetctl":            {"unit", "registry", "registry/record", "api/server", "bench/load", "bench/figure"},
	"bench/fleetctl/hello":      {},
	"bench/fleetctl/get":        {},
	"manual":                    {},
}

// onlyIn says which rooms alone may import a library: what it speaks is those
// rooms' secret.
var onlyIn = map[string][]string{
	"go.etcd.io/etcd/client":                {"registry", "registry/etcdtest", "registry/etcdmodel", "fleetd/member", "fleetd/peers", "fleetd/proxy", "fleetd/replace", "fleetd/rescue", "bench/hosts/floor", "bench/cluster"},
	"go.etcd.io/etcd/client/v3":             {"registry", "registry/etcdtest", "registry/etcdmodel", "fleetd/replace", "fleetd/rescue", "bench/hosts/floor", "bench/cluster"},
	"go.etcd.io/etcd/server":                {"fleetd", "fleetd/member", "fleetd/rescue", "registry/etcdtest"},
	"go.etcd.io/bbolt":                      {"discovery/server", "fleetd/member"},
	"github.com/coreos/butane":              {"cloudinit"},
	"github.com/coreos/ignition":            {"cloudinit", "cloudinit/apply", "cloudinit/cloudconfig"},
	"github.com/go-json-experiment/json":    {"api", "api/server", "registry"},
	"github.com/godbus/dbus":                {"agent/systemd", "fleetd/manager", "bench/hosts/floor"},
	"github.com/coreos/go-systemd/v22/dbus": {"agent/systemd", "fleetd/manager"},
}

// never lists what a room must not link, however deep: fleetctl stays small,
// and what is pure stays pure.
var never = map[string][]string{
	"fleetctl": {"go.etcd.io/etcd", "google.golang.org/grpc", "github.com/prometheus"},
	// It is a file's form, and no more.
	"fleetctl/backup": {"net/http", "os/exec", "log", "go.etcd.io/etcd"},
	"unit":            {"net", "os/exec", "log", "github.com/sirupsen/logrus"},
	"cloudinit":       {"os/exec", "github.com/sirupsen/logrus", "go.etcd.io/etcd", "google.golang.org/grpc"},
	// No program of the host's has a say in what an image becomes, and no bus.
	"cloudinit/apply":       {"os/exec", "github.com/godbus/dbus", "github.com/sirupsen/logrus", "go.etcd.io/etcd", "google.golang.org/grpc"},
	"cloudinit/cloudconfig": {"os/exec", "github.com/sirupsen/logrus", "go.etcd.io/etcd"},
	"cloudinit/format":      {"net/http", "os/exec", "log", "github.com/coreos"},
	// It understands no config.
	"cloudinit/source": {"github.com/coreos", "github.com/sirupsen/logrus", "go.etcd.io/etcd", "google.golang.org/grpc"},
	"registry/record":  {"go.etcd.io/etcd", "net/http"},
	"engine/planner":   {"go.etcd.io/etcd", "net/http", "github.com/sirupsen/logrus", "log"},
	"discovery/token":  {"net/http", "go.etcd.io/bbolt", "github.com/sirupsen/logrus", "log"},
	"discovery":        {"go.etcd.io/etcd", "go.etcd.io/bbolt", "github.com/prometheus"},
	// It is there before any etcd is.
	"discovery/server": {"go.etcd.io/etcd", "google.golang.org/grpc"},
	"fleetd/peers":     {"go.etcd.io/etcd/server", "go.etcd.io/etcd/client/v3", "google.golang.org/grpc"},
	"fleetd/proxy":     {"go.etcd.io/etcd/server", "go.etcd.io/etcd/client/v3"},
}

type goPackage struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func TestRoomsImportOnlyRoomsBelow(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("room %s is not in mayImport: say here what it may import, and in docs/architecture.md what it is for", room)
			continue
		}
		if p.Doc == "" {
			t.Errorf("room %s has no package comment that says what it is for", room)
		}
		for _, imp := range p.Imports {
			if below, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, below) {
				t.Errorf("room %s imports %s, which is not below it", room, below)
			}
			for lib, rooms := range onlyIn {
				if strings.HasPrefix(imp, lib) && !slices.Contains(rooms, room) {
					t.Errorf("room %s imports %s, which only %v may", room, imp, rooms)
				}
			}
		}
		for _, dep := range p.Deps {
			for _, lib := range never[room] {
				if dep == lib || strings.HasPrefix(dep, lib+"/") && strings.Contains(lib, ".") {
					t.Errorf("room %s links %s, which it must not", room, dep)
				}
			}
		}
	}
}

// packages lists the module's packages as the go command sees them.
func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,GoFiles,Imports,Deps", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}
