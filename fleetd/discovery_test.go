package main

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestDiscoveryOptions(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := func() discoveryOptions {
		return discoveryOptions{listen: "127.0.0.1:0", dataDir: t.TempDir(), keepUnfinished: time.Hour, keep: time.Hour}
	}
	for _, tc := range []struct {
		name   string
		change func(*discoveryOptions)
		says   string // "": it serves
		usage  bool
	}{
		{"good", func(*discoveryOptions) {}, "", false},
		{"no directory", func(o *discoveryOptions) { o.dataDir = "" }, "--data-dir DIR is missing", true},
		{"unfinished ones for longer", func(o *discoveryOptions) { o.keepUnfinished = 2 * time.Hour }, "--keep", true},
		{"no time", func(o *discoveryOptions) { o.keepUnfinished = 0 }, "--keep-unfinished", true},
		{"a bad address", func(o *discoveryOptions) { o.advertise = "discovery" }, "--advertise discovery", false},
		{"a certificate without a key", func(o *discoveryOptions) { o.certFile = "cert.pem" }, "--cert-file and --key-file belong together", false},
		{"a certificate that isn't there", func(o *discoveryOptions) { o.certFile, o.keyFile = "/nonexistent/c", "/nonexistent/k" }, "/nonexistent/c", false},
		{"a port that is taken", func(o *discoveryOptions) { o.listen = taken.Addr().String() }, "--listen " + taken.Addr().String(), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := good()
			tc.change(&opts)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // so that one that serves ends
			err := runDiscovery(ctx, opts)
			if tc.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || errors.As(err, new(usageError)) != tc.usage {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestDocsListDiscoverysMetrics(t *testing.T) {
	store, err := server.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d := &described{Registry: prometheus.NewRegistry()}
	if _, err := server.New(server.Options{Store: store, Registerer: d}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/discovery.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range rowOf.FindAllStringSubmatch(string(text), -1) {
		labels := strings.Fields(strings.ReplaceAll(row[2], "`", ""))
		slices.Sort(labels)
		documented[row[1]] = strings.Join(labels, " ")
	}
	if registered := d.labels(t); !maps.Equal(documented, registered) {
		t.Errorf("docs/discovery.md lists %v, there are %v", documented, registered)
	}
	problems, err := testutil.GatherAndLint(d)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
