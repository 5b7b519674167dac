package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var noSources = cmpopts.IgnoreUnexported(Config{})

// Each key of fleet.conf, with the default that it has always had, as deployed
// files and drop-ins spell it.
func TestCompatFleetd(t *testing.T) {
	list := func(s ...string) []string { return s }
	tests := []struct {
		key     string
		get     func(c *Config) any
		initial any
		spelled map[string]any // what stands behind "key=" in a file
		env     map[string]any // what the environment variable holds
	}{
		{
			"verbosity", func(c *Config) any { return c.Verbosity }, 0,
			map[string]any{"1": 1, " 2 ": 2, `"1"`: 1, "": 0, "0x1": 1}, map[string]any{"1": 1, "": 7},
		},
		{
			"etcd_servers", func(c *Config) any { return c.EtcdServers }, list("http://127.0.0.1:2379", "http://127.0.0.1:4001"),
			map[string]any{
				`["http://a:2379", "http://b:4001"]`:      list("http://a:2379", "http://b:4001"),
				`["http://a:2379","http://b:4001",]`:      list("http://a:2379", "http://b:4001"),
				`'["http://a:2379", "http://b:4001"]'`:    list("http://a:2379", "http://b:4001"),
				`"["http://a:2379", "http://b:4001"]"`:    list("http://a:2379", "http://b:4001"),
				`[http://a:2379, 'http://b:4001'] # old`:  list("http://a:2379", "http://b:4001"),
				`http://a:2379,http://b:4001`:             list("http://a:2379", "http://b:4001"),
				`"http://a:2379 , http://b:4001"`:         list("http://a:2379", "http://b:4001"),
				`["https://[::1]:2379/", "http://[::1]"]`: list("https://[::1]:2379", "http://[::1]:80"),
				`[http://[fd00::1]]`:                      list("http://[fd00::1]:80"),
				`https://etcd.example.com/`:               list("https://etcd.example.com:443"),
				``:                                        list("http://127.0.0.1:2379", "http://127.0.0.1:4001"),
			},
			map[string]any{
				`http://a:2379,http://b:4001`:          list("http://a:2379", "http://b:4001"),
				`["http://a:2379", "http://b:4001"]`:   list("http://a:2379", "http://b:4001"),
				`'["http://a:2379", "http://b:4001"]'`: list("http://a:2379", "http://b:4001"),
			},
		},
		{"etcd_username", func(c *Config) any { return c.EtcdUsername }, "", nil, nil}, // with its password below
		{"etcd_password", func(c *Config) any { return c.EtcdPassword }, "", nil, nil},
		{"etcd_keyfile", func(c *Config) any { return c.EtcdKeyFile }, "", nil, nil},
		{"etcd_certfile", func(c *Config) any { return c.EtcdCertFile }, "", nil, nil},
		{
			"etcd_cafile", func(c *Config) any { return c.EtcdCAFile }, "",
			map[string]any{"/etc/ssl/ca.pem": "/etc/ssl/ca.pem", "'/a b/ca.pem'": "/a b/ca.pem", `""`: ""}, map[string]any{"/x": "/x"},
		},
		{"api_certfile", func(c *Config) any { return c.APICertFile }, "", nil, nil}, // with its key below
		{"api_keyfile", func(c *Config) any { return c.APIKeyFile }, "", nil, nil},
		{"api_cafile", func(c *Config) any { return c.APICAFile }, "", nil, nil},
		{
			"etcd_key_prefix", func(c *Config) any { return c.EtcdKeyPrefix }, "/_coreos.com/fleet/",
			map[string]any{"/x": "/x", "x/y/": "/x/y/"}, map[string]any{"/x/": "/x/"},
		},
		{
			"etcd_request_timeout", func(c *Config) any { return c.EtcdRequestTimeout }, time.Second,
			map[string]any{"1.5": 1500 * time.Millisecond, "3": 3 * time.Second, "2s": 2 * time.Second}, map[string]any{"0.5": time.Second / 2},
		},
		{
			"engine_reconcile_interval", func(c *Config) any { return c.EngineReconcileInterval }, 2 * time.Second,
			map[string]any{"5": 5 * time.Second, "2.0": 2 * time.Second}, map[string]any{"5": 5 * time.Second},
		},
		{
			"public_ip", func(c *Config) any { return c.PublicIP }, "",
			map[string]any{"10.0.0.1": "10.0.0.1", `"fd00::1"`: "fd00::1", `""`: ""}, map[string]any{"10.0.0.1": "10.0.0.1"},
		},
		{
			"metadata", func(c *Config) any { return c.Metadata }, map[string]string(nil),
			map[string]any{
				"region=us-west,az=us-west-1":           map[string]string{"region": "us-west", "az": "us-west-1"},
				`"region=us-west, az=us-west-1"`:        map[string]string{"region": "us-west", "az": "us-west-1"},
				`' region = us-west , az=us-west-1 '`:   map[string]string{"region": "us-west", "az": "us-west-1"},
				`"region=a,region=b"`:                   map[string]string{"region": "b"},
				`"url=http://x/?a=b#c"`:                 map[string]string{"url": "http://x/?a=b#c"},
				"region=us-west,\\\n  az=us-west-1 ;ok": map[string]string{"region": "us-west", "az": "us-west-1"},
				`""`:                                    map[string]string(nil),
			},
			map[string]any{"region=us-west": map[string]string{"region": "us-west"}},
		},
		{
			"agent_ttl", func(c *Config) any { return c.AgentTTL }, 30 * time.Second,
			map[string]any{`"60s"`: time.Minute, "1m30s": 90 * time.Second, "45": 45 * time.Second, "": 30 * time.Second}, map[string]any{"10s": 10 * time.Second},
		},
		{
			"units_directory", func(c *Config) any { return c.UnitsDirectory }, "/run/fleet/units/",
			map[string]any{"/x": "/x"}, map[string]any{"/y/": "/y/"},
		},
		{
			"systemd_user", func(c *Config) any { return c.SystemdUser }, false,
			map[string]any{"true": true, "1": true, "T": true, "false": false}, map[string]any{"TRUE": true},
		},
		{
			"token_limit", func(c *Config) any { return c.TokenLimit }, 100,
			map[string]any{"50": 50}, map[string]any{"7": 7},
		},
		{
			"disable_engine", func(c *Config) any { return c.DisableEngine }, false,
			map[string]any{"true": true, "'false'": false}, map[string]any{"1": true},
		},
	}
	var covered []string
	for _, tt := range tests {
		covered = append(covered, tt.key)
		t.Run(tt.key, func(t *testing.T) {
			check := func(how string, want any, file string, env ...string) {
				t.Helper()
				c, err := Load(write(t, file), env)
				if err != nil {
					t.Errorf("%s: %v", how, err)
				} else if d := cmp.Diff(want, tt.get(c)); d != "" || len(c.Warnings) > 0 && !strings.Contains(c.Warnings[0], "no effect") {
					t.Errorf("%s: %s%v", how, d, c.Warnings)
				}
			}
			check("default", tt.initial, "")
			for value, want := range tt.spelled {
				check(value, want, tt.key+"="+value+"\n")
				check(value, want, "\t"+strings.ToUpper(tt.key)+" \t= "+value+"\r\n")
			}
			for value, want := range tt.env {
				name := "FLEET_" + strings.ToUpper(tt.key)
				if value == "" {
					check("an empty variable", want, tt.key+"=7\n", name+"=")
				} else {
					check(name+"="+value, want, "", "OTHER=x", name+"="+value)
				}
			}
		})
	}
	for _, k := range keys() {
		if !slices.Contains(covered, k.name) {
			t.Errorf("%s has no row here", k.name)
		}
	}
	for key := range ignored {
		t.Run(key, func(t *testing.T) {
			path := write(t, key+"=true\n")
			c, err := Load(path, nil)
			if want := path + ":1: " + key + " has no effect any more and is ignored"; err != nil || !slices.Equal(c.Warnings, []string{want}) {
				t.Errorf("%v, %q", err, c.Warnings)
			}
		})
	}
	t.Run("etcd_username and the others that go in pairs", func(t *testing.T) {
		path := write(t, "etcd_username=root\netcd_password='a#b'\netcd_certfile=/c.pem\netcd_keyfile=/k.pem\netcd_servers=https://a:2379\n")
		c, err := Load(path, []string{"FLEET_ETCD_KEYFILE=/other.pem"})
		if err != nil || c.EtcdUsername != "root" || c.EtcdPassword != "a#b" || c.EtcdCertFile != "/c.pem" || c.EtcdKeyFile != "/other.pem" {
			t.Errorf("%v, %+v", err, c)
		}
		if s := c.Source("etcd_keyfile") + " " + c.Source("etcd_username") + " " + c.Source("agent_ttl"); s != "environment variable FLEET_ETCD_KEYFILE "+path+":1 default" {
			t.Error(s)
		}
		env := []string{"FLEET_ETCD_USERNAME=u", "FLEET_ETCD_PASSWORD=p w", "FLEET_ETCD_CERTFILE=/c", "FLEET_ETCD_KEYFILE=/k", "FLEET_ETCD_SERVERS=https://a:1"}
		e, err := Load(write(t, ""), env)
		if err != nil || e.EtcdUsername != "u" || e.EtcdPassword != "p w" || e.EtcdCertFile != "/c" || e.EtcdKeyFile != "/k" {
			t.Errorf("%v, %+v", err, e)
		}
		for _, v := range c.Values() {
			if strings.Contains(v.Value, "a#b") {
				t.Errorf("%s shows the password", v.Key)
			}
		}
	})
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name, file string
		env        []string
		want       []string
		check      func(c *Config) bool
	}{
		{name: "unknown key", file: "\nagent-ttl=5s\nfrobnicate=1\n", want: []string{
			"FILE:2: unknown key agent-ttl is ignored; did you mean agent_ttl?", "FILE:3: unknown key frobnicate is ignored",
		}},
		{name: "unknown variable", env: []string{"FLEET_METADATE=a=b"}, want: []string{
			"environment variable FLEET_METADATE: unknown key metadate is ignored; did you mean metadata?",
		}},
		{
			name: "section", file: "verbosity=1\n[fleet]\nverbosity=2\n", want: []string{
				"FILE:3: verbosity stands in section [fleet] and is ignored: fleet.conf has no sections; move it above the first one",
			},
			check: func(c *Config) bool { return c.Verbosity == 1 },
		},
		{
			name: "a comment that may be meant as a part", file: "etcd_password=a#b\netcd_username=c # d\n", want: []string{
				"FILE:1: etcd_password ends before the # or ; in it, which begins a comment: put quotes around the value if that belongs to it",
			},
			check: func(c *Config) bool { return c.EtcdPassword == "a" && c.EtcdUsername == "c" },
		},
		{name: "the last line counts", file: "verbosity=1\nverbosity=2\n", check: func(c *Config) bool { return c.Verbosity == 2 }},
		{name: "TLS that is not used", file: "etcd_cafile=/ca\n", want: []string{
			"etcd_cafile, etcd_certfile and etcd_keyfile have no effect: none of etcd_servers begins with https://",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file)
			c, err := Load(path, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range tt.want {
				tt.want[i] = strings.Replace(w, "FILE", path, 1)
			}
			if d := cmp.Diff(tt.want, c.Warnings); d != "" {
				t.Error(d)
			}
			if tt.check != nil && !tt.check(c) {
				t.Errorf("%+v", c)
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
		{name: "no key=value", file: "\nhello\n", want: "FILE:2: this is no key=value line"},
		{name: "no key", file: "=x\n", want: "FILE:1: this is no key=value line"},
		{name: "open quote", file: "metadata='a=b\n", want: "FILE:1: metadata: the quote ' is not closed"},
		{name: "number", file: "verbosity=loud\n", want: `FILE:1: verbosity: "loud" is not a whole number`},
		{name: "page size", file: "token_limit=0\n", want: "FILE:1: token_limit: 0: must be 1 or more"},
		{name: "boolean", file: "disable_engine=yes\n", want: `FILE:1: disable_engine: "yes" is neither true nor false`},
		{name: "no URL", file: "etcd_servers=a:2379\n", want: `FILE:1: etcd_servers: "a:2379" is no URL`},
		{name: "no server", file: "etcd_servers=[]\n", want: "FILE:1: etcd_servers: it names no server"},
		{name: "metadata", file: "metadata=region\n", want: "FILE:1: metadata: "},
		{name: "address", file: "public_ip=$public_ipv4\n", want: "FILE:1: public_ip: "},
		{name: "variable", env: []string{"FLEET_AGENT_TTL=soon"}, want: `environment variable FLEET_AGENT_TTL: agent_ttl: "soon" is no duration`},
		{name: "a lease etcd would not keep", file: "\nagent_ttl=1s\n", want: "FILE:2: agent_ttl: 1s is too short"},
		{name: "endless", file: "agent_ttl=inf\n", want: `FILE:1: agent_ttl: "inf": more than a year`},
		{name: "zero", file: "etcd_request_timeout=0\n", want: `FILE:1: etcd_request_timeout: "0": must be more than zero`},
		{name: "relative directory", file: "units_directory=run/units\n", want: "must be an absolute path"},
		{name: "certificate without key", file: "etcd_certfile=/c\n", want: "FILE:1: etcd_certfile: it is of no use without etcd_keyfile"},
		{name: "API certificate without key", file: "api_certfile=/c\n", want: "FILE:1: api_certfile: it is of no use without api_keyfile"},
		{name: "API key without certificate", file: "api_keyfile=/c\n", want: "FILE:1: api_keyfile: it is of no use without api_certfile"},
		{name: "clients' CA without TLS", file: "api_cafile=/c\n", want: "FILE:1: api_cafile: clients are asked for a certificate only over TLS"},
		{name: "relative certificate", file: "api_certfile=c.pem\n", want: "FILE:1: api_certfile: \"c.pem\" must be an absolute path"},
		{name: "user without password", env: []string{"FLEET_ETCD_USERNAME=u"}, want: "environment variable FLEET_ETCD_USERNAME: etcd_username: it is of no use without etcd_password"},
		{name: "overruled, but wrong", file: "verbosity=loud\n", env: []string{"FLEET_VERBOSITY=1"}, want: "FILE:1: verbosity"},
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
	for _, text := range []string{
		"etcd_password: s3cret\n", "etcd_password='s3cret\n", "etcd_password=\"\"s3cret\n", "etcd_password=s3cret\n",
		"etcd_servers=http://u:s3cret@a:2379\n", "etcd_servers=u:s3cret@a:2379\n",
	} {
		if _, err := Load(write(t, text), nil); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Load("/nowhere/fleet.conf", nil); err == nil {
		t.Error("a named file that is missing was accepted")
	}
	if _, err := Load(t.TempDir(), nil); err == nil {
		t.Error("a directory was accepted")
	}
}

func TestReload(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		c, err := Load(write(t, text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	running := load("metadata=a=1\nagent_ttl=10s\netcd_username=u\netcd_password=old\n")
	newer := load("metadata=a=2\nagent_ttl=20s\ntoken_limit=7\netcd_username=u\netcd_password=new\n")
	pending := []Change{
		{Key: "etcd_password", Old: "(hidden)", New: "(hidden)"},
		{Key: "agent_ttl", Old: "10s", New: "20s"},
	}
	want := []Change{
		pending[0],
		{Key: "metadata", Old: "a=1", New: "a=2", Live: true},
		pending[1],
		{Key: "token_limit", Old: "100", New: "7", Live: true},
	}
	if d := cmp.Diff(want, running.Reload(newer)); d != "" {
		t.Error(d)
	}
	if running.Metadata["a"] != "2" || running.TokenLimit != 7 || running.AgentTTL != 10*time.Second || running.EtcdPassword != "old" {
		t.Errorf("%+v", running)
	}
	if running.Source("token_limit") != newer.Source("token_limit") {
		t.Errorf("token_limit is said to come from %s", running.Source("token_limit"))
	}
	if d := cmp.Diff(pending, running.Reload(newer)); d != "" {
		t.Errorf("again: %s", d)
	}
}

func TestNothingSaid(t *testing.T) {
	c, err := Load(write(t, "# a comment\n; another\n\n \t\n"), nil)
	if d := cmp.Diff(Default(), c, noSources); err != nil || d != "" {
		t.Error(err, d)
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

// The fleet.conf of the packages sets nothing as it comes; each line of it that
// is uncommented is right.
func TestPackagedFile(t *testing.T) {
	const packaged = "../../dist/packages/fleet.conf"
	c, err := Load(packaged, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), c, noSources); d != "" {
		t.Errorf("default (-) and packaged (+):\n%s", d)
	}
	text, err := os.ReadFile(packaged)
	if err != nil {
		t.Fatal(err)
	}
	uncommented := strings.ReplaceAll("\n"+string(text), "\n#", "\n")
	var lines []string
	for line := range strings.Lines(uncommented) {
		if key, _, _ := strings.Cut(line, "="); !strings.Contains(key, " ") {
			lines = append(lines, line)
		}
	}
	file := filepath.Join(t.TempDir(), "fleet.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 || c.Metadata["disk"] != "ssd" || c.PublicIP != "10.0.0.11" {
		t.Errorf("uncommented: %v, %+v", c.Warnings, c)
	}
}
