package server_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/server"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// testdata/*.txt is what goes over the wire: requests after >, answers after <. A
// line of "= restart" restarts the service; TOKEN is the last one that was given out.
// A request's further headers stand after a |, each.
func TestTranscripts(t *testing.T) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".txt") {
			continue
		}
		played++
		t.Run(strings.TrimSuffix(f.Name(), ".txt"), func(t *testing.T) {
			path := "testdata/" + f.Name()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(text), got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if played < 2 {
		t.Errorf("only %d transcripts", played)
	}
}

func play(t *testing.T, script string) string {
	s := newService(t, server.Options{Poll: time.Millisecond})
	var out bytes.Buffer
	last := ""
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "<") {
			continue
		}
		out.WriteString(line)
		line = strings.TrimSpace(line)
		if line == "= restart" {
			s.restart()
		}
		sent, ok := strings.CutPrefix(line, "> ")
		if !ok {
			continue
		}
		parts := strings.Split(strings.ReplaceAll(sent, "TOKEN", last), " | ")
		w := s.ask(parts[0], parts[1:]...)
		if path, ok := strings.CutPrefix(w.Body.String(), "http://discovery:2381/"); ok {
			last = path
		}
		tell := func(format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			if last != "" {
				text = strings.ReplaceAll(text, last, "TOKEN")
			}
			fmt.Fprintf(&out, "< %s\n", text)
		}
		tell("%d", w.Code)
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range w.Header() {
				if !yield(name) {
					return
				}
			}
		}) {
			tell("%s: %s", name, w.Header().Get(name))
		}
		for body := range strings.Lines(w.Body.String()) {
			tell("%s", strings.TrimRight(body, "\n"))
		}
	}
	return out.String()
}
