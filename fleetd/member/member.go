// Package member decides what this host is to its etcd cluster, a member or a
// proxy of the members, and starts that. It reads etcd's flags and the ETCD_*
// environment, with what etcd 2 had and etcd 3.7 has no more; what is on the disk;
// and, on a host that is neither yet, the discovery URL. Its promise: no host
// becomes a cluster of its own because it could not find the others, and none
// comes back as a member whose data it has lost.
//
// It knows no etcd client, and serves no proxy: see the package proxy.
package member

import (
	"context"
	"net/url"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// Settings are a host's flags and environment, understood.
type Settings struct {
	Name    string // etcd's own default is "default"
	DataDir string
	WALDir  string // where the write-ahead log is; in DataDir, unless another was given

	ConfigFile string // etcd reads everything from there, and nothing else counts

	ListenPeerURLs, ListenClientURLs       []url.URL
	AdvertisePeerURLs, AdvertiseClientURLs []url.URL // as given; none otherwise
	PeerTLS, ClientTLS                     transport.TLSInfo
	PeerAutoTLS, ClientAutoTLS             bool

	Cluster   Cluster
	Discovery Discovery
	Proxy     ProxyMode

	values *values
}

// Cluster is how the members know each other, unless by a discovery URL.
type Cluster struct {
	Initial  string // name=URL,...
	Token    string
	Existing bool   // initial-cluster-state
	SRV      string // the domain
	SRVName  string
	V3       bool // etcd's own discovery, by an etcd
}

// Static reports whether the members are known beforehand, or etcd itself finds
// them.
func (c Cluster) Static() bool { return c.Initial != "" || c.SRV != "" || c.V3 }

// Discovery is the discovery URL, and what goes with it.
type Discovery struct {
	URL      string
	Proxy    string // for HTTP
	Fallback Fallback
}

// Fallback is what a host does that finds the cluster full.
type Fallback string

// Fallbacks.
const (
	FallbackProxy Fallback = "proxy" // becomes a proxy; the default, as with etcd 2
	FallbackExit  Fallback = "exit"
)

// ProxyMode says whether a host is to be a proxy from the start.
type ProxyMode string

// Proxy modes.
const (
	ProxyOff      ProxyMode = "off"
	ProxyOn       ProxyMode = "on"
	ProxyReadonly ProxyMode = "readonly"
)

// ProxyOptions are what a proxy is run with.
type ProxyOptions struct {
	Settings Settings
	Dir      string // <data dir>/proxy: there, the members are remembered
	// PeerURLs are those of the members, as far as they are known: none if the
	// proxy's own memory is to do.
	PeerURLs []string
	URL      string // the discovery URL that they are from; "": another source
}

// ServeProxy runs a proxy until ctx ends. What it needs to start again it has
// on the disk before it serves.
type ServeProxy func(ctx context.Context, opts ProxyOptions) error

// Refusal is an error that trying again doesn't mend: somebody has to do
// something. The process ends with ExitRefused, so that systemd leaves it at that.
type Refusal struct{ Err error }

// ExitRefused is the exit status of a Refusal; etcd2.service knows it.
const ExitRefused = 78 // sysexits' EX_CONFIG

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap gives the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// ExitCode is the process's exit status.
func (r *Refusal) ExitCode() int { return ExitRefused }
