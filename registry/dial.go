package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// DefaultPrefix is where fleet keeps its keys, as fleet 1.0 did.
const DefaultPrefix = "/_coreos.com/fleet/"

const (
	// retryPause is how long a loop waits after etcd failed it: short enough
	// that every lease is renewed well within its time once etcd is back.
	retryPause = 500 * time.Millisecond
	// maxReconnect bounds gRPC's own backoff (120 s by default), for the same
	// reason.
	maxReconnect = time.Second
)

var (
	// ErrNotFound says that there is no such unit.
	ErrNotFound = errors.New("not found")
	// ErrDeposed says that another engine leads now; nothing was changed.
	ErrDeposed = errors.New("another engine leads: nothing was changed")
	// ErrCameBack says that a machine is back, unseen as yet, whose units were
	// about to be given to others; they weren't.
	ErrCameBack = errors.New("a machine has come back meanwhile")
)

// Config says where etcd is and how to be let in.
type Config struct {
	Endpoints []string
	Username  string
	Password  string
	CAFile    string
	CertFile  string
	KeyFile   string
	// Members are client URLs of etcd's members that an earlier registry has learned,
	// for when the endpoints don't answer at once; Learned, if not nil, is told of them
	// again and again by StayInTouch.
	Members []string
	Learned func([]string)
	// Prefix under which all keys lie; DefaultPrefix when empty.
	Prefix string
	// RequestTimeout bounds one request to etcd; 1 s when zero.
	RequestTimeout time.Duration
	Log            *logrus.Entry
	Metrics        prometheus.Registerer // nil: none
	// Schema is the version of the stored state to speak, for tests of how versions
	// get along; this code's when empty.
	Schema string
}

// Registry is the cluster's state. It is safe for concurrent use.
type Registry struct {
	etcd    *clientv3.Client
	clock   Clock
	random  io.Reader
	shuffle func(n int, swap func(i, j int)) // nil: transactions are sent side by side
	// leaseClient is for what clientv3 does not do as we want it.
	leaseClient func() pb.LeaseClient
	most        int // operations in a transaction of the leader's
	keys        keyspace
	timeout     atomic.Int64 // of one request, a time.Duration
	user        string
	log         *logrus.Entry
	metrics     metrics

	connector *connector
	elsewhere elsewhere
	fewOps    atomic.Bool // etcd takes no more than maxOps in a transaction

	mu     sync.Mutex
	health error                           // why etcd did not answer last, nil when it did
	lost   bool                            // it was said that etcd does not answer
	full   error                           // why etcd takes no writes, nil when it does
	leases map[machine.ID]clientv3.LeaseID // of each machine's keys, as last seen
	doubts chan struct{}                   // closed when followers shall start over
	said   map[string]unsound              // unreadable keys, once that was said

	unsounds atomic.Int64 // how many keys are in said

	history  history
	schema   string // that this registry speaks; "" is this code's
	writer   writer
	together together
	asking   asking

	presence atomic.Pointer[Presence] // that the metrics tell of; nil before Join
}

// Dial prepares the connection to etcd. It does not wait for it: etcd may be
// down now and come later.
func Dial(cfg Config) (*Registry, error) {
	r := newRegistry(cfg)
	connector := r.connector
	if _, err := connector.files.config(); err != nil {
		return nil, err
	}
	if expired := connector.files.expired(); expired != "" {
		r.log.Warnf("etcd_certfile %s%s: etcd will refuse it", cfg.CertFile, expired)
	}
	r.leaseClient = func() pb.LeaseClient { return pb.NewLeaseClient(r.etcd.ActiveConnection()) }
	login := &login{user: cfg.Username}
	var err error
	r.etcd, err = clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second, // gRPC's floor: a silent peer is noticed within 15 s
		DialKeepAliveTimeout: 5 * time.Second,
		Logger:               zap.NewNop(), // it would write JSON to stderr; errors reach us as values
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
				MinConnectTimeout: 3 * time.Second,
			}),
			grpc.WithTransportCredentials(connector),
			grpc.WithContextDialer(connector.dial),
			grpc.WithChainUnaryInterceptor(login.unary, r.measure),
			grpc.WithStreamInterceptor(login.stream),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(cfg.Endpoints, ","), err)
	}
	login.dialled.Store(true)
	return r, nil
}

