// Package config reads fleetd's configuration: fleet.conf and the FLEET_*
// environment, with fleet 1.0's keys, defaults and forms. It reads; it sets
// nothing up.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/fleet-project/fleet/registry"
)

// DefaultPath is read when no other file is named; it may be absent.
const DefaultPath = "/etc/fleet/fleet.conf"

// Config is what fleetd runs with. The names are those of the keys.
type Config struct {
	Verbosity               int // 0: info, 1 and above: debug
	EtcdServers             []string
	EtcdUsername            string
	EtcdPassword            string
	EtcdKeyFile             string
	EtcdCertFile            string
	EtcdCAFile              string
	EtcdKeyPrefix           string
	EtcdRequestTimeout      time.Duration
	EngineReconcileInterval time.Duration
	PublicIP                string
	Metadata                map[string]string
	AgentTTL                time.Duration
	UnitsDirectory          string
	SystemdUser             bool
	TokenLimit              int
	DisableEngine           bool
	APICertFile             string
	APIKeyFile              string
	APICAFile               string // of clients' certificates

	// Warnings are what was ignored and why, for the log, with file and line.
	Warnings []string

	sources map[string]string // where a key's value comes from, if not the default
}

// Default gives the values that hold where nothing is said.
func Default() *Config {
	return &Config{
		EtcdServers:             []string{"http://127.0.0.1:2379", "http://127.0.0.1:4001"},
		EtcdKeyPrefix:           registry.DefaultPrefix,
		EtcdRequestTimeout:      time.Second,
		EngineReconcileInterval: 2 * time.Second,
		AgentTTL:                30 * time.Second,
		UnitsDirectory:          "/run/fleet/units/",
		TokenLimit:              100,
		sources:                 map[string]string{},
	}
}

// Load reads the file at path and then the environment, which wins. With an
// empty path it reads DefaultPath if that exists. Errors name the file and
// line, or the variable, and never a secret.
func Load(path string, environ []string) (*Config, error) {
	var text string
	b, err := os.ReadFile(cmp.Or(path, DefaultPath))
	switch {
	case err == nil:
		text = string(b)
	case path == "" && errors.Is(err, fs.ErrNotExist):
	default:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	said, warnings, err := read(cmp.Or(path, DefaultPath), text)
	if err != nil {
		return nil, err
	}
	said = append(said, variables(environ)...)
	c := Default()
	c.Warnings = warnings
	// What is overruled is read all the same: an error there would come up one
	// day, when nobody thinks of it.
	for _, s := range said {
		if err := c.set(s); err != nil {
			return nil, err
		}
	}
	return c, c.check()
}

// statement is one key's value, as it was written somewhere.
type statement struct{ where, key, value string }

// variables are the statements in the environment. An empty variable says
// nothing, as in fleet 1.0.
func variables(environ []string) []statement {
	var said []statement
	for _, env := range environ {
		name, value, _ := strings.Cut(env, "=")
		key, ours := strings.CutPrefix(name, "FLEET_")
		if ours && key == strings.ToUpper(key) && strings.TrimSpace(value) != "" {
			said = append(said, statement{"environment variable " + name, strings.ToLower(key), value})
		}
	}
	return said
}

// set makes one key's value true. An unknown key is a warning: a newer file
// must not keep an older fleetd from starting. An empty value is the default.
func (c *Config) set(s statement) error {
	k := find(s.key)
	switch {
	case ignored[s.key]:
		c.warn("%s: %s has no effect any more and is ignored", s.where, s.key)
	case k == nil:
		c.warn("%s: unknown key %s is ignored%s", s.where, s.key, didYouMean(s.key))
	case s.value == "":
		k.copy(c, Default())
		c.sources[k.name] = s.where
	default:
		if err := k.parse(c, s.value); err != nil {
			return fmt.Errorf("%s: %s: %w", s.where, s.key, err)
		}
		c.sources[k.name] = s.where
	}
	return nil
}

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// check refuses what can only fail later.
func (c *Config) check() error {
	if c.AgentTTL < 2*time.Second {
		return c.errorf("agent_ttl", "%s is too short: etcd keeps no lease shorter than 2s; set 2s or more (30s is usual)", c.AgentTTL)
	}
	for _, pair := range [][4]string{
		{"etcd_certfile", c.EtcdCertFile, "etcd_keyfile", c.EtcdKeyFile},
		{"etcd_keyfile", c.EtcdKeyFile, "etcd_certfile", c.EtcdCertFile},
		{"api_certfile", c.APICertFile, "api_keyfile", c.APIKeyFile},
		{"api_keyfile", c.APIKeyFile, "api_certfile", c.APICertFile},
		{"etcd_username", c.EtcdUsername, "etcd_password", c.EtcdPassword},
		{"etcd_password", c.EtcdPassword, "etcd_username", c.EtcdUsername},
	} {
		if pair[1] != "" && pair[3] == "" {
			return c.errorf(pair[0], "it is of no use without %s: set both or neither", pair[2])
		}
	}
	if c.APICAFile != "" && c.APICertFile == "" {
		return c.errorf("api_cafile", "clients are asked for a certificate only over TLS: set api_certfile and api_keyfile too")
	}
	if secure := c.EtcdCAFile + c.EtcdCertFile; secure != "" && !anyPrefix(c.EtcdServers, "https:", "unixs:") {
		c.warn("etcd_cafile, etcd_certfile and etcd_keyfile have no effect: none of etcd_servers begins with https://")
	}
	return nil
}

func (c *Config) errorf(key, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %s", c.Source(key), key, fmt.Sprintf(format, args...))
}

// Source says where a key's value comes from: "default", a file and line, or
// an environment variable.
func (c *Config) Source(key string) string { return cmp.Or(c.sources[key], "default") }

func anyPrefix(all []string, prefixes ...string) bool {
	for _, s := range all {
		for _, p := range prefixes {
			if strings.HasPrefix(s, p) {
				return true
			}
		}
	}
	return false
}
