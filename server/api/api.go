// Package api is the gRPC edge: messages come in, inputs go out. It is the only place of the server where proto meets the core
// and where errors become codes.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	grpcrecovery "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Config is what the edge needs.
type Config struct {
	Coordinator *coordinator.Coordinator
	Playbooks   *playbook.Library
	Fleet       recovery.Fleet
	TLS         *tls.Config   // requires and verifies client certificates
	Epoch       uint64        // of this start of the coordinator
	Beat        time.Duration // how often agents report; 0 means 10 s
	Log         hclog.Logger
}

const (
	defaultBeat  = 10 * time.Second
	maxMessage   = 1 << 20 // bytes; a hello with every fact is a few KiB
	keepaliveGap = 15 * time.Second
)

// New returns a gRPC server with both services. Every connection needs a certificate of our CA; what its holder may call
// follows from the role in it.
func New(cfg Config) *grpc.Server {
	if cfg.Beat == 0 {
		cfg.Beat = defaultBeat
	}
	panics := grpcrecovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		cfg.Log.Error("a call panicked", "panic", p, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the coordinator failed on this call; its log has the details")
	})
	s := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(cfg.TLS)),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(64),
		grpc.ConnectionTimeout(20*time.Second),
		grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(4<<10), grpc.SharedWriteBuffer(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveGap, Timeout: keepaliveGap}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(grpcrecovery.UnaryServerInterceptor(panics), authorizeUnary),
		grpc.ChainStreamInterceptor(grpcrecovery.StreamServerInterceptor(panics), authorizeStream),
	)
	pb.RegisterAgentServiceServer(s, newAgents(cfg))
	pb.RegisterOperatorServiceServer(s, &operators{cfg: cfg})
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

type identityKey struct{}

type identity struct{ role, name, peer string }

// Roles, as they stand in certificates.
const (
	roleAgent    = "agent"
	roleOperator = "operator"
)

func who(ctx context.Context) identity {
	id, _ := ctx.Value(identityKey{}).(identity)
	return id
}

// authorize reads the caller's role from its certificate and refuses what that role may not call.
func authorize(ctx context.Context, method string) (context.Context, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil, status.Error(codes.Unauthenticated, "a client certificate is needed")
	}
	role, name, err := pki.Identity(info.State.VerifiedChains[0][0])
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	want := roleOperator
	if method == pb.AgentService_PhoneHome_FullMethodName {
		want = roleAgent
	}
	if string(role) != want {
		return nil, status.Errorf(codes.PermissionDenied, "a certificate of role %s may not call %s: use one of role %s", role, method, want)
	}
	return context.WithValue(ctx, identityKey{}, identity{string(role), name, p.Addr.String()}), nil
}

func authorizeUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	out, err := next(ctx, req)
	return out, code(err)
}

type authorizedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *authorizedStream) Context() context.Context { return s.ctx }

func authorizeStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := authorize(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return code(next(srv, &authorizedStream{ss, ctx}))
}

// code maps an error to a gRPC status, once, at the edge.
func code(err error) error {
	var e *recovery.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		switch e.Kind {
		case recovery.KindNotFound:
			return status.Error(codes.NotFound, e.Message)
		case recovery.KindRefused:
			return status.Error(codes.FailedPrecondition, e.Message)
		default:
			return status.Error(codes.InvalidArgument, e.Message)
		}
	case errors.Is(err, coordinator.ErrStopped):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, fmt.Sprintf("unexpected: %v", err))
}
