package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// key is one key of fleet.conf.
type key struct {
	name   string
	live   bool // a reload applies it; else it needs a restart
	secret bool // never shown
	parse  func(c *Config, value string) error
	show   func(c *Config) string
	copy   func(to, from *Config)
}

// ignored are fleet 1.0's keys that no longer mean anything.
var ignored = map[string]bool{"disable_watches": true, "enable_grpc": true, "verify_units": true, "authorized_keys_file": true}

// keys are the known keys.
func keys() []key {
	const live = true
	return []key{
		of("verbosity", live, func(c *Config) *int { return &c.Verbosity }, integer, strconv.Itoa),
		of("etcd_servers", !live, func(c *Config) *[]string { return &c.EtcdServers }, endpoints, commas),
		of("etcd_username", !live, func(c *Config) *string { return &c.EtcdUsername }, text, plain),
		secret(of("etcd_password", !live, func(c *Config) *string { return &c.EtcdPassword }, text, plain)),
		of("etcd_keyfile", !live, func(c *Config) *string { return &c.EtcdKeyFile }, text, plain),
		of("etcd_certfile", !live, func(c *Config) *string { return &c.EtcdCertFile }, text, plain),
		of("etcd_cafile", !live, func(c *Config) *string { return &c.EtcdCAFile }, text, plain),
		of("etcd_key_prefix", !live, func(c *Config) *string { return &c.EtcdKeyPrefix }, prefix, plain),
		of("etcd_request_timeout", live, func(c *Config) *time.Duration { return &c.EtcdRequestTimeout }, duration, time.Duration.String),
		of("engine_reconcile_interval", live, func(c *Config) *time.Duration { return &c.EngineReconcileInterval }, duration, time.Duration.String),
		of("public_ip", live, func(c *Config) *string { return &c.PublicIP }, address, plain),
		of("metadata", live, func(c *Config) *map[string]string { return &c.Metadata }, metadata, pairs),
		of("agent_ttl", !live, func(c *Config) *time.Duration { return &c.AgentTTL }, duration, time.Duration.String),
		of("units_directory", !live, func(c *Config) *string { return &c.UnitsDirectory }, absolute, plain),
		of("systemd_user", !live, func(c *Config) *bool { return &c.SystemdUser }, boolean, strconv.FormatBool),
		of("token_limit", live, func(c *Config) *int { return &c.TokenLimit }, positive, strconv.Itoa),
		of("disable_engine", !live, func(c *Config) *bool { return &c.DisableEngine }, boolean, strconv.FormatBool),
		of("api_certfile", live, func(c *Config) *string { return &c.APICertFile }, absolute, plain),
		of("api_keyfile", live, func(c *Config) *string { return &c.APIKeyFile }, absolute, plain),
		of("api_cafile", live, func(c *Config) *string { return &c.APICAFile }, absolute, plain),
	}
}

func of[T any](name string, live bool, field func(*Config) *T, parse func(string) (T, error), show func(T) string) key {
	return key{
		name: name, live: live,
		parse: func(c *Config, value string) error {
			v, err := parse(value)
			if err == nil {
				*field(c) = v
			}
			return err
		},
		show: func(c *Config) string { return show(*field(c)) },
		copy: func(to, from *Config) { *field(to) = *field(from) },
	}
}

func secret(k key) key {
	k.secret = true
	return k
}

func find(name string) *key {
	for _, k := range keys() {
		if k.name == name {
			return &k
		}
	}
	return nil
}

func plain(s string) string    { return s }
func commas(s []string) string { return strings.Join(s, ",") }

func pairs(m map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+m[k])
	}
	return strings.Join(all, ",")
}

// Value is one key's value as it can be shown.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // "(hidden)" for a secret
	Source string `json:"source"`
}

// Values are all keys' values, in the order of the documentation.
func (c *Config) Values() []Value {
	var all []Value
	for _, k := range keys() {
		all = append(all, Value{Key: k.name, Value: k.shown(c), Source: c.Source(k.name)})
	}
	return all
}

func (k key) shown(c *Config) string {
	v := k.show(c)
	if k.secret && v != "" {
		return "(hidden)"
	}
	return v
}

// Change is a key that a reload found to be different.
type Change struct {
	Key      string
	Old, New string // as they can be shown
	Live     bool   // it applies now; else it needs a restart
}

// Reload takes over from a newer configuration what can be applied to a fleetd
// that runs, and says what is different. What needs a restart stays as it is,
// so that the next reload says so again.
func (c *Config) Reload(newer *Config) []Change {
	var all []Change
	for _, k := range keys() {
		if k.show(c) == k.show(newer) {
			continue
		}
		all = append(all, Change{Key: k.name, Old: k.shown(c), New: k.shown(newer), Live: k.live})
		if k.live {
			k.copy(c, newer)
			c.sources[k.name] = newer.sources[k.name]
		}
	}
	c.Warnings = newer.Warnings
	return all
}
