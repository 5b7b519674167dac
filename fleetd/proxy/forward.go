package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// viaHeader marks what a proxy sends. A member's client URL may have become a
// proxy's: two of them would send a request to and fro for ever.
const viaHeader = "fleet-etcd-proxy"

// gatewayHeader has etcd leave the name in the proxy's certificate alone, which
// it else takes for the user's if a request has no token. etcd's own gateway
// uses it for the same.
const gatewayHeader = "grpcgateway-accept"

// message is one message of a stream, unread.
type message struct{ data mem.BufferSlice }

// verbatim is the codec that takes messages as they are.
type verbatim struct{}

// Marshal gives a message's bytes away.
func (verbatim) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("a %T is no message to hand on", v)
	}
	return m.data, nil
}

// Unmarshal keeps the bytes.
func (verbatim) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("a message cannot become a %T", v)
	}
	data.Ref()
	m.data = data
	return nil
}

// Name is that of the codec which both ends use.
func (verbatim) Name() string { return "proto" }

// newForwarder makes a gRPC server that hands all streams on.
func newForwarder(up *upstream) *grpc.Server {
	return grpc.NewServer(
		grpc.ForceServerCodecV2(verbatim{}),
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32), // etcd has its own bounds
		grpc.MaxConcurrentStreams(math.MaxUint32),
		grpc.UnknownServiceHandler(func(_ any, from grpc.ServerStream) error {
			return forward(from, up)
		}),
	)
}

// forward is one stream from its beginning to its end.
func forward(from grpc.ServerStream, up *upstream) error {
	method, ok := grpc.MethodFromServerStream(from)
	if !ok {
		return status.Error(codes.Internal, "a request without a method")
	}
	headers, _ := metadata.FromIncomingContext(from.Context())
	headers = headers.Copy()
	if len(headers[viaHeader]) > 0 {
		return status.Error(codes.Unavailable, "this is no member of the etcd cluster, but a proxy: it does not serve another proxy")
	}
	headers.Set(viaHeader, "1")
	headers.Set(gatewayHeader, "fleet")
	if err := up.empty(from.Context()); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(from.Context(), headers))
	defer cancel()
	to, err := up.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(verbatim{}))
	if err != nil {
		return err
	}
	// The handler's end ends this: receiving from the client then fails.
	go func() {
		if err := send(from, to); err != nil {
			cancel()
		}
	}()
	return answer(to, from)
}

// send passes what the client says on, until it has said all.
func send(from grpc.ServerStream, to grpc.ClientStream) error {
	for {
		var m message
		if err := from.RecvMsg(&m); errors.Is(err, io.EOF) {
			return to.CloseSend()
		} else if err != nil {
			return err
		}
		if err := to.SendMsg(&m); errors.Is(err, io.EOF) {
			return nil // the answer says why
		} else if err != nil {
			return err
		}
	}
}

// answer passes the member's side of the stream on, and how it ended.
func answer(to grpc.ClientStream, from grpc.ServerStream) error {
	told := false
	for {
		var m message
		err := to.RecvMsg(&m)
		if !told {
			// They are there at the latest with the first message, or the end.
			if header, headerErr := to.Header(); headerErr == nil {
				if err := from.SetHeader(header); err != nil {
					return err
				}
			}
			told = true
		}
		if err != nil {
			from.SetTrailer(to.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := from.SendMsg(&m); err != nil {
			return err
		}
	}
}
