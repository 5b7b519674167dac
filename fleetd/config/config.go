// Package config reads fleetd's configuration: fleet.conf and the FLEET_*
// environment, with fleet 1.0's keys, defaults and forms. It reads; it sets
// nothing up.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
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

	// Warnings are what was ignored and why, for the log, with file and line.
	Warnings []string
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
	}
}

// Load reads the file at path and then the environment, which wins. With an
// empty path it reads DefaultPath if that exists. Errors name the file and
// line, or the variable.
func Load(path string, environ []string) (*Config, error) {
	c := Default()
	text, err := os.ReadFile(cmpOr(path, DefaultPath))
	switch {
	case err == nil:
		if err := c.read(cmpOr(path, DefaultPath), string(text)); err != nil {
			return nil, err
		}
	case path == "" && errors.Is(err, fs.ErrNotExist):
	default:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	for _, env := range environ {
		name, value, _ := strings.Cut(env, "=")
		key, ours := strings.CutPrefix(name, "FLEET_")
		if !ours {
			continue
		}
		if err := c.set("environment variable "+name, strings.ToLower(key), value); err != nil {
			return nil, err
		}
	}
	return c, c.check()
}

// check refuses what can only fail later.
func (c *Config) check() error {
	if c.AgentTTL < 2*time.Second {
		return fmt.Errorf("agent_ttl %s: etcd keeps no lease shorter than 2s; set 2s or more (30s is usual)", c.AgentTTL)
	}
	if len(c.EtcdServers) == 0 {
		return errors.New("etcd_servers is empty: name at least one, such as http://127.0.0.1:2379")
	}
	return nil
}

// set makes one key's value true. An unknown key is a warning: a newer file
// must not keep an older fleetd from starting.
func (c *Config) set(where, key, value string) error {
	parse, known := keys[key]
	if !known {
		if ignored[key] {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: %s has no effect any more and is ignored", where, key))
		} else {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: unknown key %s is ignored%s", where, key, didYouMean(key)))
		}
		return nil
	}
	if err := parse(c, value); err != nil {
		return fmt.Errorf("%s: %s: %w", where, key, err)
	}
	return nil
}

// machineMetadata reads metadata as the machine presents it.
func (c *Config) machineMetadata(s string) error {
	m, err := machine.ParseMetadata(s)
	if err != nil {
		return err
	}
	c.Metadata = m
	return nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
