package replace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// put writes, and has reads at one host.
func (h *hosts) put(value string) {
	h.t.Helper()
	h.await("a write", func(ctx context.Context, c *clientv3.Client) error { _, err := c.Put(ctx, "k", value); return err })
}

func (h *hosts) expect(value string, at int) {
	h.t.Helper()
	h.await("a read at the new member", func(ctx context.Context, c *clientv3.Client) error {
		resp, err := c.Get(ctx, "k", clientv3.WithSerializable()) // its own data
		if err == nil && (len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != value) {
			err = fmt.Errorf("%v", resp.Kvs)
		}
		return err
	}, at)
}

// A member lost its data. Whatever moment the replacement is cut off at, the
// next one completes it.
func TestCutOffAtAnyMoment(t *testing.T) {
	t.Parallel()
	h := newHosts(t, 3)
	cut := 0
	for moment := 1; ; moment++ {
		value := fmt.Sprint("before ", moment)
		h.put(value)
		h.lose(3)
		out, err := h.replace(3, fmt.Sprint("REPLACE_TEST_KILL=", moment))
		if err == nil {
			if moment < 8 {
				t.Errorf("there are only %d moments:\n%s", moment, out)
			}
			break
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("moment %d: %v\n%s", moment, err, out)
		}
		cut++
		// Cut off late, it may be complete already: fleetd etcd promotes itself.
		if out, err := h.replace(3); err != nil && !strings.Contains(out, "there is nothing to replace") {
			t.Fatalf("after it was cut off at moment %d: %v\n%s", moment, err, out)
		}
		h.await("all members", func(ctx context.Context, c *clientv3.Client) error { return h.allWell(ctx, c, 3) })
		h.expect(value, 3)
		if _, err := os.Stat(filepath.Join(h.data(3), "proxy")); err == nil {
			t.Error("it is a proxy, too")
		}
		h.await("that the note is gone", func(context.Context, *clientv3.Client) error {
			if _, err := os.Stat(filepath.Join(h.data(3), "fleet")); err == nil {
				return errors.New("it is there")
			}
			return nil
		})
	}
	t.Logf("cut off at %d moments", cut)
}

// A host that lost its power says nothing more: the others are connected to it for
// a while yet, by TLS for minutes. It can be replaced, as one that is heard of can't.
func TestSilentMember(t *testing.T) {
	t.Parallel()
	h := newHosts(t, 3)
	h.put("v")
	h.start(4, "ETCD_PROXY=on")
	h.await("the proxy", func(ctx context.Context, c *clientv3.Client) error { _, err := c.Get(ctx, "k"); return err }, 4)
	text, err := os.ReadFile(h.pid(3))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if out, err := h.replace(4, "REPLACE_TEST_MEMBER=n3"); err != nil {
		t.Fatal(err, out)
	}
	h.stop[3]()
	h.await("all members", func(ctx context.Context, c *clientv3.Client) error { return h.allWell(ctx, c, 3) })
	h.expect("v", 4)
}

// Once etcd was told to start, nobody needs to do anything more.
func TestLearnerPromotesItself(t *testing.T) {
	t.Parallel()
	h := newHosts(t, 3)
	h.put("v")
	h.lose(2)
	out, err := h.replace(2, "REPLACE_TEST_KILL=8") // when etcd2.service was restarted
	if err == nil || !strings.Contains(out, "a learner.") {
		t.Fatal(err, out)
	}
	h.await("all members", func(ctx context.Context, c *clientv3.Client) error { return h.allWell(ctx, c, 3) })
	h.expect("v", 2)
}

// A host that was a proxy takes the place of a member whose host is gone.
func TestProxyTakesThePlace(t *testing.T) {
	t.Parallel()
	h := newHosts(t, 3)
	h.put("v")
	h.start(4, "ETCD_PROXY=on")
	h.await("the proxy", func(ctx context.Context, c *clientv3.Client) error { _, err := c.Get(ctx, "k"); return err }, 4)
	h.stop[1]()
	if out, err := h.replace(4); err == nil || !strings.Contains(out, "--member NAME") {
		t.Errorf("without saying whose place: %v %s", err, out)
	}
	dry, err := h.replace(4, "REPLACE_TEST_MEMBER=n1", "REPLACE_TEST_DRY=1")
	if err != nil || !strings.Contains(dry, "1. take member") || !strings.Contains(dry, "Nothing was done") {
		t.Error(err, dry)
	}
	if out, err := h.replace(4, "REPLACE_TEST_MEMBER=n2"); err == nil || !strings.Contains(out, "(n2, "+h.peer(2)+") runs") {
		t.Errorf("a member that runs: %v %s", err, out)
	}
	if out, err := h.replace(4, "REPLACE_TEST_MEMBER=n1"); err != nil {
		t.Fatal(err, out)
	}
	h.await("all members", func(ctx context.Context, c *clientv3.Client) error { return h.allWell(ctx, c, 3) })
	h.expect("v", 4)
	// The lost one comes back: its place is taken, and it says what to do.
	h.start(1)
	h.await("the lost member to see it", func(context.Context, *clientv3.Client) error {
		said, err := os.ReadFile(filepath.Join(h.dir, "n1.log"))
		if err == nil && !strings.Contains(string(said), "was taken out of its cluster, or replaced: the data in "+h.data(1)+" is of no use any more") {
			err = errors.New("it doesn't say so")
		}
		return err
	})
	h.stop[1]()
	// It stays one, though it is still told to be a proxy.
	h.stop[4]()
	h.start(4, "ETCD_PROXY=on")
	h.await("all members", func(ctx context.Context, c *clientv3.Client) error { return h.allWell(ctx, c, 3) })
}

// What must not be done is refused, and nothing is changed.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		size   int
		before func(*hosts)
		says   string
	}{
		{"there is data", 3, func(h *hosts) { h.stop[1]() }, "there is nothing to replace"},
		{"one of two", 2, func(h *hosts) { h.lose(1) }, "both would have to agree"},
		{"the only one", 1, func(h *hosts) { h.wipe(1) }, "no member of the cluster answers"},
		{"two of three", 3, func(h *hosts) { h.lose(1); h.stop[2]() }, "and 2 must be to change anything"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHosts(t, tc.size)
			tc.before(h)
			out, err := h.replace(1)
			if err == nil || !strings.Contains(out, tc.says) {
				t.Errorf("%v %s", err, out)
			}
		})
	}
}

// With users, only one who may is let do it, and says so.
func TestUsers(t *testing.T) {
	t.Parallel()
	h := newHosts(t, 3, "ETCD_BCRYPT_COST=4")
	h.await("users", func(ctx context.Context, c *clientv3.Client) error {
		if _, err := c.UserAdd(ctx, "root", "secret"); err != nil {
			return err
		}
		if _, err := c.UserGrantRole(ctx, "root", "root"); err != nil {
			return err
		}
		_, err := c.AuthEnable(ctx)
		return err
	})
	h.lose(3)
	if out, err := h.replace(3); err == nil || !strings.Contains(out, "--user root") {
		t.Errorf("nobody: %v %s", err, out)
	}
	if out, err := h.replace(3, "REPLACE_TEST_USER=root:secret"); err != nil || !strings.Contains(out, "full member, and well") {
		t.Errorf("root: %v %s", err, out)
	}
}
