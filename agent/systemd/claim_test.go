package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/unit"
)

func TestForeignUnits(t *testing.T) {
	c, ctx := dial(t)
	for name, want := range map[unit.Name]string{
		"ssh.service":        theHost.dir + "/host/ssh.service",
		"getty@tty1.service": theHost.dir + "/host/getty@.service",
		"masked.service":     "is masked on this host (" + theHost.dir + "/host/masked.service): unmask it",
		"init.scope":         "made by systemd itself",
	} {
		refused, err := c.Claim(ctx, []File{{name, []byte(sleeper)}})
		if err != nil {
			t.Fatal(err)
		}
		var foreign *ForeignError
		if err := refused[name]; !errors.As(err, &foreign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
	}
	// Of what runs from a file that is gone, the process is somebody's; of what
	// failed, only the name is left.
	for name, text := range map[unit.Name]string{"orphan.service": sleeper, "ruin.service": "[Service]\nExecStart=/bin/false\nType=oneshot\n"} {
		put(ctx, t, c, File{name, []byte(text)})
		start(ctx, t, c, name)
		if err := os.Remove(filepath.Join(theHost.unitDir(), string(name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	refused, err := c.Claim(ctx, []File{{"orphan.service", []byte(sleeper)}, {"ruin.service", []byte(sleeper)}})
	if err != nil || refused["ruin.service"] != nil || !strings.Contains(fmt.Sprint(refused["orphan.service"]), "systemctl stop orphan.service") {
		t.Error(err, refused)
	}
	// In our directory: the same text is ours, another is somebody's.
	put(ctx, t, c, File{"lost.service", []byte(sleeper)})
	start(ctx, t, c, "lost.service")
	refused, err = c.Claim(ctx, []File{{"lost.service", []byte(sleeper)}})
	if err != nil || len(refused) > 0 {
		t.Error(err, refused)
	}
	refused, err = c.Claim(ctx, []File{{"lost.service", []byte("[Service]\nExecStart=/bin/true\n")}})
	if err != nil || refused["lost.service"] == nil {
		t.Error(err, refused)
	}
}

// systemd makes up any slice that it is asked about: one that nothing uses is
// free to be taken.
func TestSlices(t *testing.T) {
	c, ctx := dial(t)
	const text = "[Unit]\nDescription=ours\n[Slice]\nTasksMax=100\n"
	put(ctx, t, c, File{"ours.slice", []byte(text)})
	var description string
	if r := start(ctx, t, c, "ours.slice"); r != JobDone {
		t.Errorf("job: %s", r)
	} else if err := c.property(ctx, "ours.slice", unitIface, "Description", &description); err != nil || description != "ours" {
		t.Errorf("systemd has %q, %v", description, err)
	}
	put(ctx, t, c, File{"user.service", []byte(sleeper + "Slice=used.slice\n")})
	start(ctx, t, c, "user.service")
	refused, err := c.Claim(ctx, []File{{"used.slice", []byte(text)}})
	if err != nil || refused["used.slice"] == nil {
		t.Error(err, refused)
	}
}
