package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the requests that one server answers. No label grows with what
// clients ask for: a path is told by its route.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	watches   prometheus.Gauge
}

// labelOther stands for a path or a method that the API doesn't have.
const labelOther = "other"

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_api_requests_total",
			Help: "Requests answered, by route, method and HTTP status code; a watch counts when it ends.",
		}, []string{"route", "method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleet_api_request_duration_seconds",
			Help:    "How long requests took to answer, by route and method; watches are left out.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 10), // 0.5 ms to 1.9 s
		}, []string{"route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_api_requests_in_flight",
			Help: "Requests that are being answered now, watches left out.",
		}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_api_watches",
			Help: "Watches that are open now.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.durations, m.inFlight, m.watches)
	}
	return m
}

// measured has a request answered, and counts it.
func (m metrics) measured(w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
	began := time.Now()
	route, method := labels(r)
	out := &measuredWriter{ResponseWriter: w, metrics: m}
	m.inFlight.Inc()
	defer func() {
		m.requests.WithLabelValues(route, method, strconv.Itoa(out.status())).Inc()
		if out.streams {
			m.watches.Dec()
			return
		}
		m.inFlight.Dec()
		m.durations.WithLabelValues(route, method).Observe(time.Since(began).Seconds())
	}()
	answer(out, r)
}

// measuredWriter notes an answer's status, and whether it is a stream.
type measuredWriter struct {
	http.ResponseWriter
	metrics metrics
	code    int // 0: nothing was written yet
	streams bool
}

// WriteHeader is http.ResponseWriter's.
func (w *measuredWriter) WriteHeader(code int) {
	if w.code == 0 && code >= http.StatusOK {
		w.code = code
		if w.Header().Get("Content-Type") == api.StreamType {
			w.streams = true
			w.metrics.inFlight.Dec()
			w.metrics.watches.Inc()
		}
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController, which flushes and sets deadlines.
func (w *measuredWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// status is what the client was told; a handler that said nothing said 200.
func (w *measuredWriter) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

// labels names a request's route and method.
func labels(r *http.Request) (where, method string) {
	where, method = labelOther, labelOther
	path, _ := below(r.URL.EscapedPath())
	if known, _, ok := find(path); ok {
		where = "/" + known.path
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete:
		method = r.Method
	}
	return where, method
}

// isMetrics reports whether a request is for the metrics.
func isMetrics(r *http.Request) bool {
	where, _ := labels(r)
	return where == "/metrics"
}

func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request, _ string) error {
	if s.opts.Metrics == nil {
		return notFound("this fleetd keeps no metrics")
	}
	s.opts.Metrics.ServeHTTP(w, r)
	return nil
}
