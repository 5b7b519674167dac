package proxy

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ members prometheus.Gauge }

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fleet_etcd_proxy_members",
		Help: "Members of the etcd cluster that this proxy can go to",
	})}
	if r != nil {
		r.MustRegister(m.members)
	}
	return m
}
