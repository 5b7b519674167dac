package functional

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// blocks gives the shell blocks of a section of a document, as they stand there.
func blocks(t *testing.T, document, section string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "docs", document))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %q", document, section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var out []string
	for {
		_, after, found := strings.Cut(rest, "\n```sh\n")
		if !found {
			return out
		}
		var block string
		block, rest, _ = strings.Cut(after, "\n```\n")
		out = append(out, block)
	}
}

// What docs/getting-started.md has people type makes a cluster of three bare
// hosts, and a unit that survives the loss of one.
func TestGettingStarted(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	p, err := platform.New(ctx, platform.Options{Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	deb, err := cluster.Package()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	byHand := map[string]platform.File{"/root/fleet/" + filepath.Base(deb): {Content: string(content)}}
	var specs []platform.HostSpec
	for i := range 3 {
		specs = append(specs, platform.HostSpec{Name: fmt.Sprintf("n%d", i+1), Files: byHand})
	}
	hosts, err := p.BootAll(ctx, specs...)
	if err != nil {
		t.Fatal(err)
	}
	var members []string
	for _, h := range hosts {
		members = append(members, fmt.Sprintf("%s=http://%s:2380", h.Name(), h.IP()))
	}
	say := func(h *platform.Host, script string) string {
		t.Helper()
		vars := fmt.Sprintf("cd /root/fleet; NAME=%s IP=%s HOSTS=%s\n", h.Name(), h.IP(), strings.Join(members, ","))
		out, err := h.Run(ctx, "bash", "-ec", vars+script)
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return out
	}
	byHandBlocks := blocks(t, "getting-started.md", "Three hosts by hand")
	last := len(byHandBlocks) - 1
	for _, block := range byHandBlocks[:last] {
		for _, h := range hosts {
			say(h, block)
		}
	}
	c := &cluster.Cluster{Hosts: hosts}
	if err := c.AwaitMachines(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if out := say(hosts[0], byHandBlocks[last]); strings.Count(out, "region=eu") != 3 {
		t.Errorf("list-machines:\n%s", out)
	}

	first := blocks(t, "getting-started.md", "A first unit")
	if len(first) != 3 {
		t.Fatalf("the section has %d blocks, want: start, look, change", len(first))
	}
	if out := say(hosts[0], first[0]); strings.Count(out, "active	running") != 2 {
		t.Errorf("list-units:\n%s", out)
	}
	one, two := c.HostOf(ctx, "web@1.service"), c.HostOf(ctx, "web@2.service")
	if one == nil || two == nil || one == two {
		t.Fatalf("web@1 is on %v, web@2 on %v", one, two)
	}
	if out := say(one, first[1]); !strings.Contains(out, "web 1 is here") { // where no SSH is needed
		t.Errorf("journal:\n%s", out)
	}
	if out := say(hosts[0], first[2]); strings.Count(out, "Destroyed") != 2 {
		t.Errorf("destroy:\n%s", out)
	}
}
