package registry

import (
	"context"
	"errors"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metrics of one registry: how etcd does, seen from this host. fleet 1.0's names
// and labels are kept where it had them.
type metrics struct {
	operations *prometheus.CounterVec
	failures   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	events     *prometheus.CounterVec
	restarts   *prometheus.CounterVec
	losses     prometheus.Counter
	renewals   *prometheus.CounterVec
}

// Operations on etcd; get, set and get_all are fleet 1.0's words.
const (
	opGet       = "get"
	opSet       = "set"
	opGetAll    = "get_all"
	opGrant     = "lease_grant"
	opRenew     = "lease_keepalive"
	opRevoke    = "lease_revoke"
	opRemaining = "lease_timetolive"
	opOther     = "other"
)

// Why followers started over.
const (
	restartCompacted = "compacted" // etcd forgot the revisions in between
	restartDoubted   = "doubted"   // this machine's lease was gone, or etcd's history went back
	restartError     = "error"     // etcd did not answer, or ended the watch
)

// eventKinds name the changes by what they are about.
var eventKinds = []string{"cluster", "file", "unit", "placement", "state", "machine", "overrides"}

func newMetrics(r *Registry, reg prometheus.Registerer) metrics {
	m := metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_registry_operation_count_total",
			Help: "Requests that etcd answered, by type.",
		}, []string{"type"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_registry_operation_failed_count_total",
			Help: "Requests that etcd refused or did not answer, by type.",
		}, []string{"type"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleet_registry_operation_duration_second",
			Help:    "How long etcd took to answer a request, in seconds, by type.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // 0.5 ms to 4 s
		}, []string{"ops"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_registry_events_total",
			Help: "Changes that etcd's watches told, by what they are about; one is counted for each room that follows.",
		}, []string{"kind"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_registry_watch_restarts_total",
			Help: "Times a room had to start over from a snapshot, by reason: compacted, doubted, error.",
		}, []string{"reason"}),
		losses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_registry_lease_losses_total",
			Help: "Times this host's lease had ended while fleetd ran, so that it had to join anew.",
		}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_registry_lease_renewals_total",
			Help: "Renewals of this host's lease, by result: ok, error.",
		}, []string{"result"}),
	}
	for _, op := range []string{opGet, opSet, opGetAll, opGrant, opRenew, opRevoke, opRemaining} {
		m.operations.WithLabelValues(op)
		m.failures.WithLabelValues(op)
		m.durations.WithLabelValues(op)
	}
	for _, kind := range eventKinds {
		m.events.WithLabelValues(kind)
	}
	for _, reason := range []string{restartCompacted, restartDoubted, restartError} {
		m.restarts.WithLabelValues(reason)
	}
	for _, result := range []string{"ok", "error"} {
		m.renewals.WithLabelValues(result)
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.operations, m.failures, m.durations, m.events, m.restarts, m.losses, m.renewals,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_registry_etcd_up",
			Help: "1 if etcd answered this host's last request and takes writes, 0 if not.",
		}, func() float64 {
			if r.Health() != nil {
				return 0
			}
			return 1
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_registry_unreadable_keys",
			Help: "Keys in etcd that hold what this fleetd can't read, and ignores; its log names them.",
		}, func() float64 { return float64(r.unsounds.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_registry_lease_remaining_seconds",
			Help: "For how long etcd keeps this host's lease at least, if it is renewed no more; 0 while the host isn't in the cluster.",
		}, func() float64 { left, _ := r.lifetime(); return left.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_registry_lease_ttl_seconds",
			Help: "The time of this host's lease (agent_ttl); 0 while the host isn't in the cluster.",
		}, func() float64 { _, ttl := r.lifetime(); return ttl.Seconds() }))
	return m
}

// lifetime tells of the lease of this host's presence: how long etcd keeps it at
// least, and its full time. Both are 0 while the host isn't in the cluster.
func (r *Registry) lifetime() (left, ttl time.Duration) {
	p := r.presence.Load()
	if p == nil {
		return 0, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return 0, 0
	}
	return max(0, p.ttl-p.r.clock.Now().Sub(p.renewed)), p.ttl
}

// measure is a client's interceptor: it sees every round trip, also those that
// etcd's client makes by itself.
func (r *Registry) measure(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	began, before := time.Now(), r.history.reached.Load()
	err := invoke(ctx, method, req, reply, cc, opts...)
	r.metrics.asked(ctx, operation(req), began, err)
	if err == nil && r.history.answered(before, req, reply) {
		r.wentBack()
	}
	if err == nil && puts(req) {
		r.tookWrite()
	}
	return err
}

// puts reports whether a request is one that an etcd without room refuses.
func puts(req any) bool {
	txn, ok := req.(*pb.TxnRequest)
	if !ok {
		return false
	}
	for _, op := range txn.GetSuccess() {
		if op.GetRequestPut() != nil || puts(op.GetRequestTxn()) {
			return true
		}
	}
	return false
}

// asked counts one round trip. What the caller gave up himself says nothing.
func (m *metrics) asked(ctx context.Context, op string, began time.Time, err error) {
	switch {
	case err == nil:
		m.operations.WithLabelValues(op).Inc()
		m.durations.WithLabelValues(op).Observe(time.Since(began).Seconds())
	case errors.Is(ctx.Err(), context.Canceled), status.Code(err) == codes.Canceled:
	default:
		m.failures.WithLabelValues(op).Inc()
	}
}

// operation names what a request does.
func operation(req any) string {
	switch req := req.(type) {
	case *pb.RangeRequest:
		if len(req.RangeEnd) > 0 {
			return opGetAll
		}
		return opGet
	case *pb.TxnRequest:
		if writes(req) {
			return opSet
		}
		return opGet
	case *pb.PutRequest, *pb.DeleteRangeRequest:
		return opSet
	case *pb.LeaseGrantRequest:
		return opGrant
	case *pb.LeaseRevokeRequest:
		return opRevoke
	case *pb.LeaseTimeToLiveRequest:
		return opRemaining
	}
	return opOther // logging in, mostly
}

// writes reports whether a transaction would change anything, itself or by one that
// is nested in it.
func writes(txn *pb.TxnRequest) bool {
	for _, op := range txn.GetSuccess() {
		if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil || writes(op.GetRequestTxn()) {
			return true
		}
	}
	return false
}

// told counts the changes that a watch brought.
func (m *metrics) told(changes []record.Change) {
	for _, c := range changes {
		m.events.WithLabelValues(kindOf(c)).Inc()
	}
}

func kindOf(c record.Change) string {
	switch c.(type) {
	case record.ClusterChange:
		return "cluster"
	case record.FileChange:
		return "file"
	case record.UnitChange:
		return "unit"
	case record.PlacementChange:
		return "placement"
	case record.StateChange:
		return "state"
	case record.MachineChange:
		return "machine"
	}
	return "overrides"
}

// renewed counts a renewal of this host's lease.
func (m *metrics) renewed(ctx context.Context, err error) {
	switch {
	case err == nil:
		m.renewals.WithLabelValues("ok").Inc()
	case ctx.Err() == nil:
		m.renewals.WithLabelValues("error").Inc()
	}
}
