package member

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// lookup knows one address.
func lookup(name string) (string, error) {
	if name == "private_ipv4" {
		return "10.0.0.11", nil
	}
	return "", errors.New("no network")
}

// told is what etcd is told in the end: its command line and environment, but for
// the defaults.
func told(s Settings) string {
	args, environ := s.Command()
	for _, d := range defaults {
		if environ[variable(d.name)] == d.value {
			delete(environ, variable(d.name))
		}
	}
	parts := args[1:]
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		if environ[name] != "" {
			parts = append(parts, name+"="+environ[name])
		}
	}
	return strings.Join(parts, " ")
}

// etcd2Keys are the keys of coreos.etcd2, each with a value that etcd 2 took, and
// what etcd 3.7 is told of it.
var etcd2Keys = []struct{ name, value, told, warns string }{
	{"ADVERTISE_CLIENT_URLS", "http://$private_ipv4:2379,http://${private_ipv4}:4001", "ETCD_ADVERTISE_CLIENT_URLS=http://10.0.0.11:2379,http://10.0.0.11:4001", ""},
	{"CA_FILE", "/ca", "ETCD_CLIENT_CERT_AUTH=true ETCD_TRUSTED_CA_FILE=/ca", ""},
	{"CERT_FILE", "/cert", "ETCD_CERT_FILE=/cert", ""},
	{"CLIENT_CERT_AUTH", "true", "ETCD_CLIENT_CERT_AUTH=true", ""},
	{"CORS", "http://a:8080,https://b", "ETCD_CORS=http://a:8080,https://b:443", "ETCD_CORS: https://b is not allowed any more"},
	{"DATA_DIR", "/data", "ETCD_DATA_DIR=/data", ""},
	{"DEBUG", "true", "ETCD_LOG_LEVEL=debug", ""},
	{"DISCOVERY", "http://d/tok", "", ""},
	{"DISCOVERY_FALLBACK", "proxy", "", ""},
	{"DISCOVERY_PROXY", "http://p:3128", "", ""},
	{"DISCOVERY_SRV", "example.com", "ETCD_DISCOVERY_SRV=example.com", ""},
	{"ELECTION_TIMEOUT", "1200", "ETCD_ELECTION_TIMEOUT=1200", ""},
	{"ENABLE_PPROF", "true", "ETCD_ENABLE_PPROF=true", ""},
	{"FORCE_NEW_CLUSTER", "true", "ETCD_FORCE_NEW_CLUSTER=true", "ETCD_FORCE_NEW_CLUSTER takes all other members out"},
	{"HEARTBEAT_INTERVAL", "100", "ETCD_HEARTBEAT_INTERVAL=100", ""},
	{"INITIAL_ADVERTISE_PEER_URLS", "http://10.0.0.11:2380", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://10.0.0.11:2380", ""},
	{"INITIAL_CLUSTER", "a=http://10.0.0.11:2380", "ETCD_INITIAL_CLUSTER=a=http://10.0.0.11:2380", ""},
	{"INITIAL_CLUSTER_STATE", "existing", "ETCD_INITIAL_CLUSTER_STATE=existing", ""},
	{"INITIAL_CLUSTER_TOKEN", "t", "ETCD_INITIAL_CLUSTER_TOKEN=t", ""},
	{"KEY_FILE", "/key", "ETCD_KEY_FILE=/key", ""},
	{"LISTEN_CLIENT_URLS", "http://0.0.0.0:2379,http://0.0.0.0:4001", "ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379,http://0.0.0.0:4001", ""},
	{"LISTEN_PEER_URLS", "http://10.0.0.11:2380,http://10.0.0.11:7001", "ETCD_LISTEN_PEER_URLS=http://10.0.0.11:2380,http://10.0.0.11:7001", ""},
	{"LOG_PACKAGE_LEVELS", "etcdserver=WARNING", "", "ETCD_LOG_PACKAGE_LEVELS does nothing: etcd has one level"},
	{"MAX_SNAPSHOTS", "5", "ETCD_MAX_SNAPSHOTS=5", ""},
	{"MAX_WALS", "5", "ETCD_MAX_WALS=5", ""},
	{"NAME", "a", "ETCD_NAME=a", ""},
	{"PEER_CA_FILE", "/ca", "ETCD_PEER_CLIENT_CERT_AUTH=true ETCD_PEER_TRUSTED_CA_FILE=/ca", ""},
	{"PEER_CERT_FILE", "/cert", "ETCD_PEER_CERT_FILE=/cert", ""},
	{"PEER_CLIENT_CERT_AUTH", "true", "ETCD_PEER_CLIENT_CERT_AUTH=true", ""},
	{"PEER_KEY_FILE", "/key", "ETCD_PEER_KEY_FILE=/key", ""},
	{"PEER_TRUSTED_CA_FILE", "/ca", "ETCD_PEER_TRUSTED_CA_FILE=/ca", ""},
	{"PROXY", "off", "", ""},
	{"PROXY_DIAL_TIMEOUT", "1000", "", "ETCD_PROXY_DIAL_TIMEOUT does nothing"},
	{"PROXY_FAILURE_WAIT", "5000", "", "ETCD_PROXY_FAILURE_WAIT does nothing"},
	{"PROXY_READ_TIMEOUT", "0", "", "ETCD_PROXY_READ_TIMEOUT does nothing"},
	{"PROXY_REFRESH_INTERVAL", "30000", "", "ETCD_PROXY_REFRESH_INTERVAL does nothing"},
	{"PROXY_WRITE_TIMEOUT", "5000", "", "ETCD_PROXY_WRITE_TIMEOUT does nothing"},
	{"SNAPSHOT_COUNT", "10000", "ETCD_SNAPSHOT_COUNT=10000", ""},
	{"STRICT_RECONFIG_CHECK", "true", "ETCD_STRICT_RECONFIG_CHECK=true", ""},
	{"TRUSTED_CA_FILE", "/ca", "ETCD_TRUSTED_CA_FILE=/ca", "ETCD_TRUSTED_CA_FILE is set and ETCD_CLIENT_CERT_AUTH is not"},
	{"WAL_DIR", "/wal", "ETCD_WAL_DIR=/wal", ""},
}

func TestEtcd2Keys(t *testing.T) {
	for _, k := range etcd2Keys {
		t.Run(k.name, func(t *testing.T) {
			s, warnings, err := Parse(nil, []string{"ETCD_" + k.name + "=" + k.value}, lookup)
			if err != nil {
				t.Fatal(err)
			}
			if got := told(s); got != k.told {
				t.Errorf("etcd is told %q, and not %q", got, k.told)
			}
			if got := strings.Join(warnings, "\n"); len(warnings) > 1 || (got == "") != (k.warns == "") || !strings.Contains(got, k.warns) {
				t.Errorf("warnings: %q", got)
			}
			if _, environ := s.Command(); legacy[strings.ToLower(strings.ReplaceAll(k.name, "_", "-"))] != "" && environ["ETCD_"+k.name] != "" {
				t.Error("etcd still sees it")
			}
		})
	}
}

// What cloud-config renders for coreos.etcd2 is what is tested here, and what the
// guide explains.
func TestEtcd2KeysAreComplete(t *testing.T) {
	var tested []string
	for _, k := range etcd2Keys {
		tested = append(tested, k.name)
	}
	source, err := os.ReadFile(filepath.Join("..", "..", "cloudinit", "services.go"))
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile("(?s)service\\{\"etcd2\", \"ETCD_\", `(.*?)`").FindSubmatch(source)
	if keys == nil {
		t.Fatal("cloudinit/services.go has no keys of etcd2 where this test looks")
	}
	var rendered []string
	for _, key := range strings.Fields(string(keys[1])) {
		name, _, _ := strings.Cut(key, ":")
		rendered = append(rendered, strings.ToUpper(name))
	}
	slices.Sort(rendered)
	slices.Sort(tested)
	if !slices.Equal(rendered, tested) {
		t.Errorf("cloud-config renders %v, tested are %v", rendered, tested)
	}
}

func TestGuideHasWhatDiffers(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "etcd.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(guide), "\n## etcd 2's settings\n")
	for name := range legacy {
		if !regexp.MustCompile("`" + variable(name) + "[`=]").MatchString(table) {
			t.Errorf("docs/etcd.md does not say what %s does", variable(name))
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name    string
		args    []string
		environ []string
		told    string
	}{
		{"nothing", nil, nil, ""},
		{"others' variables", nil, []string{"PATH=/bin", "ETCDCTL_API=3"}, ""},
		{"an empty one counts for nothing", nil, []string{"ETCD_NAME=", "ETCD_DISCOVERY="}, ""},
		{"flags in every spelling", []string{"-name", "a", "--data-dir=/d", "--unsafe-no-fsync"}, nil, "--name=a --data-dir=/d --unsafe-no-fsync=true"},
		{"a flag wins over the environment", []string{"--name", "a"}, []string{"ETCD_NAME=b", "ETCD_DATA_DIR=/d"}, "--name=a ETCD_DATA_DIR=/d"},
		{"etcd 2's flags", []string{"--discovery", "http://d/t", "-proxy", "off", "-discovery-fallback=exit"}, nil, ""},
		{"etcd 3's discovery", []string{"--discovery-token=t", "--discovery-endpoints=http://d:2379"}, nil, "--discovery-token=t --discovery-endpoints=http://d:2379"},
		{"all origins", nil, []string{"ETCD_CORS=*"}, "ETCD_CORS=*"},
		{"debug wins over the level in the environment", nil, []string{"ETCD_DEBUG=true", "ETCD_LOG_LEVEL=warn"}, "ETCD_LOG_LEVEL=debug"},
		{"a level on the command line wins over debug", []string{"--log-level=error"}, []string{"ETCD_DEBUG=true"}, "--log-level=error"},
		{"no debug", nil, []string{"ETCD_DEBUG=false", "ETCD_LOG_LEVEL=warn"}, "ETCD_LOG_LEVEL=warn"},
		{"the old CA beside the same new one", nil, []string{"ETCD_CA_FILE=/a", "ETCD_TRUSTED_CA_FILE=/a"}, "ETCD_CLIENT_CERT_AUTH=true ETCD_TRUSTED_CA_FILE=/a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, warnings, err := Parse(tc.args, tc.environ, lookup)
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			if got := told(s); got != tc.told {
				t.Errorf("etcd is told %q, and not %q", got, tc.told)
			}
			// What a flag stands for must not be in etcd's environment as well: it would end.
			_, environ := s.Command()
			for _, a := range tc.args {
				name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
				if strings.HasPrefix(a, "-") && environ[variable(name)] != "" && name != "log-level" {
					t.Errorf("%s is in the environment, too", name)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		args    []string
		environ []string
		says    string
		as      any
	}{
		{"an unknown flag", []string{"--names=x"}, nil, "names", new(*Usage)},
		{"a flag without its value", []string{"--name"}, nil, "name", new(*Usage)},
		{"a word", []string{"start"}, nil, `"start" is neither`, new(*Usage)},
		{"a bad fallback", nil, []string{"ETCD_DISCOVERY_FALLBACK=wait"}, `ETCD_DISCOVERY_FALLBACK is "wait"`, new(*Refusal)},
		{"a bad proxy", []string{"--proxy=maybe"}, nil, `--proxy is "maybe"`, new(*Refusal)},
		{"a bad switch", nil, []string{"ETCD_DEBUG=very"}, `ETCD_DEBUG is "very"`, new(*Refusal)},
		{"a bad number", nil, []string{"ETCD_ELECTION_TIMEOUT=soon"}, `ETCD_ELECTION_TIMEOUT is "soon"`, new(*Refusal)},
		{"a URL without a port", nil, []string{"ETCD_LISTEN_PEER_URLS=http://10.0.0.11"}, "ETCD_LISTEN_PEER_URLS", new(*Refusal)},
		{"an address that isn't there", nil, []string{"ETCD_ADVERTISE_CLIENT_URLS=http://$public_ipv4:2379"}, "ETCD_ADVERTISE_CLIENT_URLS uses $public_ipv4, which cannot be determined: no network", new(*AddressError)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := Parse(tc.args, tc.environ, lookup)
			if err == nil || !strings.Contains(err.Error(), tc.says) || !errors.As(err, tc.as) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	for code, err := range map[int]error{1: errors.New("x"), ExitRefused: fmt.Errorf("etcd: %w", refuse("x"))} {
		if got := ExitCode(err); got != code {
			t.Errorf("%v: %d", err, got)
		}
	}
}

func TestWithMembers(t *testing.T) {
	s, _, err := Parse([]string{"--initial-cluster-token=mine", "--name=a"}, []string{"ETCD_DISCOVERY=http://d/t", "ETCD_INITIAL_CLUSTER_STATE=new"}, lookup)
	if err != nil {
		t.Fatal(err)
	}
	before := told(s)
	const initial = "a=http://10.0.0.11:2380"
	if got := told(s.WithMembers(initial, "http://d/t", false)); got != "--name=a ETCD_INITIAL_CLUSTER="+initial+" ETCD_INITIAL_CLUSTER_STATE=new ETCD_INITIAL_CLUSTER_TOKEN=http://d/t" {
		t.Error(got)
	}
	if got := told(s.WithMembers(initial, "", true)); got != "--name=a ETCD_INITIAL_CLUSTER="+initial+" ETCD_INITIAL_CLUSTER_STATE=existing" {
		t.Error(got)
	}
	if told(s) != before {
		t.Error("the settings themselves changed")
	}
}

func TestDefaults(t *testing.T) {
	for name, tt := range map[string]struct {
		args, environ []string
		want          string
	}{
		"nothing said": {nil, nil, "ETCD_AUTO_COMPACTION_MODE=periodic ETCD_AUTO_COMPACTION_RETENTION=10m " +
			"ETCD_BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES=512 ETCD_MAX_TXN_OPS=512 ETCD_QUOTA_BACKEND_BYTES=8589934592"},
		"all said": {[]string{"--auto-compaction-mode=revision", "--max-txn-ops=128"},
			[]string{"ETCD_QUOTA_BACKEND_BYTES=0", "ETCD_BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES=0", "ETCD_AUTO_COMPACTION_RETENTION=1000"},
			"--auto-compaction-mode=revision --max-txn-ops=128 ETCD_AUTO_COMPACTION_RETENTION=1000 ETCD_BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES=0 ETCD_QUOTA_BACKEND_BYTES=0"},
		"no compaction wanted": {[]string{"--auto-compaction-retention=0"}, []string{"ETCD_BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES=1", "ETCD_MAX_TXN_OPS=1", "ETCD_QUOTA_BACKEND_BYTES=1"},
			"--auto-compaction-retention=0 ETCD_BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES=1 ETCD_MAX_TXN_OPS=1 ETCD_QUOTA_BACKEND_BYTES=1"},
		"a file that says everything": {[]string{"--config-file=/f"}, nil, "--config-file=/f"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := Parse(tt.args, tt.environ, lookup)
			if err != nil {
				t.Fatal(err)
			}
			args, environ := s.Command()
			got := args[1:]
			for _, name := range slices.Sorted(maps.Keys(environ)) {
				if environ[name] != "" {
					got = append(got, name+"="+environ[name])
				}
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("etcd is told %q, want %q", text, tt.want)
			}
			if s.ConfigFile != "" {
				return
			}
			if _, err := s.values.etcd(); err != nil {
				t.Errorf("etcd refuses: %v", err)
			}
		})
	}
}
