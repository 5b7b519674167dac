package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleet-project/fleet/cloudinit"
	"github.com/fleet-project/fleet/cloudinit/format"
	"github.com/fleet-project/fleet/machine"
)

// run is one run of fleetd cloudinit.
type run struct {
	*options
	out, err io.Writer

	findAddresses func() (machine.Addresses, error) // this host's
}

// checked is what --validate has to say of one config.
type checked struct {
	Name     string      `json:"name"`
	Format   format.Kind `json:"format,omitempty"`
	Valid    bool        `json:"valid"`
	Uses     []string    `json:"uses"` // addresses of the host, as variables
	Problems []problem   `json:"problems"`
}

type problem struct {
	Line    int             `json:"line"`
	Level   cloudinit.Level `json:"level"`
	Message string          `json:"message"`
}

// kindOf tells a config's format, and gives its text uncompressed.
func kindOf(data []byte) (format.Kind, []byte) {
	text, err := format.Decompress(data)
	if err != nil {
		return format.Unknown, nil
	}
	return format.Detect(text), text
}

func (r *run) check(name string, data []byte) checked {
	_, problems := cloudinit.Translate(data, cloudinit.Options{Check: true})
	kind, text := kindOf(data)
	c := checked{Name: name, Format: kind, Uses: []string{}, Problems: []problem{}, Valid: !problems.Failed() && (!r.strict || len(problems) == 0)}
	if kind != format.Ignition && kind != format.Butane {
		c.Uses = append(c.Uses, cloudinit.Variables(text)...)
	}
	for _, p := range problems {
		c.Problems = append(c.Problems, problem{p.Line, p.Level, p.Msg})
	}
	return c
}

// validateFiles checks each of several files, and all in directories.
func (r *run) validateFiles(ctx context.Context, names []string) error {
	if !r.from.onlyFiles() {
		return UsageError{errors.New("--validate checks either files or one other source")}
	}
	if r.from.sha256+r.from.sha512 != "" && len(names) > 1 {
		return UsageError{errors.New("--sha256 and --sha512 are of one config")}
	}
	if err := r.from.setChecksum(r.host); err != nil {
		return UsageError{err}
	}
	var all []checked
	for _, name := range names {
		files, err := filesIn(name)
		if err != nil {
			return err
		}
		for _, file := range files {
			found, err := r.host.First(ctx, 0, r.host.File(file))
			if err != nil {
				return err
			}
			all = append(all, r.check(found.From, found.UserData))
		}
	}
	return r.report(all)
}

// filesIn gives the files of a directory that aren't hidden, or the file itself.
func filesIn(name string) ([]string, error) {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return []string{name}, nil // reading it says what is wrong
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: there is no file in it", name)
	}
	return files, nil
}

// report prints what --validate found, and fails if a config isn't valid.
func (r *run) report(all []checked) error {
	var bad []string
	for _, c := range all {
		if !c.Valid {
			bad = append(bad, c.Name)
		}
	}
	if r.output == "json" {
		if err := r.json(all); err != nil {
			return err
		}
	} else {
		for _, c := range all {
			r.tell(c)
		}
	}
	switch {
	case len(bad) == 0 || r.ignoreFailure:
		return nil
	case len(all) == 1:
		return fmt.Errorf("%s can't be used as it is", bad[0])
	}
	return fmt.Errorf("%d of %d configs can't be used as they are: %s", len(bad), len(all), strings.Join(bad, ", "))
}

func (r *run) tell(c checked) {
	for _, p := range c.Problems {
		fmt.Fprintf(r.err, "%s:%d: %s: %s\n", c.Name, p.Line, p.Level, p.Message)
	}
	if !c.Valid || r.quiet {
		return
	}
	uses := ""
	if len(c.Uses) > 0 {
		uses = "; the host must have $" + strings.Join(c.Uses, ", $")
	}
	fmt.Fprintf(r.out, "%s: valid %s%s\n", c.Name, c.Format, uses)
}

func (r *run) json(value any) error {
	out := json.NewEncoder(r.out)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(value)
}

// nothing says that there is nothing to do.
func (r *run) nothing(why string) error {
	if r.live() && !r.diff {
		if err := r.bootDone(); err != nil {
			return err
		}
	}
	if r.output == "json" {
		return r.json(outcome{Changes: []change{}, Note: why})
	}
	if !r.quiet {
		fmt.Fprintln(r.out, why)
	}
	return nil
}

// environmentAddresses are those that the environment gives: all that is known
// of another host, which an image or an Ignition config is for.
func environmentAddresses() map[string]string {
	all := make(map[string]string)
	for _, name := range []string{"private_ipv4", "public_ipv4", "private_ipv6", "public_ipv6"} {
		if addr := os.Getenv(machine.AddressVariable(name)); addr != "" {
			all[name] = addr
		}
	}
	return all
}
