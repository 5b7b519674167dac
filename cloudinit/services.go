package cloudinit

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// service is a section of coreos: that becomes environment variables. keys are
// in the order in which they are rendered; one that isn't text has its type
// after a colon.
type service struct{ section, prefix, keys string }

var (
	etcd = service{"etcd", "ETCD_", `addr advertise_client_urls bind_addr ca_file cert_file cluster_active_size:int
		cluster_remove_delay:float cluster_sync_interval:float cors data_dir discovery discovery_fallback discovery_srv
		discovery_proxy election_timeout:int force_new_cluster:bool graphite_host heartbeat_interval:int
		http_read_timeout:float http_write_timeout:float initial_advertise_peer_urls initial_cluster initial_cluster_state
		initial_cluster_token key_file listen_client_urls listen_peer_urls max_result_buffer:int max_retry_attempts:int
		max_snapshots:int max_wals:int name peer_addr peer_bind_addr peer_ca_file peer_cert_file peer_election_timeout:int
		peer_heartbeat_interval:int peer_key_file peers peers_file proxy retry_interval:float snapshot:bool
		snapshot_count:int trace verbose:bool very_verbose:bool very_very_verbose:bool`}
	etcd2 = service{"etcd2", "ETCD_", `advertise_client_urls ca_file cert_file client_cert_auth:bool cors data_dir debug:bool
		discovery discovery_fallback discovery_srv discovery_proxy election_timeout:int enable_pprof:bool
		force_new_cluster:bool heartbeat_interval:int initial_advertise_peer_urls initial_cluster initial_cluster_state
		initial_cluster_token key_file listen_client_urls listen_peer_urls log_package_levels max_snapshots:int
		max_wals:int name peer_ca_file peer_cert_file peer_key_file peer_client_cert_auth:bool peer_trusted_ca_file proxy
		proxy_dial_timeout:int proxy_failure_wait:int proxy_read_timeout:int proxy_refresh_interval:int
		proxy_write_timeout:int snapshot_count:int strict_reconfig_check:bool trusted_ca_file wal_dir`}
	fleet = service{"fleet", "FLEET_", `agent_ttl authorized_keys_file disable_engine:bool engine_reconcile_interval:float
		etcd_cafile etcd_certfile etcd_keyfile etcd_key_prefix etcd_request_timeout:float etcd_servers etcd_username
		etcd_password metadata public_ip token_limit:int verbosity:int verify_units:bool`}
	flannel = service{"flannel", "FLANNELD_", `etcd_endpoints etcd_cafile etcd_certfile etcd_keyfile etcd_prefix
		etcd_username etcd_password ip_masq subnet_file interface public_ip`}
	locksmith = service{"locksmith", "LOCKSMITHD_", `endpoint etcd_cafile etcd_certfile etcd_keyfile etcd_username
		etcd_password group window_start window_length`}
)

// sinceEtcd2 are etcd 0.4's keys whose purpose another key of coreos.etcd2 serves,
// for whoever makes the one section the other.
var sinceEtcd2 = map[string]string{
	"addr":                    "advertise_client_urls and listen_client_urls: http://ADDRESS:2379",
	"bind_addr":               "listen_client_urls: http://ADDRESS:2379",
	"cluster_active_size":     "the discovery URL's size",
	"peer_addr":               "initial_advertise_peer_urls and listen_peer_urls: http://ADDRESS:2380",
	"peer_bind_addr":          "listen_peer_urls: http://ADDRESS:2380",
	"peer_election_timeout":   "election_timeout",
	"peer_heartbeat_interval": "heartbeat_interval",
	"peers":                   "initial_cluster: NAME=http://ADDRESS:2380,...",
	"verbose":                 "debug",
	"very_verbose":            "debug",
	"very_very_verbose":       "debug",
}

// odd are the variables that aren't simply prefix and key.
var odd = map[string]string{
	"etcd.snapshot_count":     "ETCD_SNAPSHOTCOUNT",
	"flannel.interface":       "FLANNELD_IFACE",
	"locksmith.window_start":  "REBOOT_WINDOW_START",
	"locksmith.window_length": "REBOOT_WINDOW_LENGTH",
}

// environment is what a section says, in order.
type environment struct {
	given bool // the section is there, if empty
	vars  []assignment
}

