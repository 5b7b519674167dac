package member

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/pkg/v3/flags"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Parse reads etcd's command line and environment. Warnings say what of them
// does nothing any more; nobody reads them anywhere else, so they must be told.
// lookup gives this host's addresses: see Lookup.
func Parse(args, environ []string, lookup Lookup) (s Settings, warnings []string, err error) {
	v, err := read(args, environ)
	if err != nil {
		return s, nil, err
	}
	if err := v.substitute(lookup); err != nil {
		return s, nil, err
	}
	s.values = v
	if s.Discovery, s.Proxy, warnings, err = v.modernize(); err != nil {
		return s, nil, &Refusal{err}
	}
	if s.ConfigFile, _ = v.get("config-file"); s.ConfigFile != "" {
		return s, warnings, nil
	}
	v.complete()
	cfg, err := v.etcd()
	if err != nil {
		return s, nil, &Refusal{err}
	}
	s.Name, s.DataDir = cfg.Name, cmp.Or(cfg.Dir, cfg.Name+".etcd")
	s.WALDir = cmp.Or(cfg.WalDir, filepath.Join(s.DataDir, "member", "wal"))
	s.ListenPeerURLs, s.ListenClientURLs = cfg.ListenPeerUrls, cfg.ListenClientUrls
	if v.has("initial-advertise-peer-urls") {
		s.AdvertisePeerURLs = cfg.AdvertisePeerUrls
	}
	if v.has("advertise-client-urls") {
		s.AdvertiseClientURLs = cfg.AdvertiseClientUrls
	}
	s.PeerTLS, s.ClientTLS, s.PeerAutoTLS, s.ClientAutoTLS = cfg.PeerTLSInfo, cfg.ClientTLSInfo, cfg.PeerAutoTLS, cfg.ClientAutoTLS
	s.Cluster = Cluster{
		Token: cfg.InitialClusterToken, Existing: cfg.ClusterState == embed.ClusterStateFlagExisting,
		SRV: cfg.DNSCluster, SRVName: cfg.DNSClusterServiceName, V3: len(cfg.DiscoveryCfg.Endpoints) > 0,
	}
	if v.has("initial-cluster") {
		s.Cluster.Initial = cfg.InitialCluster
	}
	return s, warnings, nil
}

// etcd is the configuration as etcd makes it of these values.
func (v *values) etcd() (*embed.Config, error) {
	cfg := embed.NewConfig()
	fs := etcdFlags(cfg)
	set := func(name, value, from string) error {
		if err := fs.Set(name, value); err != nil {
			return fmt.Errorf("%s is %q: %w", from, value, err)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(v.env)) {
		if err := set(name, v.env[name], variable(name)); err != nil {
			return nil, err
		}
	}
	for _, g := range v.args {
		if err := set(g.name, g.value, "--"+g.name); err != nil {
			return nil, err
		}
	}
	cfg.ListenPeerUrls = flags.UniqueURLsFromFlag(fs, "listen-peer-urls")
	cfg.ListenClientUrls = flags.UniqueURLsFromFlag(fs, "listen-client-urls")
	cfg.ListenClientHttpUrls = flags.UniqueURLsFromFlag(fs, "listen-client-http-urls")
	cfg.ListenMetricsUrls = flags.UniqueURLsFromFlag(fs, "listen-metrics-urls")
	cfg.AdvertisePeerUrls = flags.UniqueURLsFromFlag(fs, "initial-advertise-peer-urls")
	cfg.AdvertiseClientUrls = flags.UniqueURLsFromFlag(fs, "advertise-client-urls")
	cfg.DiscoveryCfg.Endpoints = flags.UniqueStringsFromFlag(fs, "discovery-endpoints")
	cfg.ClientTLSInfo.AllowedHostnames = flags.StringsFromFlag(fs, "client-cert-allowed-hostname")
	cfg.PeerTLSInfo.AllowedCNs = flags.StringsFromFlag(fs, "peer-cert-allowed-cn")
	cfg.PeerTLSInfo.AllowedHostnames = flags.StringsFromFlag(fs, "peer-cert-allowed-hostname")
	cfg.CipherSuites = flags.StringsFromFlag(fs, "cipher-suites")
	if v.has("listen-client-urls") && !v.has("advertise-client-urls") {
		cfg.AdvertiseClientUrls = nil
	}
	if (cfg.DNSCluster != "" || len(cfg.DiscoveryCfg.Endpoints) > 0) && !v.has("initial-cluster") {
		cfg.InitialCluster = ""
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return cfg, nil
}

// peerURLs are the URLs that others reach this member by, as etcd writes them.
func (s Settings) peerURLs() []string {
	var all []string
	for _, u := range s.AdvertisePeerURLs {
		all = append(all, u.String())
	}
	return all
}

// Command is the command line and the changes to the environment with which
// etcd's main program does as these settings say: each variable's value, "" to
// unset it.
func (s Settings) Command() (args []string, environ map[string]string) {
	environ = map[string]string{}
	for name := range s.values.taken {
		environ[variable(name)] = ""
	}
	for name, value := range s.values.env {
		environ[variable(name)] = value
	}
	return s.values.command(), environ
}

// WithMembers are the settings of a host that knows its cluster's members, from
// wherever: etcd is to look for them nowhere else.
func (s Settings) WithMembers(initial, token string, existing bool) Settings {
	s.values = s.values.clone()
	for _, name := range []string{"discovery-srv", "discovery-srv-name", "discovery-token", "discovery-endpoints"} {
		s.values.drop(name)
	}
	s.Cluster = Cluster{Initial: initial, Token: token, Existing: existing}
	s.values.set("initial-cluster", initial)
	s.values.set("initial-cluster-state", embed.ClusterStateFlagNew)
	if existing {
		s.values.set("initial-cluster-state", embed.ClusterStateFlagExisting)
	}
	s.values.drop("initial-cluster-token")
	if token != "" {
		s.values.set("initial-cluster-token", token)
	}
	return s
}
