// Package rescue is for the night in which etcd is full, or its data is lost: it
// makes room (Free), keeps a backup (Snapshot), and makes a cluster of one (Restore),
// which the other hosts join again. After that it waits for all of them to say what
// they run, and has fleet go on from there (Finish).
package rescue

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/fleetd/member"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Options say which etcd it is about.
type Options struct {
	Settings       member.Settings // of the service that runs etcd here
	Endpoints      []string        // client URLs; none: those of etcd on this host
	User, Password string
	// Say tells the operator, a line at a time.
	Say func(string)
}

// patience bounds a request to an etcd that is well.
const patience = 10 * time.Second

// endpoints are where etcd is reached.
func (o Options) endpoints() []string {
	if len(o.Endpoints) > 0 {
		return o.Endpoints
	}
	var all []string
	for _, u := range append(slices.Clone(o.Settings.AdvertiseClientURLs), o.Settings.ListenClientURLs...) {
		if s := reachable(u); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// reachable gives a URL that is listened at as one to connect to.
func reachable(u url.URL) string {
	if host, port, err := net.SplitHostPort(u.Host); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			u.Host = net.JoinHostPort("127.0.0.1", port)
		}
	}
	return u.String()
}

// config is how clients reach etcd at some of its URLs.
func (o Options) config(endpoints ...string) (clientv3.Config, error) {
	cfg := clientv3.Config{
		Endpoints: endpoints, Username: o.User, Password: o.Password,
		DialTimeout: patience, Logger: zap.NewNop(),
	}
	if slices.ContainsFunc(endpoints, func(u string) bool { return strings.HasPrefix(u, "https:") }) {
		tls, err := o.Settings.ClientTLS.ClientConfig()
		if err != nil {
			return cfg, fmt.Errorf("the files of ETCD_*: %w", err)
		}
		tls.ServerName = ""
		cfg.TLS = tls
	}
	return cfg, nil
}

func (o Options) client(endpoints ...string) (*clientv3.Client, error) {
	cfg, err := o.config(endpoints...)
	if err != nil {
		return nil, err
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(endpoints, ","), err)
	}
	return c, nil
}
