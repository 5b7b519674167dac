package source

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// fast is a host that is looked at without pauses that a person would notice.
func fast() *Host {
	return &Host{
		poll:  [2]time.Duration{time.Microsecond, time.Millisecond},
		retry: retry{first: time.Microsecond, most: time.Millisecond},
	}
}

// after is a source that is there from its n-th look on, and never if n is 0.
func after(name string, n int, local bool) Source {
	looks := 0
	return Source{
		Name: name, local: local,
		available: func(context.Context) error {
			looks++
			if n == 0 {
				return never("never there")
			}
			if looks < n {
				return errors.New("not yet")
			}
			return nil
		},
		read: func(context.Context) (Found, error) { return Found{UserData: []byte(name)}, nil },
	}
}

func TestFirst(t *testing.T) {
	for _, c := range []struct {
		name    string
		wait    time.Duration
		sources []Source
		want    string
		err     string
	}{
		{"the only one", 0, []Source{after("a", 1, false)}, "a", ""},
		{"local ones in order", 0, []Source{after("a", 0, true), after("b", 1, true), after("c", 1, true)}, "b", ""},
		{"a local one before a service listed earlier", 0, []Source{after("service", 1, false), after("file", 1, true)}, "file", ""},
		{"one that comes later", time.Hour, []Source{after("never", 0, false), after("late", 5, false)}, "late", ""},
		{"a local one that comes later", time.Hour, []Source{after("never", 0, false), after("drive", 5, true)}, "drive", ""},
		{"none, and no wait", 0, []Source{after("a", 0, true), after("b", 2, false)}, "", "no source has a config:\n  a: never there\n  b: not yet"},
		{"none, ever", time.Hour, []Source{after("a", 0, true)}, "", "a: never there"},
		{"none in time", time.Millisecond, []Source{after("a", 1<<30, false)}, "", "a: not yet (looked for it for 1ms)"},
		{"broken", time.Hour, []Source{
			{Name: "a", local: true, available: func(context.Context) error { return nil }, read: func(context.Context) (Found, error) { return Found{}, errors.New("bad sector") }},
			after("b", 1, true),
		}, "", "a: bad sector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := fast().First(context.Background(), c.wait, c.sources...)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("%v; want %s", err, c.err)
				}
				return
			}
			if err != nil || found.From != c.want || string(found.UserData) != c.want {
				t.Errorf("%+v, %v; want %s", found, err, c.want)
			}
		})
	}
}

func TestFirstOfTheSameMoment(t *testing.T) {
	answers := make(chan answer, 4)
	for _, a := range []answer{{3, nil}, {0, ErrNever}, {1, nil}, {2, nil}} {
		answers <- a
	}
	if got := collect(answers, make([]error, 4)); got != 1 {
		t.Errorf("took source %d, want 1: the first listed that is there", got)
	}
}

func TestFirstEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	h := fast()
	h.onWait = cancel
	_, err := h.First(ctx, time.Hour, after("a", 1<<30, false))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// A person who waits is told for what, once a reason.
func TestWhatIsWaitedForIsTold(t *testing.T) {
	var told []string
	h := fast()
	h.Log = func(s string) { told = append(told, s) }
	if _, err := h.First(context.Background(), time.Hour, after("a", 5, false)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, "\n"); got != "waiting for a: not yet" {
		t.Errorf("told %q", got)
	}
}

func TestChecksum(t *testing.T) {
	const sum = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824" // of hello
	good, err := ParseChecksum("sha256", " "+sum+"\n")
	if err != nil {
		t.Fatal(err)
	}
	h := fast()
	h.Checksum = good
	if _, err := h.First(context.Background(), 0, after("hello", 1, true)); err != nil {
		t.Error(err)
	}
	_, err = h.First(context.Background(), 0, after("hullo", 1, true))
	if err == nil || !strings.Contains(err.Error(), "hullo: the config is not the one that was meant: its sha256 is") {
		t.Errorf("another config passes: %v", err)
	}
	for _, bad := range [][2]string{{"md5", sum}, {"sha512", sum}, {"sha256", "xx"}, {"sha256", ""}} {
		if _, err := ParseChecksum(bad[0], bad[1]); err == nil {
			t.Errorf("%s taken", bad)
		}
	}
}
