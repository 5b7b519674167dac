package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// keys are the known keys and how each reads its value.
var keys = map[string]func(c *Config, value string) error{
	"verbosity":                 func(c *Config, v string) error { return integer(&c.Verbosity, v) },
	"etcd_servers":              func(c *Config, v string) error { return endpoints(&c.EtcdServers, v) },
	"etcd_username":             func(c *Config, v string) error { c.EtcdUsername = v; return nil },
	"etcd_password":             func(c *Config, v string) error { c.EtcdPassword = v; return nil },
	"etcd_keyfile":              func(c *Config, v string) error { c.EtcdKeyFile = v; return nil },
	"etcd_certfile":             func(c *Config, v string) error { c.EtcdCertFile = v; return nil },
	"etcd_cafile":               func(c *Config, v string) error { c.EtcdCAFile = v; return nil },
	"etcd_key_prefix":           func(c *Config, v string) error { return prefix(&c.EtcdKeyPrefix, v) },
	"etcd_request_timeout":      func(c *Config, v string) error { return duration(&c.EtcdRequestTimeout, v) },
	"engine_reconcile_interval": func(c *Config, v string) error { return duration(&c.EngineReconcileInterval, v) },
	"public_ip":                 func(c *Config, v string) error { c.PublicIP = v; return nil },
	"metadata":                  (*Config).machineMetadata,
	"agent_ttl":                 func(c *Config, v string) error { return duration(&c.AgentTTL, v) },
	"units_directory":           func(c *Config, v string) error { return absolute(&c.UnitsDirectory, v) },
	"systemd_user":              func(c *Config, v string) error { return boolean(&c.SystemdUser, v) },
	"token_limit":               func(c *Config, v string) error { return integer(&c.TokenLimit, v) },
	"disable_engine":            func(c *Config, v string) error { return boolean(&c.DisableEngine, v) },
}

// ignored are fleet 1.0's keys that no longer mean anything.
var ignored = map[string]bool{"disable_watches": true, "enable_grpc": true, "verify_units": true, "authorized_keys_file": true}

func integer(to *int, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", v)
	}
	*to = n
	return nil
}

func boolean(to *bool, v string) error {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", v)
	}
	*to = b
	return nil
}

// duration reads "30s" and, as fleet 1.0 did for some keys, bare seconds such
// as "1.0".
func duration(to *time.Duration, v string) error {
	if seconds, err := strconv.ParseFloat(v, 64); err == nil {
		*to = time.Duration(seconds * float64(time.Second))
	} else if *to, err = time.ParseDuration(v); err != nil {
		return fmt.Errorf("%q is no duration: write 30s, or seconds such as 1.0", v)
	}
	if *to <= 0 {
		return fmt.Errorf("%q: must be more than zero", v)
	}
	return nil
}

func prefix(to *string, v string) error {
	if !strings.HasPrefix(v, "/") {
		return fmt.Errorf("%q must begin with a slash, as in /_coreos.com/fleet/", v)
	}
	*to = v
	return nil
}

func absolute(to *string, v string) error {
	if !filepath.IsAbs(v) {
		return fmt.Errorf("%q must be an absolute path", v)
	}
	*to = v
	return nil
}

func endpoints(to *[]string, v string) error {
	all, err := list(v)
	if err != nil {
		return err
	}
	for _, e := range all {
		u, err := url.Parse(e)
		if err != nil || u.Host+u.Path == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "unix" && u.Scheme != "unixs") {
			return fmt.Errorf("%q is no URL such as http://127.0.0.1:2379", e)
		}
	}
	*to = all
	return nil
}

// list reads a JSON array, as fleet.conf has it, or words split at commas, as
// the environment has it.
func list(v string) ([]string, error) {
	if strings.HasPrefix(v, "[") {
		var out []string
		if err := json.Unmarshal([]byte(v), &out); err != nil {
			return nil, fmt.Errorf("%s is no JSON array of strings such as [\"http://a:2379\", \"http://b:2379\"]", v)
		}
		return out, nil
	}
	var out []string
	for _, s := range strings.Split(v, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out, nil
}
