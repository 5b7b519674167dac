package server

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a discovery service. No label grows with what clients ask for.
type metrics struct {
	requests *prometheus.CounterVec
	expired  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_discovery_requests_total",
			Help: "Requests answered, by route, method and HTTP status code; a wait counts when it ends.",
		}, []string{"route", "method", "code"}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_discovery_expired_tokens_total",
			Help: "Tokens that were forgotten because their time was over.",
		}),
	}
	if reg == nil {
		return m
	}
	gauge := func(name, help string, labels prometheus.Labels, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(value()) })
	}
	const tokensName, tokensHelp = "fleet_discovery_tokens", "Tokens that are alive: unfinished while members are missing, or complete."
	reg.MustRegister(
		m.requests, m.expired,
		gauge(tokensName, tokensHelp, prometheus.Labels{"state": "unfinished"}, func() int { n, _ := s.tokens.tally(); return n }),
		gauge(tokensName, tokensHelp, prometheus.Labels{"state": "complete"}, func() int { _, n := s.tokens.tally(); return n }),
		gauge("fleet_discovery_waits", "Requests that wait for members now.", nil, s.waits.count),
	)
	return m
}

// counted notes an answer's status.
type counted struct {
	http.ResponseWriter
	code int
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader is http.ResponseWriter's.
func (c *counted) WriteHeader(code int) {
	if c.code == 0 {
		c.code = code
	}
	c.ResponseWriter.WriteHeader(code)
}

func (m metrics) count(route string, r *http.Request, c *counted) {
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		method = "other"
	}
	code := c.code
	if code == 0 {
		code = http.StatusOK
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(code)).Inc()
}
