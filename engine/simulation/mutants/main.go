// Command mutants checks the simulation: it breaks the product's source in ways
// that each undo a promise, one at a time, and requires that the simulation notices.
// What isn't broken must hold for the same seeds. Run it in the module's root.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fleet-project/fleet/engine/simulation"
)

func main() {
	seeds := flag.Uint64("seeds", 60, "let each mutant have `n` seeds to be caught with")
	try := flag.Bool("try", false, "only run the seeds, on the source that this was built from, until a promise is broken (for the check's own use)")
	flag.Parse()
	if *try {
		if err := json.NewEncoder(os.Stdout).Encode(trial(*seeds)); err != nil {
			fail(err)
		}
		return
	}
	if err := check(*seeds); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mutants:", err)
	os.Exit(1)
}

// check tries every mutant, and then the source as it is. It prints a row for each.
func check(seeds uint64) error {
	root, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "fleet-mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()

	fmt.Printf("%-18s %-32s %-40s %8s %7s\n", "MUTATION", "AT", "CAUGHT BY", "SEED", "TIME")
	row := func(name, at, by string, seed any, began time.Time) {
		fmt.Printf("%-18s %-32s %-40s %8v %6.1fs\n", name, at, by, seed, time.Since(began).Seconds())
	}
	needed := uint64(1)
	var escaped error
	for i, m := range mutations {
		dir := filepath.Join(tmp, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		overlay, line, err := m.overlay(root, dir)
		if err != nil {
			return err
		}
		began := time.Now()
		found, err := run(root, dir, seeds, "-overlay", overlay)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		at := fmt.Sprintf("%s:%d", m.file, line)
		if found.Seed == 0 {
			row(m.name, at, "nothing", "-", began)
			escaped = errors.Join(escaped, fmt.Errorf("%s: not noticed with %d seeds, though it is no longer so that %s", m.name, seeds, m.broken))
			continue
		}
		row(m.name, at, found.Invariant, found.Seed, began)
		needed = max(needed, found.Seed)
	}
	began := time.Now()
	found, err := run(root, tmp, needed)
	switch {
	case err != nil:
		return err
	case found.Seed != 0:
		row("none", "", found.Invariant, found.Seed, began)
		return errors.Join(escaped, fmt.Errorf("the source as it is breaks a promise: %s\nreplay: %s", found.Broken, simulation.Replay(found.Seed)))
	}
	row("none", "", "nothing", fmt.Sprintf("1-%d", needed), began)
	return escaped
}

// run builds this program, with the build's flags, and has it run the seeds.
func run(root, dir string, seeds uint64, flags ...string) (found finding, err error) {
	binary := filepath.Join(dir, "mutants")
	build := exec.Command("go", append(append([]string{"build", "-o", binary}, flags...), "./engine/simulation/mutants")...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return found, fmt.Errorf("%w:\n%s", err, out)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(binary, "-try", "-seeds", fmt.Sprint(seeds))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return found, fmt.Errorf("%w:\n%s", err, stderr.Bytes())
	}
	return found, json.Unmarshal(out, &found)
}
