package replace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// Service is the unit that runs fleetd etcd, as systemd on this host knows it.
type Service string

// run calls one of systemd's programs.
func (Service) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out, nil
}

// Restart starts it anew, also if systemd has given it up.
func (s Service) Restart(ctx context.Context) error {
	if _, err := s.run(ctx, "systemctl", "reset-failed", string(s)); err != nil && ctx.Err() != nil {
		return err
	}
	_, err := s.run(ctx, "systemctl", "restart", string(s))
	return err
}

// Stop ends it.
func (s Service) Stop(ctx context.Context) error {
	_, err := s.run(ctx, "systemctl", "stop", string(s))
	return err
}

// property asks systemd for one of the service's properties.
func (s Service) property(ctx context.Context, name string, into any) error {
	const systemd = "org.freedesktop.systemd1"
	out, err := s.run(ctx, "busctl", "--json=short", "call", systemd, "/org/freedesktop/systemd1", systemd+".Manager", "LoadUnit", "s", string(s))
	if err != nil {
		return err
	}
	var path struct{ Data []string }
	if err := json.Unmarshal(out, &path); err != nil || len(path.Data) != 1 {
		return fmt.Errorf("systemd tells no path of %s: %.200s", s, out)
	}
	if out, err = s.run(ctx, "busctl", "--json=short", "get-property", systemd, path.Data[0], systemd+".Service", name); err != nil {
		return err
	}
	var value struct{ Data json.RawMessage }
	if err := json.Unmarshal(out, &value); err != nil {
		return err
	}
	return json.Unmarshal(value.Data, into)
}

// Environment is what the service gets: its Environment= and EnvironmentFile=
// lines, drop-ins included.
func (s Service) Environment(ctx context.Context) ([]string, error) {
	var environ []string
	if err := s.property(ctx, "Environment", &environ); err != nil {
		return nil, err
	}
	var files [][2]any // name, whether it may be missing
	if err := s.property(ctx, "EnvironmentFiles", &files); err != nil {
		return nil, err
	}
	for _, f := range files {
		name, _ := f[0].(string)
		text, err := os.ReadFile(name)
		if optional, _ := f[1].(bool); optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("EnvironmentFile= of %s: %w", s, err)
		}
		environ = append(environ, parseEnvironment(string(text))...)
	}
	return environ, nil
}

// Flags are those of etcd that the service's command line has after fleetd etcd.
// They win over the environment.
func (s Service) Flags(ctx context.Context, environ []string) ([]string, error) {
	var commands [][]json.RawMessage // program, command line, ...
	if err := s.property(ctx, "ExecStart", &commands); err != nil {
		return nil, err
	}
	for _, c := range commands {
		var line []string
		if len(c) < 2 {
			return nil, fmt.Errorf("systemd tells no command line of %s", s)
		}
		if err := json.Unmarshal(c[1], &line); err != nil {
			return nil, fmt.Errorf("the command line of %s: %w", s, err)
		}
		if i := slices.Index(line, "etcd"); i >= 0 {
			return expand(line[i+1:], environ), nil
		}
	}
	return nil, fmt.Errorf("ExecStart= of %s does not run fleetd etcd", s)
}

// expand puts variables into a command line as systemd does: ${NAME} anywhere, and
// a word $NAME as the words that it has.
func expand(line, environ []string) (out []string) {
	values := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	for _, word := range line {
		if name, ok := strings.CutPrefix(word, "$"); ok && variable.MatchString("${"+name+"}") {
			out = append(out, strings.Fields(values[name])...)
			continue
		}
		out = append(out, variable.ReplaceAllStringFunc(word, func(v string) string { return values[v[2:len(v)-1]] }))
	}
	return out
}

var variable = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// parseEnvironment reads an environment file's plain lines, quoted or not.
func parseEnvironment(text string) (out []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		out = append(out, strings.TrimSpace(key)+"="+value)
	}
	return out
}
