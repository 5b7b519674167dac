package registry

import (
	"context"
	"errors"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// login decides when etcd's client logs in with its user and password: when
// there is a first request to make. The client's own ways are to log in while it
// is made, for which etcd would have to be up, and whenever etcd says that it
// doesn't know who asks; but an etcd that takes the name in a client's certificate
// for a user's never says that.
type login struct {
	user    string
	dialled atomic.Bool // the client is made
	state   atomic.Int32
}

// What login knows.
const (
	loggedOut int32 = iota
	loggedIn
	notNeeded // etcd has no users
)

const methodAuthenticate = "/etcdserverpb.Auth/Authenticate"

// unary intercepts calls. The client's own interceptor is around it: of an
// error that says that etcd doesn't know who asks, it logs in and tries again.
func (l *login) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	switch {
	case l.user == "":
	case method == methodAuthenticate && !l.dialled.Load():
		return rpctypes.ErrGRPCAuthNotEnabled // for now
	case method == methodAuthenticate:
		err := invoke(ctx, method, req, reply, cc, opts...)
		switch {
		case err == nil:
			l.state.Store(loggedIn)
		case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
			l.state.Store(notNeeded)
		}
		return err
	case l.state.Load() == loggedOut:
		return rpctypes.ErrGRPCUserEmpty
	}
	err := invoke(ctx, method, req, reply, cc, opts...)
	if l.state.Load() == notNeeded && errors.Is(rpctypes.Error(err), rpctypes.ErrPermissionDenied) {
		l.state.Store(loggedOut) // it is needed now
	}
	return err
}

// stream replaces the client's own interceptor of streams, which logs in anew
// for each stream: every renewal of a lease is one, and each login costs etcd a
// write to its log and a tenth of a second of a CPU. Every watch is preceded by
// a call, which has the token renewed when it must be.
func (l *login) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return stream(ctx, desc, cc, method, opts...)
}
