package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/fleet-project/fleet/discovery/server"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
)

type discoveryOptions struct {
	listen, dataDir, advertise string
	certFile, keyFile          string
	keepUnfinished, keep       time.Duration
}

func discoveryCommand() *cobra.Command {
	var opts discoveryOptions
	cmd := &cobra.Command{
		Use:   "discovery --data-dir DIR [--listen HOST:PORT] [--advertise URL] [--cert-file FILE --key-file FILE]",
		Short: "Serve the URLs at which the hosts of a new etcd cluster find each other",
		Long: `fleetd discovery hands out URLs. All hosts of a new etcd cluster are given one
(ETCD_DISCOVERY); each registers there, and once all have, each is told who the
others are. It speaks the protocol of discovery.etcd.io, so etcd 3.4 to 3.6, which
resolve such URLs themselves, can use it. It has no password: who reaches it can
make URLs, and who knows a URL can join that cluster while members are missing.

A running cluster doesn't need it any more; hosts that come later ask it for the
members, to be their proxies.`,
		Example: `  fleetd discovery --listen 10.0.0.5:2381 --data-dir /var/lib/fleet-discovery
  curl -w '\n' 'http://10.0.0.5:2381/new?size=3'
  curl http://10.0.0.5:2381/TOKEN`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDiscovery(cmd.Context(), opts) },
	}
	cmd.Flags().StringVar(&opts.listen, "listen", "127.0.0.1:2381", "where to listen: HOST:PORT")
	cmd.Flags().StringVar(&opts.dataDir, "data-dir", "", "the directory that everything is kept in")
	cmd.Flags().StringVar(&opts.advertise, "advertise", "", "what the URLs begin with, such as https://discovery.example.com (default: as the asker reached the service, or the proxy before it)")
	cmd.Flags().StringVar(&opts.certFile, "cert-file", "", "serve HTTPS, with this certificate (PEM, intermediate ones included)")
	cmd.Flags().StringVar(&opts.keyFile, "key-file", "", "the certificate's key")
	cmd.Flags().DurationVar(&opts.keepUnfinished, "keep-unfinished", 7*24*time.Hour, "how long a URL works while members are missing")
	cmd.Flags().DurationVar(&opts.keep, "keep", 365*24*time.Hour, "how long a URL works, from when it was made, once all members have joined")
	return cmd
}

// runDiscovery serves until it is told to end.
func runDiscovery(ctx context.Context, opts discoveryOptions) (err error) {
	switch {
	case opts.dataDir == "":
		return usageError{errors.New("--data-dir DIR is missing: who has joined must outlive the process")}
	case opts.keepUnfinished <= 0 || opts.keep < opts.keepUnfinished:
		return usageError{fmt.Errorf("--keep-unfinished %s --keep %s: the first must be positive, the second no shorter", opts.keepUnfinished, opts.keep)}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	store, err := server.OpenStore(opts.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	log := newLog(&config.Config{})
	metrics := newRegistry()
	serving := server.Options{
		Store: store, Advertise: opts.advertise, CertFile: opts.certFile, KeyFile: opts.keyFile, Log: log,
		Registerer: metrics, Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
	}
	serving.Lifetime.Unfinished, serving.Lifetime.Complete = opts.keepUnfinished, opts.keep
	srv, err := server.New(serving)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", opts.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", opts.listen, err)
	}
	log.Infof("discovery listens on %s, and keeps what it knows in %s", l.Addr(), opts.dataDir)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.WithError(err).Warn("cannot tell systemd that discovery is ready")
	}
	return srv.Serve(ctx, l)
}
