package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sharedConfig = `<?xml version="1.0"?>
<SharedConfig>
  <Incarnation number="1" instance="web_1" guid="{x}"/>
  <Instances>
    <Instance id="web_0" address="10.0.0.3"/>
    <Instance id="web_1" address="10.0.0.4">
      <InputEndpoints><Endpoint name="SSH" loadBalancedPublicAddress="192.0.2.4:22"/></InputEndpoints>
    </Instance>
  </Instances>
</SharedConfig>`

func TestWaagent(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		data  string
		want  Metadata
		err   string
	}{
		{"all", map[string]string{"CustomData": "#cloud-config\n", "SharedConfig.xml": sharedConfig}, "#cloud-config\n",
			Metadata{Addresses: map[string]string{"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4"}}, ""},
		{"as it came", map[string]string{"CustomData": "I2Nsb3VkLWNvbmZpZwo=\n"}, "#cloud-config\n", Metadata{}, ""},
		{"what is neither", map[string]string{"CustomData": "what?"}, "what?", Metadata{}, ""},
		{"nothing", nil, "", Metadata{}, ""},
		{"bad metadata", map[string]string{"SharedConfig.xml": "<"}, "", Metadata{}, "SharedConfig.xml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, c.files)
			h := fast()
			h.onWait = func() { // it is there once the agent is done
				if err := os.WriteFile(filepath.Join(dir, "provisioned"), nil, 0o600); err != nil {
					t.Error(err)
				}
			}
			found, err := h.First(context.Background(), time.Hour, h.Waagent(dir))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v; want %s", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, found.Metadata); err != nil || diff != "" || string(found.UserData) != c.data || !found.Shared {
				t.Errorf("%q, %v (-want +got):\n%s", found.UserData, err, diff)
			}
		})
	}
}
