package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever a fleet.conf says, it is read or refused in words that give no password
// away; what was read, written down again, is read the same.
func FuzzLoad(f *testing.F) {
	packaged, err := os.ReadFile("../../dist/packages/fleet.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{
		string(packaged), strings.ReplaceAll(string(packaged), "\n#", "\n"),
		"etcd_servers=[\"http://a:1\", 'https://[::1]']\nmetadata=\"a=b,c=d\"\n", "agent_ttl=1e300\n", "agent_ttl=2.5 # s\n", "token_limit=0x10\n",
		"etcd_username=u\netcd_password='p#q'\n", "[x]\na=b\n", "a\\\n=b\\\n", "\ufeffverbosity=1\n", "=\n", "public_ip=::1\nmetadata=\n", "verbosity='\"'\n",
	} {
		f.Add(text, "")
	}
	f.Add("", "FLEET_METADATA=a=b")
	const password = "xyzzy-plugh"
	f.Fuzz(func(t *testing.T, text, env string) {
		path := filepath.Join(t.TempDir(), "fleet.conf")
		load := func(text string, env ...string) (*Config, error) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return Load(path, env)
		}
		if _, err := load(text+"\netcd_password="+password+"\n", env); strings.Contains(fmt.Sprint(err), password) {
			t.Fatalf("the password is told: %v", err)
		}
		c, err := load(text, env)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, v := range c.Values() {
			if v.Key == "etcd_password" {
				v.Value = c.EtcdPassword
			}
			quote := `"`
			if strings.Contains(v.Value, quote) {
				quote = "'"
			}
			if strings.ContainsAny(v.Value, "\r\n") || strings.Contains(v.Value, quote) || strings.HasSuffix(v.Value, `\`) {
				return // from the environment; a file can't say that
			}
			fmt.Fprintf(&again, "%s=%s%s%s\n", v.Key, quote, v.Value, quote)
		}
		d, err := load(again.String())
		if err != nil {
			t.Fatalf("%q was read, and then, as %q, refused: %v", text, again.String(), err)
		}
		for i, v := range c.Values() {
			if w := d.Values()[i]; v.Value != w.Value {
				t.Errorf("%s: %q, then %q", v.Key, v.Value, w.Value)
			}
		}
		if diff := cmp.Diff(c.Metadata, d.Metadata); diff != "" && len(c.Metadata)+len(d.Metadata) > 0 {
			t.Errorf("metadata: %s", diff)
		}
	})
}
