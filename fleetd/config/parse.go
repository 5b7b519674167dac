package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
)

func text(v string) (string, error) { return v, nil }

func integer(v string) (int, error) {
	n, err := strconv.ParseInt(v, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", v)
	}
	return int(n), nil
}

func positive(v string) (int, error) {
	n, err := integer(v)
	if err == nil && n < 1 {
		return 0, fmt.Errorf("%s: must be 1 or more", v)
	}
	return n, err
}

func boolean(v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", v)
	}
	return b, nil
}

// maxDuration is beyond what anybody can mean.
const maxDuration = 366 * 24 * time.Hour

// duration reads "30s" and, as fleet 1.0 did for some keys, bare seconds such
// as "1.0".
func duration(v string) (time.Duration, error) {
	var d time.Duration
	if seconds, err := strconv.ParseFloat(v, 64); err == nil {
		if seconds > maxDuration.Seconds() {
			return 0, fmt.Errorf("%q: more than a year", v)
		}
		d = time.Duration(seconds * float64(time.Second))
	} else if d, err = time.ParseDuration(v); err != nil {
		return 0, fmt.Errorf("%q is no duration: write 30s, or seconds such as 1.0", v)
	}
	switch {
	case d <= 0:
		return 0, fmt.Errorf("%q: must be more than zero", v)
	case d > maxDuration:
		return 0, fmt.Errorf("%q: more than a year", v)
	}
	return d, nil
}

// prefix reads a key prefix. fleet 1.0 took one without its slash too.
func prefix(v string) (string, error) { return "/" + strings.TrimLeft(v, "/"), nil }

func absolute(v string) (string, error) {
	if !filepath.IsAbs(v) {
		return "", fmt.Errorf("%q must be an absolute path", v)
	}
	return v, nil
}

func address(v string) (string, error) {
	addr, err := netip.ParseAddr(v)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return "", fmt.Errorf("%q is no address that others could reach: give an IPv4 or IPv6 address, or none to have it found out", v)
	}
	return v, nil
}

func metadata(v string) (map[string]string, error) { return machine.ParseMetadata(v) }

// endpoints reads etcd's URLs: as a JSON array, as words with commas between,
// and, as fleet 1.0 did, with brackets and quotes wherever they stand.
func endpoints(v string) ([]string, error) {
	var all, out []string
	if err := json.Unmarshal([]byte(v), &all); err != nil {
		all = strings.Split(v, ",")
	}
	for _, e := range all {
		e = strings.TrimLeft(e, " \t[\"'")
		e = strings.TrimRight(e, " \t\"'")
		for strings.Count(e, "]") > strings.Count(e, "[") {
			e = strings.TrimRight(strings.TrimSuffix(e, "]"), " \t\"'")
		}
		if e == "" {
			continue
		}
		e, err := endpoint(e)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, errors.New("it names no server: name at least one, such as http://127.0.0.1:2379")
	}
	return out, nil
}

// endpoint reads one URL, and makes it what etcd's client takes: with a port,
// without a path.
func endpoint(e string) (string, error) {
	if strings.Contains(e, "@") {
		return "", errors.New("a URL has a user in it: write it without, and set etcd_username and etcd_password")
	}
	u, err := url.Parse(e)
	switch {
	case err != nil:
	case (u.Scheme == "unix" || u.Scheme == "unixs") && u.Host+u.Path != "":
		return e, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		if u.Port() == "" {
			u.Host += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
		}
		return u.Scheme + "://" + u.Host, nil
	}
	return "", fmt.Errorf("%q is no URL such as http://127.0.0.1:2379", e)
}
