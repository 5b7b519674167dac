package functional

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write into the transcripts of testdata what their commands print")

// A transcript is a session on the hosts that a person can read: comments,
// commands, and exactly what each of them prints.
//
//	# What this shows.
//	$ fleetctl submit web
//	Unit web.service inactive
//	n2$ systemctl is-active web
//	inactive
//	[3]
//
// A line after "$ " is run by sh on the first host, one after "n2$ " on that
// host, in a directory that holds the files which follow in the archive. What
// goes to standard error is marked with "! ", an exit code other than 0 is in
// brackets; "| " marks output that looks like any of these. Machines are written as 1111... at 10.0.0.1, 2222... at 10.0.0.2
// and so on, both in what is run and in what is printed.
type transcript struct {
	path    string
	archive *txtar.Archive
}

func readTranscript(path string) (*transcript, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	return &transcript{path: path, archive: archive}, nil
}

// alone says whether nothing else may be in the cluster meanwhile, since it
// lists everything.
func (tr *transcript) alone() bool { return bytes.HasPrefix(tr.archive.Comment, []byte("# Alone")) }

// promptLine is a command of a transcript: the host's number, if any, and what
// to run.
var promptLine = regexp.MustCompile(`^(?:n(\d))?\$ (.*)$`)

// ambiguous is a line of output that could be taken for something else in a
// transcript; "| " is put before it.
var ambiguous = regexp.MustCompile(`^$|^[#$!|[]|^n\d\$`)

// play runs the session, and compares or (with -update) writes down what it
// printed.
func (tr *transcript) play(t *testing.T, w *world) {
	names := w.pseudonyms()
	dir := "/root/compat/" + strings.TrimSuffix(filepath.Base(tr.path), ".txt")
	files := map[string]platform.File{}
	for _, f := range tr.archive.Files {
		files[dir+"/"+f.Name] = platform.File{Content: names.real(string(f.Data))}
	}
	for _, h := range w.Hosts {
		if _, err := h.Run(w.ctx, "mkdir", "-p", dir); err != nil {
			t.Fatal(err)
		}
		if err := h.WriteFiles(w.ctx, files); err != nil {
			t.Fatal(err)
		}
	}
	var got strings.Builder
	said := false // the line before was a command's output
	for _, line := range strings.Split(strings.TrimSuffix(string(tr.archive.Comment), "\n"), "\n") {
		prompt := promptLine.FindStringSubmatch(line)
		switch {
		case prompt != nil:
			said = true
			n, _ := strconv.Atoi(prompt[1])
			fmt.Fprintln(&got, line)
			got.WriteString(names.fake(shell(w, w.Hosts[max(n, 1)-1], dir, names.real(prompt[2]))))
		case line == "" || strings.HasPrefix(line, "# "):
			said = false
			fmt.Fprintln(&got, line)
		case !said:
			t.Fatalf("%s: %q is neither a command nor a comment", tr.path, line)
		}
	}
	if got.String() == string(tr.archive.Comment) {
		return
	}
	if !*update {
		t.Errorf("%s: the session went otherwise (go test -update writes it down):\n%s", tr.path, difference(string(tr.archive.Comment), got.String()))
		return
	}
	tr.archive.Comment = []byte(got.String())
	if err := os.WriteFile(tr.path, txtar.Format(tr.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// shell runs a line on a host and gives what is seen of it.
func shell(w *world, h *platform.Host, dir, line string) string {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	cmd := h.Command(ctx, "sh", "-c", "cd "+dir+"\nexport HOME="+dir+"\n"+line)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var seen strings.Builder
	for text := range strings.Lines(stdout.String()) {
		if text = strings.TrimSuffix(text, "\n"); ambiguous.MatchString(text) {
			text = "| " + text
		}
		seen.WriteString(text + "\n")
	}
	for text := range strings.Lines(stderr.String()) {
		seen.WriteString("! " + strings.TrimSuffix(text, "\n") + "\n")
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(&seen, "[it had to be ended: %v]\n", ctx.Err())
	case errors.As(err, &exit):
		fmt.Fprintf(&seen, "[%d]\n", exit.ExitCode())
	case err != nil:
		fmt.Fprintf(&seen, "[%v]\n", err)
	}
	return seen.String()
}

// pseudonyms are names of this run's machines that are the same in every run.
type pseudonyms struct{ toReal, toFake *strings.Replacer }

func (w *world) pseudonyms() pseudonyms {
	var toReal, toFake []string
	add := func(fake, real string) { toReal, toFake = append(toReal, fake, real), append(toFake, real, fake) }
	for i, h := range w.Hosts {
		digit := strconv.Itoa(i + 1)
		add(strings.Repeat(digit, 32), h.MachineID())
		add(strings.Repeat(digit, 8), h.MachineID()[:8])
		add("10.0.0."+digit, h.IP())
	}
	return pseudonyms{strings.NewReplacer(toReal...), strings.NewReplacer(toFake...)}
}

func (p pseudonyms) real(s string) string { return p.toReal.Replace(s) }

// logStamp is what the journal's lines begin with, logPID a process id in them.
var (
	logStamp = regexp.MustCompile(`(?m)^((?:! )?)[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d `)
	logPID   = regexp.MustCompile(`\[\d+\]: `)
)

func (p pseudonyms) fake(s string) string {
	s = logStamp.ReplaceAllString(s, "${1}TIME ")
	return p.toFake.Replace(logPID.ReplaceAllString(s, "[PID]: "))
}

// difference shows where two sessions part, with some lines around.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	first := 0
	for first < len(a) && first < len(b) && a[first] == b[first] {
		first++
	}
	part := func(lines []string) string {
		return strings.Join(lines[max(first-3, 0):min(first+12, len(lines))], "\n")
	}
	return fmt.Sprintf("--- want, from line %d\n%s\n--- got\n%s", max(first-3, 0)+1, part(a), part(b))
}
