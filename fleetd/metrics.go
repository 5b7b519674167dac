package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newRegistry makes a node's own registry: the rooms add their metrics to it.
// The global one is not served, for the built-in etcd of fleetd dev fills it.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(),
	)
	return reg
}

func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "fleet_build_info",
		Help:        "Always 1; the labels say which fleetd this is.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "go": runtime.Version()},
	}, func() float64 { return 1 })
}

// reloads tell how the configuration was taken last.
type reloads struct {
	successful prometheus.Gauge
	at         prometheus.Gauge
	restart    prometheus.Gauge
}

// newReloads is for a fleetd that has just taken its configuration.
func newReloads(reg prometheus.Registerer) reloads {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "fleet", Subsystem: "config", Name: name, Help: help})
	}
	r := reloads{
		successful: gauge("last_reload_successful", "1 if the configuration was good when it was read last, 0 if it was refused."),
		at:         gauge("last_reload_success_timestamp_seconds", "When the configuration was taken last, in seconds since 1970."),
		restart:    gauge("restart_pending", "1 while the configuration has changes that need a restart, as of the last reload."),
	}
	reg.MustRegister(r.successful, r.at, r.restart)
	r.taken(false)
	return r
}

func (r reloads) refused() { r.successful.Set(0) }

// taken notes a good configuration, and whether a part of it needs a restart.
func (r reloads) taken(restart bool) {
	r.successful.Set(1)
	r.at.SetToCurrentTime()
	r.restart.Set(0)
	if restart {
		r.restart.Set(1)
	}
}