func (s service) read(r *reader, env *environment) take {
	return func(n *yaml.Node, path string) {
		env.given = true
		if s.section == "etcd" {
			r.problems.Add(n.Line, Warning, "%s is for etcd 0.4, whose etcd.service fleet doesn't bring: write coreos.etcd2", path)
		}
		values, keys := map[string]string{}, map[string]take{}
		for _, field := range strings.Fields(s.keys) {
			key, kind, _ := strings.Cut(field, ":")
			keys[key] = r.text(func(v string, n *yaml.Node, path string) { values[key] = r.variable(v, kind, n, path) })
		}
		for key, check := range s.checks(r) {
			keys[key] = r.text(func(v string, n *yaml.Node, path string) {
				check(v, n, path)
				values[key] = r.variable(v, "", n, path)
			})
		}
		r.mapping(n, path, keys)
		for _, field := range strings.Fields(s.keys) {
			key, _, _ := strings.Cut(field, ":")
			name := odd[s.section+"."+key]
			if name == "" {
				name = s.prefix + strings.ToUpper(key)
			}
			if values[key] != "" {
				env.vars = append(env.vars, assignment{name, values[key], strings.HasSuffix(key, "password")})
			}
		}
	}
}

// checks are for the keys whose value has a form of its own.
func (s service) checks(r *reader) map[string]func(v string, n *yaml.Node, path string) {
	oneOf := func(values ...string) func(string, *yaml.Node, string) {
		return func(_ string, n *yaml.Node, path string) {
			var ignored string
			r.oneOf(&ignored, values...)(n, path)
		}
	}
	obsolete := func(instead string) func(string, *yaml.Node, string) {
		return func(_ string, n *yaml.Node, path string) {
			r.problems.Add(n.Line, Warning, "%s is obsolete: write %s", path, instead)
		}
	}
	switch s.section {
	case "etcd":
		return map[string]func(string, *yaml.Node, string){"discovery": r.discovery}
	case "etcd2":
		return map[string]func(string, *yaml.Node, string){
			"discovery": r.discovery, "proxy": oneOf("on", "off", "readonly"),
			"advertise_client_urls": r.etcdURLs, "initial_advertise_peer_urls": r.etcdURLs,
			"listen_client_urls": r.etcdURLs, "listen_peer_urls": r.etcdURLs,
			"discovery_fallback": oneOf("exit", "proxy"), "initial_cluster_state": oneOf("new", "existing"),
			"ca_file":      obsolete("trusted_ca_file and client_cert_auth"),
			"peer_ca_file": obsolete("peer_trusted_ca_file and peer_client_cert_auth"),
		}
	case "locksmith":
		return map[string]func(string, *yaml.Node, string){
			"window_start": func(v string, n *yaml.Node, path string) {
				if v != "" && !windowStart.MatchString(v) {
					r.problems.Add(n.Line, Error, "%s: %.80q is no time such as 03:00 or Thu 23:30", path, v)
				}
			},
			"window_length": func(v string, n *yaml.Node, path string) {
				if _, err := time.ParseDuration(v); v != "" && err != nil {
					r.problems.Add(n.Line, Error, "%s: %.80q is no duration such as 1h30m", path, v)
				}
			},
		}
	}
	return nil
}

var windowStart = regexp.MustCompile(`^(?i:(sun|mon|tue|wed|thu|fri|sat) )?0*([0-9]|1[0-9]|2[0-3]):0*([0-9]|[1-5][0-9])$`)

// variable gives a value as it is rendered; "" for a type's zero value, which
// never is.
func (r *reader) variable(v, kind string, n *yaml.Node, path string) string {
	if v == "" {
		return ""
	}
	switch kind {
	case "bool":
		b, ok := truth(v)
		if !ok {
			r.wrongType(n, path, "true or false")
		}
		if b {
			return "true"
		}
		return ""
	case "int":
		i, err := strconv.ParseInt(v, 0, 64)
		if err != nil {
			r.wrongType(n, path, "a whole number")
		}
		if i == 0 {
			return ""
		}
		return strconv.FormatInt(i, 10)
	case "float":
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			r.wrongType(n, path, "a number")
		}
		if f == 0 {
			return ""
		}
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	if strings.ContainsAny(v, "\n\r\x00") {
		r.problems.Add(n.Line, Error, "%s: a variable is one line", path)
	}
	return v
}
