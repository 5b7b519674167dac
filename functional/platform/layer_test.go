package platform

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestLayerFromCommands prepares an image that no host runs, boots several hosts
// of it at once beside one without, and reboots them all.
func TestLayerFromCommands(t *testing.T) {
	t.Parallel()
	p := ForTest(t, HostSpec{Name: "n1"})
	base := t.TempDir()
	writeTree(t, base, map[string]string{"etc/below": "below", "etc/gone": "gone"})
	const script = `
		test -e $ROOT/proc/1/status
		echo "$1 $(cat $ROOT/etc/below)" >$ROOT/etc/prepared
		rm $ROOT/etc/gone
		chroot $ROOT systemctl --quiet enable systemd-time-wait-sync.service
		sleep 1000 & # it must not keep the layer from being used
	`
	layer, err := p.Layer(t.Context(), "image", []string{base}, "sh", "-ec", script, "sh", "made over")
	if err != nil {
		t.Fatal(err)
	}
	layers := []string{base, layer}
	hosts, err := p.BootAll(t.Context(), HostSpec{Name: "a1", Layers: layers}, HostSpec{Name: "a2", Layers: layers}, HostSpec{Name: "a3", Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	boots := map[string]bool{}
	check := func() {
		t.Helper()
		for _, h := range hosts {
			if got := mustRun(t, h, "cat /etc/prepared; cat /etc/gone 2>/dev/null || echo none; systemctl is-enabled systemd-time-wait-sync; cat /etc/machine-id"); got != "made over below\nnone\nenabled\n"+h.MachineID() {
				t.Errorf("%s has %q", h.Name(), got)
			}
			boots[h.BootID()] = true
		}
	}
	check()
	if err := RebootAll(t.Context(), hosts...); err != nil {
		t.Fatal(err)
	}
	check()
	if len(boots) != 2*len(hosts) {
		t.Errorf("%d boot ids of %d hosts that booted twice", len(boots), len(hosts))
	}
	if got := mustRun(t, p.Host("n1"), "cat /etc/prepared 2>/dev/null || echo none"); got != "none" {
		t.Errorf("a host without the layer has %q", got)
	}
}

func TestLayerThatFails(t *testing.T) {
	t.Parallel()
	p := ForTest(t)
	_, err := p.Layer(t.Context(), "bad", nil, "sh", "-ec", "echo why >&2; exit 3")
	var failed *CommandError
	if !errors.As(err, &failed) || failed.Code != 3 || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Layer(ctx, "late", nil, "true"); err == nil {
		t.Error("a layer was made after its time")
	}
	if left := entries(t, filepath.Join(p.desc.Data, ".layers/*")); left != 0 {
		t.Errorf("%d layers are left", left)
	}
	made, err := p.Layer(t.Context(), "bad", nil, "true")
	if err != nil {
		t.Errorf("after a failure: %v", err)
	}
	if again, err := p.Layer(t.Context(), "bad", nil, "false"); err != nil || again != made {
		t.Errorf("the same layer again: %s, %v", again, err)
	}
}
