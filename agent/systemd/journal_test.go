package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleet-project/fleet/unit"
)

func TestLastLines(t *testing.T) {
	many := strings.Split(strings.Repeat("line\n", 12), "\n")
	long := strings.Repeat("ä", lineBytes/2)
	for name, tt := range map[string]struct{ text, want string }{
		"none":                  {"", ""},
		"one":                   {"one\n", "one"},
		"as many as may be":     {"first\n" + strings.Join(many, "\n"), strings.TrimSuffix(strings.Repeat("line\n", logLines), "\n")},
		"a line without an end": {"one\ntwo", "one\ntwo"},
		"a long line":           {"a" + long + "\nb\n", "a" + strings.Repeat("ä", (lineBytes-4)/2) + "…\nb"},
		"one that just fits":    {long + "\n", long},
		"more than fits":        {strings.Repeat(long+"\n", 4), strings.Join([]string{long, long, long}, "\n")},
		"colours and bells":     {"\x1b[31mred\x1b[0m\a\tand \u009bC1\r\n", "\uFFFD[31mred\uFFFD[0m\uFFFD and \uFFFDC1\uFFFD"},
		"no UTF-8":              {"a\xff\xfeb\n", "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			got := lastLines([]byte(tt.text))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if len(got) > logBytes {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var out tail
	for range 10 {
		if n, err := out.Write([]byte(strings.Repeat("x", tailBytes/4) + "\n")); n != tailBytes/4+1 || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = out.Write([]byte("the end\n"))
	got := string(out.bytes())
	if !strings.HasSuffix(got, "x\nthe end\n") || len(got) > tailBytes || strings.Count(got, "\n") != 4 {
		t.Errorf("%d bytes in %d lines", len(got), strings.Count(got, "\n"))
	}
}

// journal puts scripts in place of journalctl: one says what it was asked for,
// the other that it was called. It gives the second's traces.
func journal(t *testing.T, c *Client, script string) (synced string) {
	t.Helper()
	dir := t.TempDir()
	synced = filepath.Join(dir, "synced")
	c.opts.SyncJournal = []string{"sh", "-c", "echo synced >> " + synced}
	c.opts.Journalctl = []string{"sh", "-c", script, "journalctl"}
	return synced
}

// What systemd knows of the run decides which log is read.
func TestLogsAreOfTheRunThatFailed(t *testing.T) {
	c, ctx := dial(t)
	synced := journal(t, c, `echo "$@"`)
	put(ctx, t, c,
		File{"words-run.service", []byte("[Service]\nType=oneshot\nExecStart=/bin/false\n")},
		File{"words-none.timer", []byte("[Timer]\nOnActiveSec=1h\n")},
	)
	before := time.Now().UnixMicro()
	if result := start(ctx, t, c, "words-run.service"); result != JobFailed {
		t.Fatal(result)
	}
	if result := start(ctx, t, c, "words-none.timer"); result != JobFailed {
		t.Fatal(result)
	}
	since := func(name unit.Name) string {
		var at uint64
		if err := c.property(ctx, name, unitIface, "ConditionTimestamp", &at); err != nil || at < uint64(before) {
			t.Fatalf("%s was to be started at %d: %v", name, at, err)
		}
		return fmt.Sprintf("--unit=%s --since=@%.6f", name, float64(at)/1e6)
	}
	got, err := c.Logs(ctx, []unit.Name{"words-run.service", "words-none.timer", "words-nowhere.service"})
	if err != nil {
		t.Fatal(err)
	}
	const how = "--no-pager --quiet --output=short --lines=10 "
	want := map[unit.Name]string{
		"words-run.service":     how + since("words-run.service"),
		"words-none.timer":      how + "--unit=words-none.timer",
		"words-nowhere.service": how + "--unit=words-nowhere.service",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if trace, err := os.ReadFile(synced); string(trace) != "synced\n" {
		t.Errorf("synced: %q, %v", trace, err)
	}
}

func TestLogsThatCannotBeRead(t *testing.T) {
	c, ctx := dial(t)
	names := []unit.Name{"words-a.service", "words-b.service"}

	journal(t, c, `case "$*" in *words-a*) echo words;; *) echo no right >&2; exit 1;; esac`)
	got, err := c.Logs(ctx, names)
	if err == nil || !strings.Contains(err.Error(), "words-b.service") || !strings.Contains(err.Error(), "no right") {
		t.Errorf("one of them: %v", err)
	}
	if got["words-a.service"] != "words" || len(got) != 1 {
		t.Errorf("the other: %q", got)
	}

	c.opts.Journalctl, c.opts.SyncJournal = []string{"/no/journalctl"}, []string{"/no/journalctl"}
	if got, err := c.Logs(ctx, names); !errors.Is(err, os.ErrNotExist) || len(got) != 0 {
		t.Errorf("without journalctl: %q, %v", got, err)
	}

	journal(t, c, `exec sleep infinity`)
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.readLog(ctx, names[0], nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when it takes too long: %v", err)
	}
}
