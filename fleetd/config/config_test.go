package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoad(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  []string
		want func(c *Config)
	}{
		{name: "defaults"},
		{
			name: "bare, single and double quotes, comments",
			file: "# a comment\n; another\npublic_ip=10.0.0.1\nmetadata='region=eu,disk=ssd'\netcd_key_prefix=\"/x/\" # why\nagent_ttl = 60s ; note\n",
			want: func(c *Config) {
				c.PublicIP, c.EtcdKeyPrefix, c.AgentTTL = "10.0.0.1", "/x/", time.Minute
				c.Metadata = map[string]string{"region": "eu", "disk": "ssd"}
			},
		},
		{
			name: "lists as JSON and by commas",
			file: "etcd_servers=[\"http://a:2379\", \"https://b:2379\"]\n",
			want: func(c *Config) { c.EtcdServers = []string{"http://a:2379", "https://b:2379"} },
		},
		{
			name: "the environment wins",
			file: "etcd_servers=[\"http://a:2379\"]\nverbosity=1\n",
			env:  []string{"FLEET_ETCD_SERVERS=http://c:2379,http://d:2379", "OTHER=1", "FLEET_DISABLE_ENGINE=true"},
			want: func(c *Config) {
				c.EtcdServers, c.Verbosity, c.DisableEngine = []string{"http://c:2379", "http://d:2379"}, 1, true
			},
		},
		{
			name: "seconds without a unit, as 1.0 had them",
			file: "etcd_request_timeout=1.5\nengine_reconcile_interval=5\n",
			want: func(c *Config) {
				c.EtcdRequestTimeout, c.EngineReconcileInterval = 1500*time.Millisecond, 5*time.Second
			},
		},
		{
			name: "unknown and outlived keys warn with their line",
			file: "verify_units=true\n\nagent-ttl=5s\nfrobnicate=1\n",
			want: func(c *Config) {
				c.Warnings = []string{
					"FILE:1: verify_units has no effect any more and is ignored",
					"FILE:3: unknown key agent-ttl is ignored; did you mean agent_ttl?",
					"FILE:4: unknown key frobnicate is ignored",
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file)
			got, err := Load(path, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			want := Default()
			if tt.want != nil {
				tt.want(want)
			}
			for i, w := range want.Warnings {
				want.Warnings[i] = strings.Replace(w, "FILE", path, 1)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name, file string
		env        []string
		want       string
	}{
		{name: "no key=value", file: "\nhello\n", want: "FILE:2: no key=value line"},
		{name: "open quote", file: "metadata='a=b\n", want: "FILE:1: the quote ' is not closed"},
		{name: "bad number", file: "verbosity=loud\n", want: `FILE:1: verbosity: "loud" is not a whole number`},
		{name: "bad list", file: "etcd_servers=[http://a]\n", want: "FILE:1: etcd_servers: [http://a] is no JSON array"},
		{name: "bad URL", file: "etcd_servers=a:2379\n", want: `FILE:1: etcd_servers: "a:2379" is no URL`},
		{name: "bad metadata", file: "metadata=a=b=c\n", want: "FILE:1: metadata:"},
		{name: "bad variable", env: []string{"FLEET_AGENT_TTL=soon"}, want: `environment variable FLEET_AGENT_TTL: agent_ttl: "soon" is no duration`},
		{name: "a lease etcd would not keep", file: "agent_ttl=1s\n", want: "agent_ttl 1s: etcd keeps no lease shorter than 2s"},
		{name: "relative directory", file: "units_directory=run/units\n", want: "must be an absolute path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file)
			_, err := Load(path, tt.env)
			if err == nil || !strings.Contains(err.Error(), strings.Replace(tt.want, "FILE", path, 1)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for _, text := range []string{"etcd_password: s3cret\n", "etcd_password='s3cret\n", "etcd_password=\"\"s3cret\n"} {
		if _, err := Load(write(t, text), nil); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Load("/nowhere/fleet.conf", nil); err == nil {
		t.Error("a named file that is missing was accepted")
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