// newRegistry gives a registry that has no etcd yet.
func newRegistry(cfg Config) *Registry {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	r := &Registry{
		clock:     realClock{},
		random:    rand.Reader,
		most:      manyOps,
		keys:      keyspaceOf(cfg.Prefix),
		user:      cfg.Username,
		schema:    cfg.Schema,
		log:       cfg.Log,
		connector: newConnector(cfg),
		elsewhere: newElsewhere(cfg),
		health:    errors.New("etcd has not answered yet"),
		leases:    map[machine.ID]clientv3.LeaseID{},
		doubts:    make(chan struct{}),
		said:      map[string]unsound{},
	}
	r.SetRequestTimeout(cfg.RequestTimeout)
	r.metrics = newMetrics(r, cfg.Metrics)
	return r
}

// SetRequestTimeout changes how long one request to etcd may take from now on.
func (r *Registry) SetRequestTimeout(d time.Duration) { r.timeout.Store(int64(d)) }

func (r *Registry) requestTimeout() time.Duration { return time.Duration(r.timeout.Load()) }

// patience is how long a request may take that is to be waited for longer than others.
type patience struct{}

// patient gives requests that are made with the context more time. A renewal that is
// given up and asked for anew begins with a connection between etcd's members, which
// over a network that loses packets takes longer than what was given up.
func patient(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patience{}, d)
}

// timeoutFor is how long a request may take that is made with a context.
func (r *Registry) timeoutFor(ctx context.Context) time.Duration {
	d, _ := ctx.Value(patience{}).(time.Duration)
	return max(d, r.requestTimeout())
}

// Close ends all connections.
func (r *Registry) Close() error {
	err := r.etcd.Close()
	r.together.writing.Wait()
	r.asking.rounds.Wait()
	return err
}

// Health says why etcd does not answer, or takes no writes; nil when all is well.
func (r *Registry) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.health == nil {
		return r.full
	}
	return r.health
}

// outOfRoom reports whether etcd refused to write because its database is full.
func (r *Registry) outOfRoom() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full != nil
}

// tookWrite notes that etcd has room, or has it again.
func (r *Registry) tookWrite() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full != nil {
		r.log.Info("etcd has room again: going on")
		r.full = nil
	}
}

// noted remembers whether etcd answered, says so when that changed, and passes
// the error on. An error of the caller's own making (its context ended) says
// nothing about etcd.
func (r *Registry) noted(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	err = r.explained(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, rpctypes.ErrNoSpace) && r.full == nil {
		r.log.Error(err)
		r.full = err
	}
	switch {
	case err == nil || answered(err):
		if r.lost {
			r.log.Info("in touch with etcd again")
		}
		r.health, r.lost = nil, false
	case r.health == nil:
		r.log.WithError(err).Warn("lost touch with etcd: keeping everything as it is, trying again")
		r.lost = true
		fallthrough
	default:
		r.health = err
		r.elsewhere.unanswered()
	}
	return err
}

// notedLease is noted for what is asked of leases alone: etcd asks nobody who he
// is for that, so a success does not say that fleet is let in.
func (r *Registry) notedLease(ctx context.Context, err error) error {
	var refused *RefusedError
	if err == nil && errors.As(r.Health(), &refused) {
		return nil
	}
	return r.noted(ctx, err)
}

// answered reports whether an error is a healthy etcd's plain no.
func answered(err error) bool {
	for _, no := range []error{
		rpctypes.ErrLeaseNotFound, rpctypes.ErrCompacted, rpctypes.ErrFutureRev,
		rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrNoSpace,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// RequestProgress makes every Follow call back soon with its revision, though
// nothing changed.
func (r *Registry) RequestProgress(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	// The same outgoing metadata as the watches', else it would reach another stream.
	return r.etcd.RequestProgress(clientv3.WithRequireLeader(ctx))
}
